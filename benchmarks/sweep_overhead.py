"""(g) What a sweep costs besides its epochs: trials of a ConvNet on the drawn sample, one at a time, against the same
configurations as separate `visionjobs run`s; and what stopping trials early saves, which is another matter.

Overhead a trial = (wall clock of the commands - the epochs' own time) / trials. The epochs' own time, of both sides, is
the sum of the column `seconds` of the runs' histories: the training steps (training/monitor.py), without validation and
checkpoint. So the start of Python, Ray and workers, validation, last evaluation, metrics, report are all overhead.

Measured once, however many rounds are asked for: a side is a mean over its trials already, and takes minutes.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.measure import Comparison, Goal, Measured, Plan, Row, device
from visionjobs.data.sample import ensure_sample
from visionjobs.errors import VisionjobsError
from visionjobs.runs import Run, open_run, read_progress
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import Trial, open_sweep

ALLOWED_SECONDS = 5.0
"""Of overhead a trial."""
FIT_SECONDS = 25.0
"""What starting Ray Train costs on two processors, which every trial would pay."""

JOB = """
task: classification
model: {{name: convnet}}
data: {{name: wildlife-sample, size: [{size}, {size}]}}
train: {{epochs: {epochs}, batch: 32, lr: 1e-3}}
wandb: {{mode: "off"}}
sweep:
  metric: val_loss
  trials: {trials}
  scheduler: none
  at_once: 1
  space:
    train.lr: {{loguniform: [1e-4, 1e-2]}}
    train.label_smoothing: {{uniform: [0, 0.2]}}
