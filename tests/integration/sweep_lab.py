"""Sweeps as a person starts them, and what is compared of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psutil
from cli_runs import Project, cmdline

from visionjobs.storage import open_store
from visionjobs.sweep_progress import SweepProgress, follow_sweep
from visionjobs.sweeps import open_sweep

SEARCH_JOB = """
task: classification
model: {name: convnet}
data: {name: tiny, size: [128, 128]}
train: {epochs: 9, batch: 8, checkpoint: {every: 2, unit: steps}}
resources: {cpus: 1, gpus: 0}
wandb: {mode: "off"}
sweep:
  metric: val_loss
  trials: 8
  at_once: 1
  seed: 5
  space:
    train.lr: {loguniform: [1e-5, 1e-1]}
    train.batch: {choice: [8, 16]}
"""


@dataclass(frozen=True)
class Ended:
    """A sweep's command and what its folder holds. told: on stderr."""

    id: str
    told: str
    progress: SweepProgress

    def outcomes(self) -> dict[int, tuple[Any, ...]]:
        """What must not depend on kills: of each trial its state, parameters and curve."""
        return {
            trial.number: (trial.state, trial.parameters, trial.curve, trial.value) for trial in self.progress.trials
        }


def progress_of(project: Project, sweep_id: str) -> SweepProgress:
    """How far a sweep is. On S3 the credentials are this process's."""
    return follow_sweep(open_sweep(open_store(project.storage), sweep_id))


def sweep(project: Project, job: str, *options: str, status: int = 0, timeout: float = 580) -> Ended:
    """Run `visionjobs sweep` to its end."""
    done = project.call("sweep", job, *options, timeout=timeout)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    sweep_id = done.stdout.splitlines()[-1].rpartition("/")[2]
    return Ended(sweep_id, done.stderr, progress_of(project, sweep_id))


def trial_processes(project: Project) -> list[psutil.Process]:
    """The processes that train trials."""
    return [process for process in project.processes() if "TrialActor" in " ".join(cmdline(process))]


def attempts_of(project: Project, sweep_id: str) -> dict[int, int]:
    """Trial -> how many attempts its run has."""
    swept = open_sweep(open_store(project.storage), sweep_id)
    return {
        trial.number: sum(claim.kind == "attempt" for claim in swept.run_of(trial).claims()) for trial in swept.trials()
    }


def results(project: Project, sweep_id: str) -> dict[str, Any]:
    """results.json."""
    return json.loads(open_store(project.storage).read(f"sweeps/{sweep_id}/results.json"))
