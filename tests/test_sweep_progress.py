"""How far a sweep is, from folders as its driver and its trials write them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from finished_sweep import begin, complete, stop_early
from made_sweeps import trial, waiting
from tiny_sweep import made, start_sweep, train, trained

from visionjobs.errors import UserError
from visionjobs.run_progress import SILENT_SECONDS
from visionjobs.runs import Attempt, Run, dump_rows
from visionjobs.sweep_progress import (
    COMPLETE,
    ENDING,
    FAILED,
    INTERRUPTED,
    RUNNING,
    STOPPED,
    WAITING,
    TrialState,
    best_trial,
    follow_sweep,
    follow_trial,
)
from visionjobs.sweeps import Stopped, Trial
from visionjobs.tuning.suggest import Trialling

LR = {"train.lr": 1e-3}


@pytest.fixture
def common(tmp_path: Path) -> Trialling:
    return start_sweep(tmp_path)


def follow(common: Trialling, trial: Trial) -> TrialState:
    return follow_trial(common.sweep, trial, common.spec)


def claimed(common: Trialling, trial: Trial, ago: float = 60.0, gpus: float = 0.0, **progress: Any) -> Attempt:
    """An attempt of the trial that says it runs, and wrote its progress just now: it began so many seconds ago."""
    began = datetime.now(UTC) - timedelta(seconds=ago)
    run = common.sweep.run_of(trial)
    attempt = run.claim("attempt", {"gpus": gpus})
    claim = json.loads(run.store.read(f"attempts/{attempt.number:04}/claim.json"))
    run.store.write(f"attempts/{attempt.number:04}/claim.json", json.dumps(claim | {"started": began.isoformat()}))
    attempt.update_record(state="running")
    if progress:
        told = {"epochs": 2, "steps_per_epoch": 6, "updated": datetime.now(UTC).isoformat()} | progress
        attempt.write("progress.json", json.dumps(told))
    return attempt


def rows(*values: float | None) -> str:
    return dump_rows([{"epoch": epoch, "val_loss": value} for epoch, value in enumerate(values)])


# A trial's state.


def test_waiting_before_its_run_is_made(common: Trialling) -> None:
    state = follow(common, common.sweep.add_trial(0, LR))
    assert (state.state, state.reason, state.epochs_done, state.epochs) == (WAITING, None, 0, 2)
    assert (state.value, state.curve, state.seconds, state.ended) == (None, (), 0.0, False)
    assert state.parameters == LR
    assert state.run == f"{common.sweep.id}-t000"


def test_waiting_before_its_first_attempt(common: Trialling) -> None:
    state = follow(common, made(common, 0))
    assert (state.state, state.epochs_done, state.epochs, state.step) == (WAITING, 0, 2, None)


def test_running(common: Trialling) -> None:
    trial = made(common, 0)
    attempt = claimed(common, trial, ago=90, gpus=0.5, step=9)
    attempt.write("metrics.jsonl", rows(0.75))
    state = follow(common, trial)
    assert (state.state, state.epochs_done, state.epochs, state.step, state.steps) == (RUNNING, 1, 2, 9, 12)
    assert (state.curve, state.value, state.ended) == (((1, 0.75),), 0.75, False)
    assert state.seconds == pytest.approx(90, abs=2)
    assert state.gpu_hours == pytest.approx(0.5 * 90 / 3600, rel=0.03)
    assert state.eta_seconds == pytest.approx(30, abs=2), "9 steps in 90 s, 3 are left"


def test_silent(common: Trialling) -> None:
    """Killed: it says running for ever."""
    trial = made(common, 0)
    claimed(common, trial, ago=SILENT_SECONDS + 100)
    state = follow(common, trial)
    assert state.state.startswith("silent for 0:1")
    assert (state.ended, state.eta_seconds) == (False, None)


def test_ending_between_training_and_report(common: Trialling) -> None:
    trial = trained(common, 0)
    state = follow(common, trial)
    assert (state.state, state.ended, state.epochs_done) == (ENDING, False, 2)
    assert best_trial([state], maximise=False) is None


def test_complete(common: Trialling) -> None:
    trial = trained(common, 0)
    complete(common, trial)
    state, history = follow(common, trial), common.sweep.run_of(trial).history()
    assert (state.state, state.ended, state.reason) == (COMPLETE, True, None)
    assert state.curve == tuple((row["epoch"] + 1, row["val_loss"]) for row in history)
    assert state.value == history[-1]["val_loss"]
    assert (state.epochs_done, state.step, state.eta_seconds) == (2, 12, None)
    assert best_trial([state], maximise=False) == state


def test_stopped_early_its_curve_ends_at_the_decision(common: Trialling) -> None:
    """It hears of the decision a few steps later, and may have ended another epoch by then."""
    trial = trained(common, 0)
    history = common.sweep.run_of(trial).history()
    value = history[0]["val_loss"]
    assert len(history) == 2
    common.sweep.stop_early(trial, Stopped(1, value, 0.125))
    state = follow(common, trial)
    assert (state.state, state.ended) == (STOPPED, True)
    assert (state.epochs_done, state.epochs) == (2, 2), "its time is that of both"
    assert (state.curve, state.value) == (((1, value),), value)
    assert state.reason == f"after epoch 1: {value:.4g} did not reach 0.125"


@pytest.mark.parametrize(
    ("stopped", "reason"),
    [
        (Stopped(2, 0.75, None), "after epoch 2"),
        (Stopped(2, None, 0.5), "after epoch 2: no value, where 0.5 was to be reached"),
        (Stopped(2, None, None), "after epoch 2"),
    ],
)
def test_stopped_early_it_has_the_value_that_was_judged(common: Trialling, stopped: Stopped, reason: str) -> None:
    trial = made(common, 0)
    claimed(common, trial).write("metrics.jsonl", rows(0.25, stopped.value))
    common.sweep.stop_early(trial, stopped)
    state = follow(common, trial)
    assert (state.state, state.reason, state.value, state.eta_seconds) == (STOPPED, reason, stopped.value, None)


def test_one_whose_loss_became_infinite_is_not_judged_by_what_was_before(common: Trialling) -> None:
    trial = made(common, 0)
    claimed(common, trial).write("metrics.jsonl", rows(0.25, None))
    state = follow(common, trial)
    assert (state.curve, state.value, state.epochs_done) == (((1, 0.25),), None, 2)


def test_failed_tells_its_reason(common: Trialling) -> None:
    trial = made(common, 0)
    claimed(common, trial).update_record(state="failed", message="out of memory")
    state = follow(common, trial)
    assert (state.state, state.reason, state.ended, state.value) == (FAILED, "out of memory", True, None)


def test_interrupted_may_go_on_and_its_times_add_up(common: Trialling) -> None:
    trial = trained(common, 0, stop_after=1)
    first = follow(common, trial)
    assert (first.state, first.ended, first.epochs_done) == (INTERRUPTED, False, 1)
    assert first.reason
    train(common, trial)
    second = follow(common, trial)
    assert (second.state, second.epochs_done) == (ENDING, 2)
    assert second.curve[0] == first.curve[0]
    assert second.seconds >= first.seconds


def test_epochs_without_the_metric_have_no_place_in_the_curve(common: Trialling) -> None:
    trial = made(common, 0)
    claimed(common, trial).write("metrics.jsonl", rows(None, 0.5))
    state = follow(common, trial)
    assert (state.curve, state.value, state.epochs_done) == (((2, 0.5),), 0.5, 2)


def test_a_continued_trial_has_as_many_epochs_as_its_run_has(common: Trialling) -> None:
    trial = made(common, 0)
    claimed(common, trial).update_record(state="failed", changes={"train.epochs": [2, 5]})
    assert follow(common, trial).epochs == 5


# The sweep.


def test_before_it_begins(common: Trialling) -> None:
    told = follow_sweep(common.sweep)
    assert (told.state, told.wanted, told.at_once, told.trials, told.best) == ("not started", 4, None, (), None)
    assert (told.sweep, told.job, told.task, told.metric, told.maximise) == (
        common.sweep.id, "tiny", "classification", "val_loss", False,
    )  # fmt: skip
    assert (told.created, told.finished, told.message) == (None, None, None)


def test_while_it_runs(common: Trialling) -> None:
    begin(common)
    complete(common, trained(common, 0))
    stop_early(common, trained(common, 1, lr=1e-4, stop_after=1))
    common.sweep.add_trial(2, {"train.lr": 3e-3})
    told = follow_sweep(common.sweep)
    assert (told.state, told.wanted, told.at_once) == (RUNNING, 4, 1)
    assert [state.state for state in told.trials] == [COMPLETE, STOPPED, WAITING]
    assert [state.number for state in told.trials] == [0, 1, 2]
    assert told.best == told.trials[0]
    assert told.created == common.sweep.folder.record()["created"]


def test_the_newest_attempt_tells_how_many_at_once(common: Trialling) -> None:
    for at_once in (4, 2):
        common.sweep.folder.claim("attempt", {"at_once": at_once})
    assert follow_sweep(common.sweep).at_once == 2


def test_changes_of_a_continued_one_count(common: Trialling) -> None:
    begin(common).update_record(changes={"sweep.trials": [4, 9]})
    assert follow_sweep(common.sweep).wanted == 9


def test_known_states_are_taken_as_they_are(common: Trialling) -> None:
    common.sweep.add_trial(0, LR)
    assert follow_sweep(common.sweep, [trial(7, LR, (0.5,))]).trials == (trial(7, LR, (0.5,)),)


@pytest.mark.parametrize("key", ["trials/0000.json", "runs/{run}/record.json", "record.json"])
def test_damage_is_told_with_its_file(common: Trialling, key: str) -> None:
    made(common, 0)
    key = key.format(run=f"{common.sweep.id}-t000")
    common.sweep.store.write(key, "{")
    with pytest.raises(UserError, match=key):
        follow_sweep(common.sweep)


# Its best trial.


@pytest.mark.parametrize(
    ("values", "maximise", "best"),
    [
        ((0.5, 0.75, 0.625), True, 1),
        ((0.5, 0.75, 0.625), False, 0),
        ((0.5, 0.75, 0.75), True, 1),
        ((0.5, 0.25, 0.25), False, 1),
        ((0.0, -0.5, 0.5), True, 2),
        ((0.0, -0.5, 0.5), False, 1),
        ((nan, 0.25, 0.5), True, 2),
        ((0.25, nan, 0.5), False, 0),
        ((inf, 0.25, 0.125), True, 1),
        ((nan, inf, -inf), True, None),
        ((), True, None),
    ],
)
def test_best(values: tuple[float, ...], maximise: bool, best: int | None) -> None:
    trials = [trial(number, LR, (0.1, value)) for number, value in enumerate(values)]
    found = best_trial(trials, maximise=maximise)
    assert (None if found is None else found.number) == best
    backwards = best_trial(trials[::-1], maximise=maximise)
    assert backwards == found


@pytest.mark.parametrize("state", [STOPPED, FAILED, RUNNING, ENDING, INTERRUPTED, WAITING])
def test_only_complete_ones_can_be_best(state: str) -> None:
    assert best_trial([trial(0, LR, (0.9,), state)], maximise=True) is None
    assert best_trial([trial(0, LR, (0.9,), state), trial(1, LR, (0.1,))], maximise=True) == trial(1, LR, (0.1,))


def test_one_without_a_value_is_not_best() -> None:
    assert best_trial([replace(waiting(0), state=COMPLETE)], maximise=True) is None


def test_a_trial_that_completes_while_it_is_read_has_all_its_epochs(
    common: Trialling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state that has ended is not read again."""
    trial = made(common, 0)
    attempt = claimed(common, trial)
    attempt.write("metrics.jsonl", rows(0.9))
    record = Run.record

    def at_its_end(run: Run) -> dict[str, Any]:
        attempt.write("metrics.jsonl", rows(0.9, 0.5))
        run.store.write("record.json", json.dumps({"state": "complete"}))
        return record(run)

    monkeypatch.setattr(Run, "record", at_its_end)
    state = follow(common, trial)
    assert (state.state, state.epochs_done, state.value) == (COMPLETE, 2, 0.5)
