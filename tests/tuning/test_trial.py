"""A trial's attempt as its process makes it, in this one: what it reports, how it ends, and what it leaves."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_sweep import made, start_sweep

from visionjobs.errors import StoppedError, StorageError, VisionjobsError
from visionjobs.runs import OUTCOME, TRAINED, Run, request_stop
from visionjobs.sweeps import Stopped, Trial
from visionjobs.tasks.classification import Classification
from visionjobs.training.stop import POD
from visionjobs.tuning import trial as trial_module
from visionjobs.tuning.asha import ENDED, EPOCH, NUMBER, VALUE
from visionjobs.tuning.suggest import Trialling
from visionjobs.tuning.trial import BROKEN_OFF, DONE, FAILED, STOPPED, TrialActor, _TrialAttempt


@pytest.fixture
def common(tmp_path: Path) -> Trialling:
    return start_sweep(tmp_path, "train.epochs=3")


def reports(attempt: _TrialAttempt) -> list[dict[str, Any]]:
    """All of them, to the last."""
    found = [attempt.next_report()]
    while ENDED not in found[-1]:
        found.append(attempt.next_report())
    return found


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Each training step takes so long."""
    loss = Classification.loss

    def waiting(self, outputs, targets):
        time.sleep(seconds)
        return loss(self, outputs, targets)

    monkeypatch.setattr(Classification, "loss", waiting)


def test_reports_each_epoch_once_then_the_end(common: Trialling) -> None:
    trial = made(common, 0)
    told = reports(_TrialAttempt(common.work(trial)))
    assert [report[EPOCH] for report in told] == [1, 2, 3, 3]
    assert all(report[NUMBER] == 0 for report in told)
    run = common.sweep.run_of(trial)
    assert [report[VALUE] for report in told[:3]] == [row["val_loss"] for row in run.history()]
    assert told[-1][ENDED] == DONE
    assert told[-1]["done"]


def test_leaves_its_outcome_for_the_driver(common: Trialling) -> None:
    trial = made(common, 0)
    reports(_TrialAttempt(common.work(trial)))
    run = common.sweep.run_of(trial)
    assert run.record()["state"] == TRAINED
    assert run.store.exists(f"attempts/0001/{OUTCOME}")
    assert run.metrics() is None


def test_stopped_by_its_sweep_it_ends_in_the_middle_with_a_checkpoint_and_the_reason(
    common: Trialling, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, 0.2)
    trial = made(common, 0)
    attempt = _TrialAttempt(common.work(trial))
    assert attempt.next_report()[EPOCH] == 1
    common.sweep.stop_early(trial, Stopped(1, 0.5, 0.4))
    began = time.monotonic()
    attempt.stop()
    assert time.monotonic() - began < 5
    record = common.sweep.run_of(trial).record()
    assert record["state"] == "interrupted"
    assert record["stopped"] == "its sweep stopped it early after epoch 1"
    assert record["attempts"][0]["step"] < 18
    assert reports(attempt)[-1][ENDED] == STOPPED


