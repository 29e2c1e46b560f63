"""What follows a trial's training: completed, left as it is, or a warning; and what is no trial's own failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from offline_run import OfflineRun
from tiny import pytest_fail
from tiny_sweep import made, start_sweep, trained

from visionjobs.errors import StorageError
from visionjobs.runs import OUTCOME, TRAINED, Run
from visionjobs.sweeps import Stopped, Trial
from visionjobs.training.checkpoint import list_checkpoints
from visionjobs.tuning import finisher as finisher_module
from visionjobs.tuning.finisher import Finisher
from visionjobs.tuning.mirrors import Mirrors
from visionjobs.tuning.suggest import Trialling


@pytest.fixture
def common(tmp_path: Path) -> Trialling:
    return start_sweep(tmp_path, "train.epochs=1")


@dataclass
class Told:
    warnings: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)


def finisher(common: Trialling, told: Told) -> Finisher:
    mirrors = Mirrors(common.sweep, None, pytest_fail)
    return Finisher(common.sweep, common.settings.cache, mirrors, told.warnings.append, told.stages.append)


def finish(common: Trialling, *trials: Trial, before: Callable[[Finisher], None] = lambda _: None) -> Told:
    """All that is put in, to the end."""
    told = Told()
    with closing(finisher(common, told)) as thread:
        before(thread)
        for trial in trials:
            thread.put(trial)
    return told


def kinds(run: Run) -> list[str]:
    return [claim.kind for claim in run.claims()]


def test_completes_what_was_trained(common: Trialling) -> None:
    trial = trained(common, 0)
    run = common.sweep.run_of(trial)
    assert (run.record()["state"], run.metrics()) == (TRAINED, None)
    told = finish(common, trial)
    assert told == Told([], ["completing trial 0"])
    assert run.record()["state"] == "complete"
    assert run.metrics()["run"] == run.id
    assert kinds(run) == ["attempt", "finaliser"]
    for key in ("weights/tiny.pth", "report/report.html", "predictions/val.parquet"):
        assert run.store.exists(key), key
    assert not run.store.exists(f"attempts/0001/{OUTCOME}")


def test_is_complete_already(common: Trialling) -> None:
    """Put in twice: by the attempt of the sweep that was killed, and by the next one."""
    trial = trained(common, 0)
    finish(common, trial)
    written = common.sweep.run_of(trial).record()
    assert finish(common, trial) == Told()
    assert common.sweep.run_of(trial).record() == written


def test_stopped_early_is_not_completed(tmp_path: Path) -> None:
    """Even if it was trained to its end before it heard of the decision."""
    common = start_sweep(tmp_path, "train.epochs=2")
    heard, too_late = trained(common, 0, stop_after=1), trained(common, 1)
    for trial in (heard, too_late):
        common.sweep.stop_early(trial, Stopped(1, 0.1, 0.5))
    assert finish(common, heard, too_late) == Told()
    runs = [common.sweep.run_of(trial) for trial in (heard, too_late)]
    assert [run.record()["state"] for run in runs] == ["interrupted", TRAINED]
    assert [run.metrics() for run in runs] == [None, None]
    assert [kinds(run) for run in runs] == [["attempt"], ["attempt"]]


def test_could_not_begin(common: Trialling) -> None:
    trial = made(common, 0)
    assert finish(common, trial) == Told()
    assert common.sweep.run_of(trial).record() == {}


def test_damaged_checkpoint_is_a_warning_and_the_others_are_completed(common: Trialling) -> None:
    damaged, whole = trained(common, 0), trained(common, 1)
    run = common.sweep.run_of(damaged)
    Path(run.store.address, list_checkpoints(run)[-1].key, "state.pt").write_bytes(b"")
    told = finish(common, damaged, whole)
    assert len(told.warnings) == 2, "of the checkpoint, and of the trial"
    assert "trial 0:" in told.warnings[1]
    assert "checkpoint of its last step is damaged" in told.warnings[1]
    assert run.record()["state"] == "interrupted", "it may be continued"
    assert common.sweep.run_of(whole).record()["state"] == "complete"


def test_a_storage_that_fails_is_a_warning(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    trial = trained(common, 0)
    monkeypatch.setattr(finisher_module, "complete_run", fail)
    assert finish(common, trial).warnings == ["trial 0: the disk is full"]


def test_abandoned_leaves_what_is_not_begun(common: Trialling) -> None:
    trial = trained(common, 0)
    assert finish(common, trial, before=Finisher.abandon) == Told()
    run = common.sweep.run_of(trial)
    assert (run.record()["state"], kinds(run)) == (TRAINED, ["attempt"]), "for the next attempt of the sweep"
    assert run.store.exists(f"attempts/0001/{OUTCOME}")


def test_close_raises_what_is_no_failure_of_a_trial(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise ValueError("a bug")

    first, second = trained(common, 0), trained(common, 1)
    monkeypatch.setattr(finisher_module, "complete_run", bug)
    told = Told()
    thread = finisher(common, told)
    thread.put(first)
    thread.put(second)
    with pytest.raises(ValueError, match="a bug"):
        thread.close()
    assert told.stages == ["completing trial 0", "completing trial 1"], "it may be the first one's alone"
    assert told.warnings == ["trial 0: ValueError: a bug", "trial 1: ValueError: a bug"], "not only at the end"


def test_waits_for_one_that_still_ends_its_step(common: Trialling) -> None:
    trial = trained(common, 0)
    run = common.sweep.run_of(trial)
    written = run.record()
    attempt = finisher_module.Attempt(run, 1)
    attempt.update_record(state="running")
    later = threading.Timer(1.0, lambda: attempt.update_record(**written))
    later.start()
    assert finish(common, trial).warnings == []
    later.join()
    assert run.record()["state"] == "complete"


def test_does_not_wait_without_end(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finisher_module, "SETTLE_SECONDS", 0.1)
    trial = trained(common, 0)
    run = common.sweep.run_of(trial)
    finisher_module.Attempt(run, 1).update_record(state="running")
    assert finish(common, trial) == Told()
    assert run.metrics() is None


def test_one_that_was_killed_in_its_step_is_not_said_to_run(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of all, stopped early: Tune does not wait for it."""
    monkeypatch.setattr(finisher_module, "SETTLE_SECONDS", 0.1)
    trial = trained(common, 0)
    run = common.sweep.run_of(trial)
    finisher_module.Attempt(run, 1).update_record(state="running")
    common.sweep.stop_early(trial, Stopped(1, 0.1, 0.5))
    assert finish(common, trial) == Told()
    record = run.record()
    assert (record["state"], record["stopped"]) == ("interrupted", "its sweep stopped it early after epoch 1")
    assert run.metrics() is None


def test_the_trials_are_a_group_in_wandb_however_they_ended(tmp_path: Path) -> None:
    common = start_sweep(tmp_path, "wandb.mode=offline", "train.epochs=2")
    complete, stopped = trained(common, 0), trained(common, 1, stop_after=1)
    common.sweep.stop_early(stopped, Stopped(1, 0.1, 0.5))
    assert finish(common, complete, stopped).warnings == []
    written = {}
    for trial in (complete, stopped):
        (folder,) = Path(common.sweep.run_of(trial).store.address, "wandb").iterdir()
        written[trial.number] = OfflineRun(folder)
    assert [(run.run_id, run.group) for run in written.values()] == [
        (complete.run, common.sweep.id), (stopped.run, common.sweep.id),
    ]  # fmt: skip
    assert [row.get("epoch") for row in written[0].history] == [1, 2, None]
    assert [row.get("epoch") for row in written[1].history] == [1]
    assert [run.exit_code for run in written.values()] == [0, 1]
