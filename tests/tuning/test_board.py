"""What the driver knows of its trials: from the folders at the start, from reports later on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import made, start_sweep, trained

from visionjobs.runs import Attempt
from visionjobs.sweep_progress import ENDING, FAILED, STOPPED, WAITING
from visionjobs.sweeps import Stopped, Trial
from visionjobs.tuning.asha import EPOCH, NUMBER, VALUE
from visionjobs.tuning.board import Board
from visionjobs.tuning.search import Observed
from visionjobs.tuning.suggest import Trialling


@pytest.fixture
def common(tmp_path: Path) -> Trialling:
    return start_sweep(tmp_path)


def board(common: Trialling) -> Board:
    return Board(common.sweep, common.sweep.trials())


def told(number: int, epoch: int, value: float | None) -> dict[str, Any]:
    return {NUMBER: number, EPOCH: epoch, VALUE: value}


def test_begins_empty(common: Trialling) -> None:
    new = board(common)
    assert (new.trials(), new.states(), new.observed(), new.read()) == ([], [], [], [])


def test_begins_with_what_the_folders_tell(common: Trialling) -> None:
    first = trained(common, 0)
    second = trained(common, 1, lr=2e-3, stop_after=1)
    value = common.sweep.run_of(second).history()[0]["val_loss"]
    common.sweep.stop_early(second, Stopped(1, value, 0.5))
    third = common.sweep.add_trial(2, {"train.lr": 3e-3})  # killed before its run was made

    again = board(common)
    assert again.trials() == [first, second, third]
    assert [state.state for state in again.states()] == [ENDING, STOPPED, WAITING]
    curve = tuple((row["epoch"] + 1, row["val_loss"]) for row in common.sweep.run_of(first).history())
    assert len(curve) == 2
    assert again.observed() == [
        Observed(0, {"train.lr": 1e-3}, curve, ended=True, complete=True),
        Observed(1, {"train.lr": 2e-3}, ((1, value),), ended=True, complete=False),
        Observed(2, {"train.lr": 3e-3}, (), ended=False, complete=False),
    ]


def test_what_a_new_trial_reports_is_observed(common: Trialling) -> None:
    new = board(common)
    for number in (1, 0):
        new.add(Trial(number, f"run-{number}", {"train.lr": number}))
    new.report(told(1, 2, 0.25))
    new.report(told(1, 1, 0.75))
    new.report(told(1, 2, 0.5))  # trained anew after a restart
    new.report(told(0, 1, None))  # it has no value there
    new.end(0, complete=False)
    new.end(1, complete=True)
    assert [trial.number for trial in new.trials()] == [0, 1]
    assert new.observed() == [
        Observed(0, {"train.lr": 0}, (), ended=True, complete=False),
        Observed(1, {"train.lr": 1}, ((1, 0.75), (2, 0.5)), ended=True, complete=True),
    ]


def test_reads_a_trial_until_it_has_ended(common: Trialling) -> None:
    """What is read again and again costs several questions to the storage a trial."""
    new = board(common)
    trial = made(common, 0)
    new.add(trial)
    assert [state.state for state in new.read()] == [WAITING]

    run = common.sweep.run_of(trial)
    attempt = run.claim("attempt", {"gpus": 0})
    attempt.update_record(state="failed", message="the loss is not finite")
    assert [(state.state, state.reason) for state in new.read()] == [(FAILED, "the loss is not finite")]
    shutil.rmtree(run.store.address)
    assert [state.state for state in new.read()] == [FAILED]
    assert new.states() == new.read()


def test_a_trained_trial_is_read_until_it_is_complete(common: Trialling) -> None:
    trial = trained(common, 0)
    new = board(common)
    assert [state.state for state in new.read()] == [ENDING]
    Attempt(common.sweep.run_of(trial), 1).update_record(state="complete")
    assert [state.ended for state in new.read()] == [True]
