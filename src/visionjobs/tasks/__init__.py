"""A task = data + model + loss + metrics + figures. One file each, and this dict that names them."""

from __future__ import annotations

from visionjobs.spec import JobSpec
from visionjobs.tasks.base import Task
from visionjobs.tasks.classification import Classification

TASKS: dict[str, type[Task]] = {"classification": Classification}


def make_task(spec: JobSpec, classes: list[str]) -> Task:
    """The task of a job, for a dataset with these class names."""
    return TASKS[spec.task](spec, classes)
