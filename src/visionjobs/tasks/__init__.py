"""A task = data + model + loss + metrics + figures. One file each, and this dict that names them."""

from __future__ import annotations

from visionjobs.data.manifest import Manifest
from visionjobs.spec import JobSpec
from visionjobs.tasks.base import Task
from visionjobs.tasks.classification import Classification
from visionjobs.tasks.segmentation import Segmentation

TASKS: dict[str, type[Task]] = {"classification": Classification, "segmentation": Segmentation}


def make_task(spec: JobSpec, dataset: Manifest) -> Task:
    """The task of a job, on this dataset."""
    return TASKS[spec.task](spec, dataset)
