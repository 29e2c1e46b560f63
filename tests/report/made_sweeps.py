"""Sweeps as their folders would tell them, with curves that depend on the parameters as those of a training do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visionjobs.jobfile import parse_job
from visionjobs.report.sweep_summary import SweepSummary
from visionjobs.runs import Claim
from visionjobs.spec import JobSpec
from visionjobs.sweep_progress import COMPLETE, FAILED, STOPPED, WAITING, SweepProgress, TrialState

SWEEP = "sweep-convnet-20260504-101112-ab12"

JOB = """
name: convnet
task: classification
model: {name: convnet}
data: {name: wildlife, version: 3f9c2ab41d77}
train: {epochs: 10, lr: 1e-3, batch: 32}
sweep:
  metric: %s
  trials: 8
  space: %s
"""

SPACE = (
    "{train.lr: {loguniform: [1e-5, 1e-1]}, train.batch: {choice: [16, 32, 64]}, train.label_smoothing: "
    "{uniform: [0, 0.2]}, train.schedule: {choice: [constant, cosine]}}"
)


def job(metric: str = "val_accuracy", space: str = SPACE) -> JobSpec:
    return parse_job(JOB % (metric, space), "convnet.yaml", "convnet")


def trial(
    number: int, parameters: Mapping[str, Any], curve: Sequence[float], state: str = COMPLETE, epochs: int = 10,
    reason: str | None = None, gpus: float = 0.0, seconds_an_epoch: float = 90.0,
) -> TrialState:  # fmt: skip
    """curve: a value an epoch, from the first on."""
    seconds = seconds_an_epoch * len(curve)
    return TrialState(
        number=number, run=f"{SWEEP}-t{number:03}", address=f"/storage/{number}", parameters=dict(parameters),
        state=state, reason=reason, epochs_done=len(curve), epochs=epochs, step=None, steps=None,
        curve=tuple(enumerate(curve, start=1)), value=curve[-1] if curve else None, seconds=seconds,
        gpu_hours=gpus * seconds / 3600, eta_seconds=None,
    )  # fmt: skip


def progress(trials: Sequence[TrialState], spec: JobSpec | None = None, **others: Any) -> SweepProgress:
    spec = spec or job()
    assert spec.sweep
    made = SweepProgress(
        sweep=SWEEP, job=spec.name, task=spec.task, address="/storage/sweeps", state=COMPLETE, message=None,
        metric=spec.sweep.metric, maximise=spec.sweep.maximise, wanted=len(trials), at_once=1, trials=tuple(trials),
        created="2026-05-04T10:11:12+00:00", finished="2026-05-04T14:01:02+00:00",
    )  # fmt: skip
    return replace(made, **others)


def summary(trials: Sequence[TrialState], spec: JobSpec | None = None, **others: Any) -> SweepSummary:
    """others: fields of SweepSummary."""
    spec = spec or job()
    continued_by = f"visionjobs sweep {spec.name} --sweep {SWEEP}"
    return SweepSummary(progress(trials, spec), spec, **{"continued_by": continued_by} | others)


def claims() -> list[Claim]:
    info = {
        "code": {"commit": "0123abc", "dirty": False}, "hardware": {"host": "laptop", "cpus": 8}, "at_once": 2,
        "workers": 1, "threads": 4, "gpus": 0,
    }  # fmt: skip
    return [Claim(1, "attempt", "2026-05-04T10:11:13+00:00", info)]


def accuracy(parameters: Mapping[str, Any], epoch: int, noise: float = 0.0) -> float:
    """Best near a learning rate of 2e-3, a little better with a batch of 16, with no regard to label smoothing."""
    off = (math.log10(parameters["train.lr"]) - math.log10(2e-3)) / 1.3
    top = 0.2 + 0.55 * math.exp(-(off**2)) + (0.02 if parameters["train.batch"] == 16 else 0.0)
    return top * (1 - math.exp(-0.45 * epoch)) + noise


def many(number: int, gpus: float = 0.0, stopped: bool = True, loss: bool = False) -> list[TrialState]:
    """Trials of `job()`, the worse ones of which were stopped early; of more than ten one failed, too."""
    generator, made = np.random.default_rng(5), []
    for place in range(number):
        parameters = {
            "train.lr": float(10 ** generator.uniform(-5, -1)), "train.batch": int(generator.choice([16, 32, 64])),
            "train.label_smoothing": float(generator.uniform(0, 0.2)),
            "train.schedule": str(generator.choice(["constant", "cosine"])),
        }  # fmt: skip
        if place == 0:
            parameters = {
                "train.lr": 1e-3, "train.batch": 32, "train.label_smoothing": 0.0, "train.schedule": "constant",
            }  # fmt: skip
        curve = [accuracy(parameters, epoch, float(generator.normal(0, 0.008))) for epoch in range(1, 11)]
        curve = [-2 * math.log(value) for value in curve] if loss else curve
        made.append(trial(place, parameters, curve, gpus=gpus, seconds_an_epoch=float(generator.uniform(70, 120))))
        if number > 10 and place == 7:
            made[-1] = trial(place, parameters, curve[:3], FAILED, reason="the loss is not finite", gpus=gpus)
        elif stopped and place and abs(math.log10(parameters["train.lr"]) + 2.7) > 0.9:
            epochs = 1 if abs(math.log10(parameters["train.lr"]) + 2.7) > 1.5 else 3
            reason = f"after epoch {epochs}: {curve[epochs - 1]:.4g} did not reach 0.4313"
            made[-1] = trial(place, parameters, curve[:epochs], STOPPED, reason=reason, gpus=gpus)
    return made


def waiting(number: int) -> TrialState:
    return replace(trial(number, {}, ()), state=WAITING, value=None)
