"""When a sweep will have ended: the epochs that are left, at the pace of those done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_sweeps import progress, trial, waiting

from visionjobs.sweep_progress import COMPLETE, ENDING, FAILED, RUNNING, STOPPED, TrialState, sweep_eta

LR = {"train.lr": 1e-3}


def eta(*trials: TrialState, wanted: int | None = None, **others: Any) -> float | None:
    """90 s an epoch, 10 epochs a trial."""
    return sweep_eta(progress(trials, **({"state": RUNNING, "wanted": wanted or len(trials)} | others)))


def test_eta_is_the_epochs_left_at_the_mean_pace() -> None:
    done, half = trial(0, LR, [0.5] * 10), trial(1, LR, [0.5] * 5, RUNNING)
    assert eta(done, half) == pytest.approx(5 * 90)
    assert eta(done, half, wanted=4) == pytest.approx(25 * 90)
    assert eta(done, half, wanted=4, at_once=2) == pytest.approx(25 * 90 / 2)
    assert eta(done, half, wanted=4, at_once=None) == pytest.approx(25 * 90)
    slow = trial(0, LR, [0.5] * 10, seconds_an_epoch=180)
    assert eta(slow, half) == pytest.approx(5 * 150), "10 epochs of 180 s and 5 of 90 s"


@pytest.mark.parametrize("state", [COMPLETE, STOPPED, FAILED, ENDING])
def test_eta_leaves_out_what_is_not_trained_any_more(state: str) -> None:
    assert eta(trial(0, LR, [0.5] * 5, state), trial(1, LR, [0.5] * 8, RUNNING)) == pytest.approx(2 * 90)


def test_no_eta_before_the_first_epoch_and_where_nothing_runs_or_is_left() -> None:
    half = trial(0, LR, [0.5] * 5, RUNNING)
    assert eta(waiting(0), replace(waiting(1), state=RUNNING)) is None
    assert eta(half, state="interrupted") is None
    assert eta(trial(0, LR, [0.5] * 10)) is None
    assert eta() is None
    assert eta(half) is not None