def test_taken_up_again_it_reports_what_is_known_first(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = made(common, 0)
    with monkeypatch.context() as patch:
        slow(patch, 0.2)
        first = _TrialAttempt(common.work(trial))
        first.next_report()
        first.stop()
    again = reports(_TrialAttempt(common.work(trial)))
    other = made(common, 1)
    whole = reports(_TrialAttempt(common.work(other)))
    assert [(report[EPOCH], report[VALUE]) for report in again] == [
        (report[EPOCH], report[VALUE]) for report in whole
    ], "to the bit as one that was never stopped"
    assert len(common.sweep.run_of(trial).record()["attempts"]) == 2


def test_a_loss_that_is_not_finite_fails_for_good(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, calls = Classification.loss, []

    def overflowing(self, outputs, targets):
        calls.append(1)
        factor = float("inf") if len(calls) == 9 else 1.0
        return {name: term * factor for name, term in loss(self, outputs, targets).items()}

    monkeypatch.setattr(Classification, "loss", overflowing)
    trial = made(common, 0)
    told = reports(_TrialAttempt(common.work(trial)))
    assert [report[EPOCH] for report in told] == [1, 1]
    assert told[-1][ENDED] == FAILED
    assert "the loss of step 9 (epoch 2) is not finite" in told[-1]["message"]
    assert common.sweep.run_of(trial).record()["state"] == "failed"


def test_out_of_memory_fails_for_good(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> Any:
        raise torch.OutOfMemoryError("tried to allocate 20.00 GiB")

    monkeypatch.setattr(Classification, "loss", exhausted)
    told = reports(_TrialAttempt(common.work(made(common, 0))))
    assert told[-1][ENDED] == FAILED
    assert "the device ran out of memory" in told[-1]["message"]
    assert told[-1][VALUE] is None


def test_what_cannot_begin_is_recorded_by_the_driver(tmp_path: Path) -> None:
    common = start_sweep(tmp_path, "train.batch=64")
    trial = made(common, 0)
    told = reports(_TrialAttempt(common.work(trial)))
    assert told[-1][ENDED] == FAILED
    run = common.sweep.run_of(trial)
    assert run.claims() == []
    info = {"code": {}, "hardware": {}, "workers": 1, "threads": 1, "gpus": 0}
    common.sweep.fail(trial, told[-1]["message"], info)
    assert run.record()["state"] == "failed"
    assert "64 is more than the 48" in run.record()["message"]
    common.sweep.fail(trial, "again", info)
    assert "64" in run.record()["message"], "the first reason counts"


def test_an_error_that_may_pass_is_raised_and_at_last_told(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that Tune starts the process anew; limits.worker_failures = 3 times."""

    def fails(*_: Any) -> Any:
        raise RuntimeError("a device is gone")

    monkeypatch.setattr(Classification, "loss", fails)
    trial = made(common, 0)
    for before in (0, 4):  # the attempts of an earlier driver of the sweep do not count
        work = common.work(trial)
        for _ in range(3):
            with pytest.raises(VisionjobsError, match="RuntimeError: a device is gone"):
                reports(_TrialAttempt(work))
        told = reports(_TrialAttempt(work))
        assert told[-1][ENDED] == FAILED
        assert "a device is gone" in told[-1]["message"]
        run = common.sweep.run_of(trial)
        assert run.record()["state"] == "interrupted"
        assert "a device is gone" in run.store.read(f"attempts/{before + 4:04}/error.txt").decode()


def test_a_pod_that_goes_is_left_before_the_trial_is_tried_again(
    common: Trialling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_STOP_DIR", str(tmp_path / "pod"))
    waited: list[float] = []
    slow(monkeypatch, 0.1)
    attempt = _TrialAttempt(common.work(made(common, 0)))
    attempt.next_report()
    (tmp_path / "pod" / "stop").touch()
    monkeypatch.setattr(trial_module.time, "sleep", waited.append)
    with pytest.raises(StoppedError, match=POD):
        reports(attempt)
    assert trial_module.STOP_SECONDS in waited


def test_asked_in_the_storage_it_stops(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 0.3)
    trial = made(common, 0)
    attempt = _TrialAttempt(common.work(trial))
    attempt.next_report()
    request_stop(common.sweep.run_of(trial).store, "it was cancelled by ann")
    assert reports(attempt)[-1][ENDED] == STOPPED
    assert common.sweep.run_of(trial).record()["stopped"] == "it was cancelled by ann"


def config(common: Trialling, trial: Trial) -> dict[str, Any]:
    return {"number": trial.number, "work": common.work(trial)}


def test_the_process_is_used_again_by_the_next_trial(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is ended before the second begins."""
    first, second = made(common, 0), made(common, 1)

    with monkeypatch.context() as patch:
        slow(patch, 0.2)
        actor = TrialActor(config(common, first))
        assert actor.step()[NUMBER] == 0
        assert actor.reset_config(config(common, second))
    assert common.sweep.run_of(first).record()["state"] == "interrupted"
    told = [actor.step() for _ in range(4)]
    assert [report[NUMBER] for report in told] == [1] * 4
    assert told[-1][ENDED] == DONE
    actor.cleanup()


def test_a_process_that_cannot_be_used_again_fails_the_next_trial_in_its_step(
    common: Trialling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There Tune gives the trial another process; while it is reset Tune would end it."""
    first, second = made(common, 0), made(common, 1)
    with monkeypatch.context() as patch:
        slow(patch, 0.2)
        patch.setattr(trial_module, "STOP_SECONDS", 0.0)
        actor = TrialActor(config(common, first))
        actor.step()
        held = actor._attempt
        assert actor.reset_config(config(common, second))
        for _ in range(2):
            with pytest.raises(VisionjobsError, match="t000 does not end: its process cannot be used again"):
                actor.step()
        actor.cleanup()
    held._thread.join()
    assert common.sweep.run_of(second).claims() == []
    assert [TrialActor(config(common, second)).step()[NUMBER]] == [1], "in another process"


def test_a_storage_that_does_not_answer_as_it_begins_breaks_it_off(
    common: Trialling, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Run) -> Any:
        raise StorageError("the bucket does not answer")

    work = common.work(made(common, 0))
    monkeypatch.setattr(Run, "history", away)
    (told,) = reports(_TrialAttempt(work))
    assert (told[ENDED], told["message"]) == (BROKEN_OFF, "the bucket does not answer")


def test_a_job_that_its_process_refuses_fails_for_good(common: Trialling) -> None:
    work = common.work(made(common, 0))
    (told,) = reports(_TrialAttempt(replace(work, spec=work.spec | {"train": {"lr": -1}})))
    assert told[ENDED] == FAILED
    assert "train.lr: expected" in told["message"]


def test_one_that_used_up_its_attempts_says_so_and_offers_none(tmp_path: Path) -> None:
    common = start_sweep(tmp_path, "limits.attempts=1")
    trial = made(common, 0)
    work = common.work(trial)
    common.sweep.run_of(trial).claim("attempt", {"gpus": 0})
    (told,) = reports(_TrialAttempt(work))
    assert told[ENDED] == FAILED
    assert told["message"] == f"run {trial.run} has used its 1 attempts (limits.attempts)"


def test_a_share_of_a_device_divides_its_memory(common: Trialling) -> None:
    trial = made(common, 0)
    reports(_TrialAttempt(replace(common.work(trial), on_device=4)))
    (attempt,) = common.sweep.run_of(trial).record()["attempts"]
    assert "4 processes on the device" in attempt["facts"]["resident"]["train"]["reason"]


def test_a_superseded_trial_is_no_failure(common: Trialling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another driver of the sweep has it."""
    slow(monkeypatch, 0.2)
    trial = made(common, 0)
    attempt = _TrialAttempt(common.work(trial))
    attempt.next_report()
    common.sweep.run_of(trial).claim("attempt", {"gpus": 0})
    told = reports(attempt)
    assert told[-1][ENDED] == STOPPED
    assert "superseded" in told[-1]["message"]
    assert common.sweep.run_of(trial).record()["state"] == "running", "the record is the other's"


def test_a_trial_that_was_cancelled_goes_on_with_its_sweep(common: Trialling) -> None:
    trial = made(common, 0)
    request_stop(common.sweep.run_of(trial).store, "it was cancelled by ann")
    assert reports(_TrialAttempt(common.work(trial)))[-1][ENDED] == DONE


def test_a_completion_that_was_broken_off_is_made_by_a_further_attempt(common: Trialling) -> None:
    """The finaliser of the first attempt was killed."""
    trial = made(common, 0)
    reports(_TrialAttempt(common.work(trial)))
    run = common.sweep.run_of(trial)
    run.claim("finaliser", {"attempt": 1}, number=2)
    told = reports(_TrialAttempt(common.work(trial)))
    assert [report[EPOCH] for report in told] == [1, 2, 3, 3]
    assert told[-1][ENDED] == DONE
    assert run.store.exists(f"attempts/0003/{OUTCOME}")