"""
NAME = "bench"


@dataclass(frozen=True)
class Command:
    """One command: when it was started (seconds since the epoch), how long it took, and the last line on stdout."""

    started: float
    seconds: float
    told: str


@dataclass(frozen=True)
class Trained:
    """What a run tells. epochs: seconds of each; claimed, began: when the attempt claimed the run, and its first step
    came (seconds since the epoch, whole ones); metrics, weights: None where it was stopped early."""

    epochs: tuple[float, ...]
    claimed: float
    began: float
    threads: int
    metrics: dict[str, Any] | None
    weights: dict[str, torch.Tensor] | None

    @property
    def is_complete(self) -> bool:
        """Whether it was trained to its end, and reported."""
        return self.metrics is not None


def measure(plan: Plan) -> Measured:
    """ratio = overhead a trial of the sweep / of separate runs, / that is allowed; seconds with / without stopping."""
    trials, epochs, size = (2, 1, 32) if plan.quick else (8, 3, 112)
    (plan.scratch / "jobs").mkdir()
    (plan.scratch / "jobs" / f"{NAME}.yaml").write_text(JOB.format(trials=trials, epochs=epochs, size=size))
    root = open_store(str(plan.scratch / "storage"))
    steps = trials + 3

    plan.on_progress("drawing the sample", 0, steps)
    images = ensure_sample("wildlife", root).manifest.split_sizes["train"]
    plan.on_progress("warm-up", 0, steps)
    _command(plan.scratch, "run", NAME, "--set", "train.epochs=1")
    plan.on_progress("sweep", 1, steps)
    sweep = [_command(plan.scratch, "sweep", NAME)]
    made = open_sweep(root, _id(sweep[0])).trials()
    runs = []
    for trial in made:
        plan.on_progress(f"separate run {trial.number + 1}", 2 + trial.number, steps)
        runs.append(_command(plan.scratch, "run", NAME, *_sets(trial)))
    plan.on_progress("sweep with early stopping", steps - 1, steps)
    asha = [_command(plan.scratch, "sweep", NAME, "--set", "sweep.scheduler=asha")]
    plan.on_progress("sweep", steps, steps)

    reference = [_trained(open_run(root, _id(run))) for run in runs]
    sides = {
        "sweep": (sweep, _trials(root, sweep[0])),
        "runs": (runs, reference),
        "asha": (asha, _trials(root, asha[0])),
    }
    constant: Row = {
        "trials": trials, "epochs": epochs, "images": images, "size": size, "batch": 32, "device": device().type,
    }  # fmt: skip
    rows: list[Row] = [
        constant | {"side": side} | figures(commands, trained, reference) for side, (commands, trained) in sides.items()
    ]
    return Measured(rows, compare(rows))


def figures(commands: Sequence[Command], trained: Sequence[Trained], reference: Sequence[Trained]) -> Row:
    """One side. trained: its trials, by number; reference: those of the separate runs.

    start_seconds: from a command's start to its first training step, mean over the commands; overhead_after_start:
    overhead a trial besides that, which a command pays once. claim_to_step_seconds: from a trial's claim to its first
    step, mean over the trials: of a run the start of Ray Train. same_as_runs: complete trials whose metrics and
    weights equal those of the separate run, to the bit.
    """
    seconds = sum(command.seconds for command in commands)
    own = sum(sum(run.epochs) for run in trained)
    firsts = trained if len(commands) == len(trained) else trained[:1]
    starts = [run.began - command.started for command, run in zip(commands, firsts, strict=True)]
    return {
        "threads": trained[0].threads,
        "seconds": seconds,
        "epochs_trained": sum(len(run.epochs) for run in trained),
        "epoch_seconds": own,
        "overhead_per_trial": (seconds - own) / len(trained),
        "start_seconds": mean(starts),
        "overhead_after_start": (seconds - own - sum(starts)) / len(trained),
        "claim_to_step_seconds": mean(run.began - run.claimed for run in trained),
        "complete": sum(run.is_complete for run in trained),
        "same_as_runs": sum(_is_same(run, other) for run, other in zip(trained, reference, strict=True)),
    }


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """What follows from the three sides."""
    sides = {str(row["side"]): row for row in rows}
    sweep, runs, asha = sides["sweep"], sides["runs"], sides["asha"]
    ours, trials = float(sweep["overhead_per_trial"]), int(sweep["trials"])
    job = f"convnet, {sweep['size']} px, {sweep['images']} images, {sweep['epochs']} epochs, {sweep['threads']} threads"
    own_epochs = (float(sweep["seconds"]) - float(runs["epoch_seconds"])) / trials
    return [
        Comparison(
            what=f"overhead a trial: sweep of {trials} / separate runs",
            unit="s",
            ours=[ours],
            other=[float(runs["overhead_per_trial"])],
            goal=Goal("<=", ALLOWED_SECONDS / FIT_SECONDS),
            note=f"{job}; {_of(sweep, 'seconds')} and {_of(runs, 'seconds')} in all, of which the epochs "
            f"{_of(sweep, 'epoch_seconds')} and {_of(runs, 'epoch_seconds')}; metrics and weights of "
            f"{sweep['same_as_runs']} of {trials} trials are the same to the bit; a run's Ray Train takes "
            f"{_of(runs, 'claim_to_step_seconds')} to its first step, a trial {_of(sweep, 'claim_to_step_seconds')}",
        ),
        Comparison(
            what="overhead a trial of the sweep / that is allowed",
            unit="s",
            ours=[ours],
            other=[ALLOWED_SECONDS],
            goal=Goal("<=", 1.0),
            note=f"{float(sweep['overhead_after_start']):.1f} s besides the command's own start of "
            f"{_of(sweep, 'start_seconds')}, paid once; counted against the epochs of the separate runs, which nothing "
            f"goes on beside, {own_epochs:.1f} s",
        ),
        Comparison(
            what=f"sweep of {trials} trials: with early stopping / without",
            unit="s",
            ours=[float(asha["seconds"])],
            other=[float(sweep["seconds"])],
            goal=Goal("<=", 1.0),
            note=f"{trials - int(asha['complete'])} of {trials} trials were stopped: {asha['epochs_trained']} epochs "
            f"were trained instead of {sweep['epochs_trained']}, {_of(asha, 'epoch_seconds')} of them instead of "
            f"{_of(sweep, 'epoch_seconds')}",
        ),
    ]


def _of(row: Row, key: str) -> str:
    return f"{float(row[key]):.0f} s"


def _is_same(run: Trained, other: Trained) -> bool:
    if run.weights is None or other.weights is None or run.metrics != other.metrics:
        return False
    ours, theirs = run.weights, other.weights
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _command(project: Path, *words: str) -> Command:
    """Run `visionjobs` in a project folder of its own, to its end."""
    own = {"VISIONJOBS_STORAGE": str(project / "storage"), "VISIONJOBS_CACHE": str(project / "cache")}
    environment = os.environ | own | {"VISIONJOBS_JOBS": str(project / "jobs")}
    command = [str(Path(sys.executable).with_name("visionjobs")), *words]
    started, clock = time.time(), time.perf_counter()
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - clock
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-5:])
        raise VisionjobsError(f"visionjobs {' '.join(words)} ended with status {done.returncode}: {last}")
    return Command(started, seconds, done.stdout.splitlines()[-1])


def _id(command: Command) -> str:
    """Of the run or sweep that it ended with."""
    return command.told.rpartition("/")[2]


def _sets(trial: Trial) -> list[str]:
    """The trial's parameters, as options."""
    return [word for key, value in trial.parameters.items() for word in ("--set", f"{key}={value}")]


def _trials(root: Store, command: Command) -> list[Trained]:
    sweep = open_sweep(root, _id(command))
    return [_trained(sweep.run_of(trial)) for trial in sweep.trials()]


def _trained(run: Run) -> Trained:
    (claim,) = (claim for claim in run.claims() if claim.kind == "attempt")
    progress = read_progress(run.store.at("attempts", f"{claim.number:04}")) or {}
    found, weights = run.metrics(), None
    if found is not None:
        weights = torch.load(io.BytesIO(run.store.read(f"weights/{NAME}.pth")), map_location="cpu", weights_only=True)
    return Trained(
        epochs=tuple(row["seconds"] for row in run.history()),
        claimed=datetime.fromisoformat(claim.started).timestamp(),
        began=datetime.fromisoformat(progress["began"]).timestamp(),
        threads=progress["facts"]["threads"],
        metrics=None if found is None else found["metrics"],
        weights=weights,
    )
