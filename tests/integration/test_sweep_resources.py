"""What a sweep holds of a Ray: nothing for a trial that was stopped early, and nothing at the end."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
from cli_runs import Project
from sweep_lab import trial_processes

from visionjobs.cluster.local import Connection, connect
from visionjobs.jobfile import parse_job
from visionjobs.settings import Settings
from visionjobs.storage import open_store
from visionjobs.sweep_progress import COMPLETE, RUNNING, STOPPED, SweepProgress
from visionjobs.tuning.driver import pin_sweep, run_sweep
from visionjobs.tuning.place import HERE, SweepPlace
from visionjobs.tuning.watch import SweepWatcher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JOB = """
task: classification
model: {name: convnet}
data: {name: tiny, size: [128, 128]}
train: {epochs: 120, batch: 16}
resources: {cpus: 1, gpus: 0}
wandb: {mode: "off"}
sweep:
  metric: val_loss
  trials: 2
  at_once: 2
  grace: 3
  space:
    train.lr: {choice: [0.001, 0.000001]}
    model.name: {choice: [convnet, resnet18]}
"""
SLOW_AND_BAD = {"train.lr": 1e-6, "model.name": "resnet18"}
"""What seed 0 proposes for trial 1. An epoch of it takes ten times as long as one of trial 0: whichever process starts
first, and by many seconds, it comes to a rung after trial 0, is worse there, and trial 0 has long to go."""


def test_a_trial_that_is_stopped_early_frees_its_cpu_at_once(project: Project, monkeypatch) -> None:
    """Two trials at once on two CPUs; the worse one is stopped while the other trains on."""
    for name, value in project.env.items():
        if name.startswith("VISIONJOBS_"):
            monkeypatch.setenv(name, value)
    settings, root = Settings.from_env(), open_store(project.storage)
    spec = pin_sweep(root, parse_job(JOB, "job", "held"), settings.cache)
    parameters: dict[int, object] = {}
    seen: list[tuple[float, int, list[str]]] = []
    held: list[Connection] = []
    at_the_end: list[object] = []

    @contextmanager
    def joined(given: Settings):
        with connect(given) as connection:
            held.append(connection)
            yield connection
            at_the_end.extend([connection.free(), connection.resources, placement_groups(), living_actors(connection)])

    def changed(progress: SweepProgress) -> None:
        parameters.update({trial.number: trial.parameters for trial in progress.trials})
        seen.append((time.monotonic(), held[0].free().cpus, [trial.state for trial in progress.trials]))

    def ignore(*_: object) -> None:
        """Nobody is told."""

    watcher = SweepWatcher(ignore, changed, ignore, ignore, lambda *_: ignore)
    run_sweep(settings, root, spec, None, watcher, SweepPlace(joined, HERE.trials, keeps_logs=False))

    assert parameters[1] == SLOW_AND_BAD
    total = at_the_end[1].cpus
    assert at_the_end[0] == at_the_end[1], "all CPUs are free at the end"
    assert set(at_the_end[2]) <= {"REMOVED"}
    assert at_the_end[3] == []
    assert trial_processes(project) == []
    assert {state for _, _, states in seen for state in states} >= {RUNNING, STOPPED, COMPLETE}
    alone = [free for _, free, states in seen if sorted(states) == sorted([RUNNING, STOPPED])]
    assert len(alone) >= 6, "the other trial must train on for a while"
    assert alone[-3:] == [total - 1] * 3, "its step ended and its checkpoint stored, its CPU is free"


def placement_groups() -> list[str]:
    import ray

    return [group["state"] for group in ray.util.placement_group_table().values()]


def living_actors(connection: Connection) -> list[str]:
    from ray.util.state import list_actors

    living = list_actors(address=connection.dashboard_url, filters=[("state", "=", "ALIVE")])
    return [actor.class_name for actor in living]
