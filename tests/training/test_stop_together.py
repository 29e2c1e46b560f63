"""Several workers stop at the same step, though one of them alone is told; how often they compare notes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import assert_same_bits, final_weights, start_attempt, tiny_spec, train_here, train_in_processes, work_for
from tiny_stop import RARELY, table

from visionjobs.data.order import evaluation_plan, shared_batches
from visionjobs.runs import Attempt, read_progress
from visionjobs.spec import JobSpec
from visionjobs.storage import Store
from visionjobs.training import stop as stop_module
from visionjobs.training.checkpoint import list_checkpoints
from visionjobs.training.stop import POD, Lookout
from visionjobs.training.worker import Worker


def stop_in_processes(
    root: Store, attempt: Attempt, spec: JobSpec, told_at: int, slow: float = 0.0, world: int = 2
) -> list[dict[str, Any]]:
    """What each of `world` workers printed (stop_process.py)."""
    script, meeting = Path(__file__).with_name("stop_process.py"), Path(f"{root.address}-meeting-{attempt.run.id}")
    work = json.dumps(asdict(work_for(root, attempt, spec)))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(world)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), work, str(rank), str(world), str(meeting), str(told_at), str(slow)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(world)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * world
        return [json.loads(output.splitlines()[-1]) for output in outputs]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_one_of_two_is_told_and_both_stop_at_the_same_step(root: Store) -> None:
    """Steps of 0.5 s on the slower one: after the first one they compare notes every 10 of the 12 of an epoch, or,
    where the first one took its time, at the epoch's end."""
    spec = tiny_spec("resources.workers=2", "train.batch=4", RARELY)
    whole, attempt = start_attempt(root, spec), start_attempt(root, spec)
    assert train_in_processes(root, whole, spec, 2).error is None
    first, second = stop_in_processes(root, attempt, spec, told_at=8, slow=0.5)
    assert first["intervals"] == second["intervals"]
    assert first["outcome"]["error"] == second["outcome"]["error"]
    assert (first["outcome"]["exit_status"], first["outcome"]["stopped"]) == (1, POD)
    assert first["left"] == second["left"] == []
    (info,) = list_checkpoints(attempt.run)
    assert 8 <= info.step <= 12
    assert f"stopped at step {info.step} " in first["outcome"]["error"]
    resumed = attempt.run.claim("attempt", {})
    assert train_in_processes(root, resumed, spec, 2).error is None
    assert_same_bits(final_weights(whole.run), final_weights(attempt.run))
    assert table(whole) == table(attempt)
    assert read_progress(resumed.store)["resumed_from_step"] == info.step


def test_interval_is_agreed_from_the_slowest_worker(root: Store) -> None:
    """Steps of 1.2 s on one of two: at most 4 in 5 seconds, on both of them."""
    spec = tiny_spec("resources.workers=2", "train.epochs=1", RARELY)
    first, second = stop_in_processes(root, start_attempt(root, spec), spec, told_at=3, slow=1.2)
    assert first["intervals"] == second["intervals"]
    assert 1 <= min(first["intervals"]) <= max(first["intervals"]) <= 4
    assert first["outcome"]["stopped"] == POD


@pytest.mark.parametrize(
    ("seconds", "steps", "wanted"),
    [(0.001, 50, 50), (0.1, 50, 50), (0.25, 1, 20), (1.0, 5, 5), (4.0, 1, 1), (6.0, 1, 1), (60.0, 3, 1)],
)
def test_interval_that_a_worker_wants(monkeypatch, seconds: float, steps: int, wanted: int) -> None:
    """seconds: of a step. 50 steps of 6 s would be five minutes."""
    clock = [100.0]
    monkeypatch.setattr(stop_module.time, "monotonic", lambda: clock[0])
    lookout = Lookout(Worker(0, 2, torch.device("cpu")), lambda: None)
    assert all(lookout.due() for _ in range(steps)), "the first interval is one step"
    clock[0] += steps * seconds
    assert lookout.notes()[0] == wanted
    assert lookout.take(*lookout.notes()) is None
    assert [lookout.due() for _ in range(wanted)] == [False] * (wanted - 1) + [True]


def test_an_epoch_after_a_fast_validation_begins_with_a_look(monkeypatch) -> None:
    """Validation of 20 ms a batch agrees on 50; 50 training steps of 3 s would be longer than any grace period."""
    lookout = Lookout(Worker(0, 2, torch.device("cpu")), lambda: None)
    assert lookout.take(50, lookout.notes()[1]) is None
    assert not lookout.due()
    lookout.begin()
    assert lookout.due()


def test_every_epoch_and_every_evaluation_begins_anew(root: Store, monkeypatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(Lookout, "begin", lambda self: begun.append("begun"))
    monkeypatch.setattr(Lookout, "__init__", _without_begin(Lookout.__init__))
    spec = tiny_spec("train.epochs=2")
    assert train_here(root, start_attempt(root, spec), spec).error is None
    assert len(begun) >= 2 + 2 + 1, "epochs, validations, the last evaluation"


def _without_begin(init: Any) -> Any:
    """Its own first look does not count."""

    def make(self: Lookout, *args: Any) -> None:
        self._interval, self._steps, self._since = 1, 0, 0.0
        init(self, *args)

    return make


@pytest.mark.parametrize(("n", "world"), [(12, 1), (12, 2), (13, 2), (7, 3), (1, 2), (2, 4), (100, 3)])
def test_batches_that_all_workers_have(n: int, world: int) -> None:
    plans = [len(list(evaluation_plan(n, 4, rank, world))) for rank in range(world)]
    assert shared_batches(n, 4, world) == min(plans)
