"""What Optuna's estimator makes of the trials so far, and that it does as it is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from searches import LR, WIDE, job, run, seen

from visionjobs.tuning.search import Observed, propose


def hill(parameters: dict[str, Any]) -> float:
    """Best at lr = 0.003 and smoothing = 0.1, where it is 0."""
    distance = math.log10(parameters["train.lr"] / 0.003) ** 2
    return -distance - (10 * (parameters["train.label_smoothing"] - 0.1)) ** 2


HILL = {**LR, "train.label_smoothing": {"uniform": [0, 0.9]}}


@pytest.mark.parametrize("mode", ["max", "min"])
def test_tpe_comes_nearer_than_chance(mode: str) -> None:
    """Of its later trials, over some seeds."""
    sign = 1 if mode == "max" else -1
    reached = {}
    for search in ("random", "tpe"):
        specs = [job(HILL, search=search, seed=seed, trials=40, mode=mode) for seed in range(5)]
        later = [run(spec, 40, lambda parameters: sign * hill(parameters))[20:] for spec in specs]
        reached[search] = np.median([hill(parameters) for trials in later for parameters in trials])
    assert reached["tpe"] > reached["random"] / 4  # both below 0: a quarter of the distance
    assert reached["tpe"] > -2


def test_tpe_is_reproducible_and_begins_as_random_search() -> None:
    spec = job(HILL, search="tpe", trials=24)
    trials = run(spec, 24, hill)
    assert trials == run(spec, 24, hill)
    assert trials[:8] == run(job(HILL, trials=24), 24)[:8]
    assert trials[8:] != run(job(HILL, trials=24), 24)[8:]
    assert trials != run(job(HILL, search="tpe", trials=24, seed=1), 24, hill)


def test_tpe_has_every_kind_of_value_and_uses_up_a_small_space() -> None:
    spec = job(WIDE, search="tpe", trials=30)
    trials = run(spec, 30, lambda parameters: parameters["train.batch"])
    for trial in trials[1:]:
        assert all(spec.sweep.space[key].contains(value) for key, value in trial.items())  # type: ignore[union-attr]
    kinds = [{type(trial[key]) for trial in trials} for key in WIDE]
    assert kinds == [{float}, {int}, {float}, {int}, {list}, {bool}]
    assert np.mean([trial["train.batch"] == 64 for trial in trials[15:]]) > 0.5
    small = job({"train.batch": {"choice": [16, 32, 64]}, "train.compile": {"choice": [True, False]}}, search="tpe")
    assert len({str(trial) for trial in run(small, 16)}) == len(run(small, 16)) == 6


def test_tpe_asks_again_where_the_job_refuses() -> None:
    spec = job({"train.batch": {"int": [2, 64]}, **LR}, "resources: {workers: 4}", search="tpe", trials=30)
    trials = run(spec, 30, lambda parameters: -parameters["train.batch"])
    assert len(trials) == 30
    assert all(trial["train.batch"] % 4 == 0 for trial in trials)


SMOOTH = {"train.label_smoothing": {"uniform": [0, 0.9]}}


def smooth(value: float) -> dict[str, Any]:
    return {"train.label_smoothing": value}


def proposals(known: list[Observed], **sweep: Any) -> list[float]:
    """Smoothings that TPE wants, for some seeds."""
    specs = [job(SMOOTH, search="tpe", trials=12, seed=seed, **sweep) for seed in range(15)]
    found = [propose(spec, len(known), known) for spec in specs]
    return [parameters["train.label_smoothing"] for parameters in found if parameters]


def test_tpe_learns_from_trials_that_were_stopped_early() -> None:
    """They are worse than complete ones, whatever they had reached."""
    high = [seen(number, smooth(0.6 + number / 50), 0.1) for number in range(10)]
    low = [(number, smooth(number / 50 - 0.2)) for number in range(10, 20)]
    stopped = [seen(number, parameters, 0.9, complete=False) for number, parameters in low]
    complete = [seen(number, parameters, 0.9) for number, parameters in low]
    assert np.median(proposals(high + stopped)) > 0.4
    assert np.median(proposals(high + complete)) < 0.4


def test_tpe_goes_by_the_last_value() -> None:
    sinking = [seen(number, smooth(number / 50), 0.9, 0.1) for number in range(10)]
    rising = [seen(number, smooth(number / 50 + 0.4), 0.1, 0.5) for number in range(10, 20)]
    assert np.median(proposals(sinking + rising)) > 0.5
    assert np.median(proposals(sinking + rising, mode="min")) < 0.3


def test_tpe_keeps_away_from_running_trials() -> None:
    """Where the best one is, others are running already, and it looks elsewhere."""
    ended = [seen(number, smooth(number / 25), -abs(number / 25 - 0.4)) for number in range(20)]
    running = [seen(number, smooth(0.36 + number / 1000), ended=False) for number in range(20, 60)]
    assert sum(abs(value - 0.4) < 0.1 for value in proposals(ended)) > 5
    assert sum(abs(value - 0.4) < 0.1 for value in proposals(ended + running)) == 0


def test_trials_that_tell_nothing_do_not_count() -> None:
    """Failed before their first value, or with values that are no numbers: still as random search."""
    failed = [seen(number, smooth(number / 20), complete=False) for number in range(6)]
    broken = [seen(number, smooth(number / 20), math.nan) for number in range(6, 12)]
    running = [seen(number, smooth(number / 20), 0.5, ended=False) for number in range(12, 16)]
    known = failed + broken + running
    spec = job(SMOOTH, search="tpe", trials=12)
    assert propose(spec, 16, known) == propose(job(SMOOTH, trials=12), 16, known)


def test_a_job_of_its_own_outside_the_space_does_no_harm() -> None:
    spec = job({"train.lr": {"uniform": [0.01, 0.1]}}, "train: {lr: 0.5}", search="tpe", trials=9)
    trials = run(spec, 9, lambda parameters: parameters["train.lr"])
    assert trials[0] == {"train.lr": 0.5}
    assert all(0.01 <= trial["train.lr"] <= 0.1 for trial in trials[1:])


def test_optuna_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    run(job(HILL, search="tpe", trials=12), 12, hill)
    assert capfd.readouterr() == ("", "")
