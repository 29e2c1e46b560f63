"""The best configuration of a sweep as a job file that `visionjobs run` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionjobs.jobfile import dump_yaml
from visionjobs.spec import JobSpec
from visionjobs.sweep_progress import TrialState
from visionjobs.sweeps import trial_spec

SUFFIX = "_best"
LONGEST_NAME = 25
"""Of a job's name (spec.JOB_NAME)."""

SHOWN = {
    "task": True,
    "model": {"name": True, "weights": True},
    "data": {"name": True, "size": True},
    "train": {"epochs": True, "batch": True, "lr": True, "seed": True},
}
"""Keys that a job file shows even where they have their defaults."""

LEFT_OUT = ("name", "published", "sweep")
"""name: the file's own. published: its figures are of the job's own configuration. sweep: it has been made."""


def best_job_name(job: str) -> str:
    """The name of the best configuration's job: the file's, without `.yaml`."""
    return f"{job[: LONGEST_NAME - len(SUFFIX)].rstrip('_')}{SUFFIX}"


def best_job_key(job: str) -> str:
    """Where in the sweep's folder its file lies."""
    return f"best/{best_job_name(job)}.yaml"


def best_job_file(spec: JobSpec, trial: TrialState, metric: str, sweep_id: str) -> str:
    """The trial's configuration in the job files' own format: what is searched, what is not the default, and the keys
    that tell what is trained. spec: the sweep's, as resolved."""
    best = trial_spec(spec, trial.parameters)
    own = best.model_dump(mode="json", exclude=set(LEFT_OUT))
    searched = {tuple(key.split(".")) for key in trial.parameters}
    tree = _pruned(own, _defaults(best), SHOWN, searched, ())
    tree["data"].pop("version", None)
    head = (
        f"# {spec.name} as sweep {sweep_id} left it: trial {trial.number}, {metric} {trial.value:.6g} after the last "
        f"epoch.\n# Searched: {', '.join(trial.parameters)}. Trained on version {best.data.version} of the dataset.\n"
    )
    return head + dump_yaml(tree)


def _defaults(spec: JobSpec) -> dict[str, Any]:
    """What the job would be with the names of its task, model and dataset alone."""
    tree = {"name": spec.name, "task": spec.task, "model": {"name": spec.model.name}, "data": {"name": spec.data.name}}
    return JobSpec.model_validate(tree).model_dump(mode="json")


def _pruned(
    own: Mapping[str, Any], defaults: Mapping[str, Any], shown: Any, searched: set[tuple[str, ...]],
    path: tuple[str, ...],
) -> dict[str, Any]:  # fmt: skip
    kept: dict[str, Any] = {}
    for key, value in own.items():
        here, show = (*path, key), shown is True or bool(isinstance(shown, dict) and shown.get(key))
        below = shown.get(key) if isinstance(shown, dict) else shown
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            inner = _pruned(value, defaults[key], below, searched, here)
            if inner:
                kept[key] = inner
        elif show or here in searched or value != defaults.get(key):
            kept[key] = value
    return kept
