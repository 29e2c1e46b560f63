"""Jobs with a search space, and a search without any training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from visionjobs.jobfile import build_spec
from visionjobs.spec import JobSpec
from visionjobs.tuning.search import Observed, propose

LR = {"train.lr": {"loguniform": [1e-5, 1e-1]}}
WIDE = {
    **LR,
    "train.batch": {"choice": [16, 32, 64]},
    "train.label_smoothing": {"uniform": [0, 0.3]},
    "train.seed": {"int": [1, 9]},
    "data.size": {"choice": [[64, 64], [96, 128]]},
    "train.compile": {"choice": [True, False]},
}


def job(space: dict[str, Any], text: str = "", **sweep: Any) -> JobSpec:
    tree = {"name": "mine", "task": "classification", "model": {"name": "convnet"}, "data": {"name": "tiny"}}
    tree |= {"sweep": {"metric": "val_accuracy", "space": space} | sweep}
    return build_spec(tree | (yaml.safe_load(text) or {}), "mine")


def seen(
    number: int, parameters: dict[str, Any], *values: float, ended: bool = True, complete: bool = True
) -> Observed:
    return Observed(number, parameters, tuple(enumerate(values, 1)), ended=ended, complete=ended and complete)


def run(spec: JobSpec, trials: int, value: Callable[[dict[str, Any]], float] = lambda _: 0.0) -> list[dict[str, Any]]:
    """Propose one after another, each trial with one value."""
    found: list[Observed] = []
    for number in range(trials):
        parameters = propose(spec, number, found)
        if parameters is None:
            break
        found.append(seen(number, parameters, value(parameters)))
    return [trial.parameters for trial in found]
