"""Who may ask a run to stop, in the storage and in a pod, and what a pod's preStop hook sees."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import start_attempt, tiny_spec, train_here
from tiny_stop import at_step

from visionjobs.errors import StoppedError, StorageError, UserError
from visionjobs.runs import read_progress, request_stop, stop_requested
from visionjobs.storage import Store
from visionjobs.training import recorder as recorder_module
from visionjobs.training.checkpoint import list_checkpoints
from visionjobs.training.recorder import Recorder
from visionjobs.training.stop import POD, Lookout, StopFile, refuse_told, running
from visionjobs.training.watch import Watcher, watch
from visionjobs.training.worker import Worker
from visionjobs.training.worker_main import Outcome

ALONE = Worker(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("whose", ["run", "attempt"])
def test_asked_in_the_storage(root: Store, monkeypatch, whose: str) -> None:
    monkeypatch.setattr(recorder_module, "PROGRESS_SECONDS", {"folder": 0.01})
    spec = tiny_spec("train.epochs=40")
    attempt = start_attempt(root, spec)

    heard: list[str] = []

    def listening(store: Store) -> str | None:
        why = stop_requested(store)
        heard.extend([why] if why else [])
        return why

    def ask() -> None:
        request_stop(attempt.run.store if whose == "run" else attempt.store, "it was cancelled by ann")
        while not heard:
            time.sleep(0.01)
        time.sleep(0.1)  # the recorder notes it

    monkeypatch.setattr(recorder_module, "stop_requested", listening)

    at_step(8, ask, monkeypatch)
    outcome = train_here(root, attempt, spec)
    assert (outcome.error, outcome.stopped) == (
        "stopped at step 8 (epoch 2): it was cancelled by ann", "it was cancelled by ann",
    )  # fmt: skip
    assert list_checkpoints(attempt.run)[-1].step == 8


def test_asked_before_it_began(root: Store, monkeypatch) -> None:
    spec = tiny_spec("train.epochs=40")
    attempt = start_attempt(root, spec)
    request_stop(attempt.run.store, "it was cancelled")
    at_step(1, lambda: time.sleep(0.5), monkeypatch)
    assert train_here(root, attempt, spec).error == "stopped at step 1 (epoch 1): it was cancelled"


def test_storage_that_does_not_answer_when_asked_ends_nothing(root: Store, monkeypatch) -> None:
    def silent(_: Store) -> None:
        raise StorageError("no answer")

    monkeypatch.setattr(recorder_module, "stop_requested", silent)
    spec = tiny_spec("train.epochs=1")
    assert train_here(root, start_attempt(root, spec), spec).error is None


def test_driver_in_a_pod_without_workers_asks_the_attempt(root: Store, pod: Path) -> None:
    spec = tiny_spec()
    attempt = start_attempt(root, spec)
    (pod / "stop").touch()

    def train() -> Outcome:  # workers elsewhere
        deadline = time.monotonic() + 20
        while (why := stop_requested(attempt.store)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return Outcome(error=f"stopped at step 3 (epoch 1): {why}", exit_status=1, stopped=why)

    class Mirror:
        def rows(self, rows: list[dict[str, Any]]) -> None: ...

    stages: list[str] = []
    nothing = [lambda *_: None] * 3
    with pytest.raises(StoppedError, match="at step 3") as stopped:
        watch(train, attempt, spec, Watcher(*nothing, stages.append, lambda *_: None), Mirror())
    assert (stopped.value.exit_status, stopped.value.reason) == (1, POD)
    assert stages == ["stopping at the end of a step"]


def test_time_that_is_over_asks_for_a_checkpoint(root: Store) -> None:
    """Else a run whose checkpoints are rarer than `limits.hours` would begin the same epoch for ever."""
    spec = tiny_spec("limits.hours=0.0001")
    attempt = start_attempt(root, spec)

    def train() -> Outcome:
        deadline = time.monotonic() + 20
        while (why := stop_requested(attempt.store)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return Outcome(error=f"stopped at step 3 (epoch 1): {why}", exit_status=1, stopped=why)

    class Mirror:
        def rows(self, rows: list[dict[str, Any]]) -> None: ...

    with pytest.raises(StoppedError, match=r"at step 3 .*its 0.0001 hours are over \(limits.hours\)"):
        watch(train, attempt, spec, Watcher(*[lambda *_: None] * 5), Mirror())


def test_a_file_that_is_there_is_not_made_again(pod: Path) -> None:
    assert StopFile().make()
    assert not StopFile().make()
    with pytest.raises(StoppedError, match="not begun"):
        refuse_told()


# In the pod


def test_running_file_names_the_process_and_goes_with_it(pod: Path) -> None:
    with pytest.raises(KeyError):
        with running("worker-0"):
            assert (pod / "running-worker-0").read_text() == f"{os.getpid()}\n"
            assert len(list(pod.iterdir())) == 1, "nothing half-written is left"
            raise KeyError
    assert list(pod.iterdir()) == []


def test_outside_of_a_pod_nobody_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("VISIONJOBS_STOP_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stop").touch()
    with running("worker-0"):
        assert [path.name for path in tmp_path.iterdir()] == ["stop"]
    assert not StopFile().is_there()


def test_folder_that_cannot_be_one_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VISIONJOBS_STOP_DIR", str(tmp_path / "file"))
    with pytest.raises(UserError, match="VISIONJOBS_STOP_DIR"):
        with running("worker-0"):
            pass


def test_slowest_checkpoint_is_in_the_progress(root: Store, monkeypatch, tmp_path: Path) -> None:
    waits = iter([0.3, 0.0])
    monkeypatch.setattr(recorder_module, "save_checkpoint", lambda *_, **__: time.sleep(next(waits)))
    spec = tiny_spec()
    attempt = start_attempt(root, spec)
    recorder = Recorder(attempt, tmp_path, {}, 0)
    for step in (1, 2):
        recorder.checkpoint({}, step=step, epoch=0, score=None)
    recorder.close()
    assert 0.3 <= read_progress(attempt.store)["checkpoint_seconds"] < 2


def test_a_look_costs_microseconds(pod: Path) -> None:
    """Of a step of a millisecond less than 2 %: in the best of five rounds."""
    lookout = Lookout(ALONE, lambda: None)
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(1000):
            lookout.due()
            lookout.alone()
        rounds.append((time.perf_counter() - started) / 1000)
    assert min(rounds) < 20e-6
