"""Parameter importance of sweeps, against functions whose shares of the variance are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from made_sweeps import job, progress, trial

from visionjobs.report.sweep_importance import Importance, importance
from visionjobs.spec_sweep import Sweep
from visionjobs.sweep_progress import FAILED, STOPPED, TrialState

SPACE = (
    "{train.lr: {loguniform: [1e-5, 1e-1]}, train.label_smoothing: {uniform: [0, 0.2]}, data.copies: {int: [0, 4]}, "
    "data.size: {choice: [[224, 224], [128, 128]]}}"
)
JOB = job(space=SPACE)

Function = Callable[[Mapping[str, Any]], float]


def section(space: str = SPACE) -> Sweep:
    sweep = job(space=space).sweep
    assert sweep
    return sweep


def drawn(number: int, function: Function, seed: int = 0) -> list[TrialState]:
    """Complete trials of one epoch with random parameters within the space."""
    generator, trials = np.random.default_rng(seed), []
    for place in range(number):
        parameters = {
            "train.lr": float(10 ** generator.uniform(-5, -1)),
            "train.label_smoothing": float(generator.uniform(0, 0.2)),
            "data.copies": int(generator.integers(0, 5)), "data.size": [[224, 224], [128, 128]][generator.integers(2)],
        }  # fmt: skip
        trials.append(trial(place, parameters, [function(parameters)], epochs=1))
    return trials


def of(trials: list[TrialState], space: str = SPACE) -> Importance:
    return importance(progress(trials, job(space=space)), section(space))


def shares(trials: list[TrialState]) -> dict[str, float]:
    found = of(trials).shares
    assert found is not None
    return found


def smoothing(parameters: Mapping[str, Any]) -> float:
    """From 0 to 1, uniform."""
    return float(parameters["train.label_smoothing"]) / 0.2


def rate(parameters: Mapping[str, Any]) -> float:
    """From 0 to 1, uniform."""
    return (math.log10(parameters["train.lr"]) + 5) / 4


@pytest.mark.parametrize("which", ["train.lr", "train.label_smoothing", "data.copies", "data.size"])
def test_what_matters_alone_has_all_of_the_variance(which: str) -> None:
    functions: dict[str, Function] = {
        "train.lr": rate, "train.label_smoothing": smoothing, "data.copies": lambda p: p["data.copies"] ** 2,
        "data.size": lambda p: p["data.size"][0],
    }  # fmt: skip
    found = shares(drawn(60, functions[which]))
    assert next(iter(found)) == which
    assert found[which] > 0.9
    assert sum(share for key, share in found.items() if key != which) < 0.05


def test_shares_are_those_of_the_variance() -> None:
    """2 a + b, both uniform: four fifths and one fifth."""
    found = shares(drawn(300, lambda p: 2 * rate(p) + smoothing(p)))
    assert found["train.lr"] == pytest.approx(0.8, abs=0.06)
    assert found["train.label_smoothing"] == pytest.approx(0.2, abs=0.06)


def test_a_logarithmic_parameter_counts_by_its_logarithm() -> None:
    """Nine tenths of the values of 1e-5 to 1e-1 lie above 1e-2: by value this function would hardly vary."""
    found = shares(drawn(200, lambda p: float(p["train.lr"] > 1e-3) + 0.5 * smoothing(p)))
    whole = 0.25 + 0.25 / 12
    assert found["train.lr"] == pytest.approx(0.25 / whole, abs=0.05)


def test_what_parameters_do_together_is_of_no_single_one() -> None:
    found = shares(drawn(300, lambda p: float((rate(p) > 0.5) != (smoothing(p) > 0.5))))
    assert sum(found.values()) < 0.5


def test_is_the_same_every_time() -> None:
    assert shares(drawn(20, rate)) == shares(drawn(20, rate))


def test_counts_stopped_trials_at_the_latest_epoch_of_all() -> None:
    trials = drawn(12, rate)
    made = [
        trial(t.number, t.parameters, [0.0, rate(t.parameters), smoothing(t.parameters)][: 2 if t.number % 2 else 3],
              STOPPED if t.number % 2 else "complete", epochs=3)
        for t in trials
    ]  # fmt: skip
    found = of(made)
    assert (found.epoch, found.epochs, found.trials) == (2, 3, 12)
    assert found.shares is not None
    assert next(iter(found.shares)) == "train.lr"


def test_a_failed_trial_does_not_hold_back_the_others() -> None:
    made = [trial(t.number, t.parameters, [0.0, rate(t.parameters)], epochs=2) for t in drawn(12, rate)]
    made[3] = trial(3, made[3].parameters, [0.0], FAILED, epochs=2)
    found = of(made)
    assert (found.epoch, found.trials, found.outside) == (2, 11, 0)


def test_leaves_out_what_lies_outside_the_space() -> None:
    own = {"train.lr": 1.0, "train.label_smoothing": 0.0, "data.copies": 0, "data.size": [64, 64]}
    found = of([trial(0, own, [1e6], epochs=1), *(drawn(10, rate)[1:])])
    assert (found.outside, found.trials) == (1, 9)


def test_a_parameter_that_did_not_vary_has_no_share() -> None:
    same = [trial(t.number, {**t.parameters, "data.copies": 2}, [rate(t.parameters)], epochs=1)
            for t in drawn(10, rate)]  # fmt: skip
    assert set(shares(same)) == {"train.lr", "train.label_smoothing", "data.size"}


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        ([], "no epoch was reached by all"),
        (drawn(7, rate), "7 trials within the search space have values; it takes 8"),
        (drawn(9, lambda _: 0.5), "the same value"),
        ([trial(n, {"train.lr": 1e-3, "train.label_smoothing": n / 100, "data.copies": 0, "data.size": [128, 128]},
                [n / 10]) for n in range(9)], "1 of the parameters took more than one value"),
        ([*drawn(9, rate), trial(9, drawn(1, rate)[0].parameters, [math.nan])], ""),
    ],
)  # fmt: skip
def test_is_not_given_without_enough_to_go_by(trials: list[TrialState], told: str) -> None:
    found = of(trials)
    assert (found.shares is None) == bool(told)
    assert told in found.why
