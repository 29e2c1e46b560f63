"""Early stopping by epochs: which trials, against the algorithm worked by hand; and after a restart as without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionjobs.jobfile import parse_job
from visionjobs.spec import JobSpec
from visionjobs.sweeps import Stopped
from visionjobs.tuning.asha import ENDED, EPOCH, NUMBER, VALUE, Asha

CONTROLLER: Any = None


def job(epochs: int = 9, mode: str = "max", **sweep: Any) -> JobSpec:
    metric = "val_accuracy" if mode == "max" else "val_loss"
    more = "".join(f"  {key}: {value}\n" for key, value in sweep.items())
    return parse_job(
        f"task: classification\nmodel: {{name: convnet}}\ndata: {{name: tiny}}\ntrain: {{epochs: {epochs}}}\n"
        f"sweep:\n  metric: {metric}\n  space: {{train.lr: {{uniform: [0.1, 1]}}}}\n{more}",
        "job", "job",
    )  # fmt: skip


@dataclass
class Tune:
    """Asks the scheduler as Tune does, for trials whose values are known beforehand."""

    spec: JobSpec
    stopped: dict[int, Stopped] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asha = Asha(self.spec, self.stopped.__setitem__)

    def report(self, number: int, epoch: int, value: float | None) -> bool:
        """Whether the trial goes on."""
        return self.asha.on_trial_result(CONTROLLER, CONTROLLER, {NUMBER: number, EPOCH: epoch, VALUE: value}) != "STOP"

    def run(self, number: int, values: list[float], first: int = 0) -> list[tuple[int, float]]:
        """A trial from epoch `first` on, until it is stopped or over. Returns its curve."""
        curve = []
        for epoch, value in enumerate(values, 1):
            curve.append((epoch, value))
            if epoch > first and not self.report(number, epoch, value):
                break
        return curve


def by_hand(curves: list[list[float]], grace: int, reduction: int, sign: int) -> dict[int, int]:
    """Trial -> the epoch that it is stopped after, one trial after the other: goes on at a rung if its value is not
    below the (1 - 1/reduction) quantile of what is recorded there before it. Rungs: at grace, and at each further one
    that leaves room for the next."""
    epochs, stopped = len(curves[0]), {}
    rungs: dict[int, list[float]] = {grace: []} if grace < epochs else {}
    rung = grace * reduction
    while rung * reduction <= epochs:
        rungs[rung] = []
        rung *= reduction
    for number, values in enumerate(curves):
        for rung, recorded in rungs.items():
            value = sign * values[rung - 1]
            cutoff = np.percentile(recorded, 100 * (1 - 1 / reduction)) if recorded else None
            recorded.append(value)
            if cutoff is not None and value < cutoff:
                stopped[number] = rung
                break
    return stopped


curves_strategy = st.integers(2, 8).flatmap(
    lambda epochs: st.lists(
        st.lists(st.floats(0, 1).map(lambda x: round(x, 2)), min_size=epochs, max_size=epochs), min_size=2, max_size=12
    )
)


@settings(max_examples=60)
@given(curves_strategy, st.sampled_from([1, 2]), st.sampled_from([2, 3, 4]), st.sampled_from(["max", "min"]))
def test_one_trial_after_the_other_as_by_hand(curves, grace: int, reduction: int, mode: str) -> None:
    spec = job(len(curves[0]), mode, grace=grace, reduction=reduction)
    tune = Tune(spec)
    for number, values in enumerate(curves):
        tune.run(number, values)
    assert {number: stopped.epoch for number, stopped in tune.stopped.items()} == by_hand(
        curves, grace, reduction, 1 if mode == "max" else -1
    )


@settings(max_examples=60)
@given(curves_strategy, st.data())
def test_a_restart_changes_no_decision(curves, data: st.DataObject) -> None:
    """Killed while trial k had so many epochs: the next attempt knows the histories only."""
    spec, epochs = job(len(curves[0])), len(curves[0])
    whole = Tune(spec)
    for number, values in enumerate(curves):
        whole.run(number, values)

    killed = data.draw(st.integers(0, len(curves) - 1))
    before = Tune(spec)
    done = {number: before.run(number, curves[number]) for number in range(killed)}
    reached = data.draw(st.integers(0, whole.stopped[killed].epoch if killed in whole.stopped else epochs))
    partly = list(enumerate(curves[killed], 1))[:reached]

    after = Tune(spec)
    for number, curve in done.items():
        after.asha.remember(number, curve)
    after.asha.remember(killed, partly[:-1])
    after.run(killed, curves[killed])  # its history is reported again, then the rest
    for number in range(killed + 1, len(curves)):
        after.run(number, curves[number])
    assert before.stopped | after.stopped == whole.stopped


def test_a_decision_tells_what_would_have_been_enough() -> None:
    tune = Tune(job(9))
    tune.run(0, [0.5] * 9)
    tune.run(1, [0.4] * 9)
    assert tune.stopped == {1: Stopped(1, 0.4, 0.5)}
    worse = Tune(job(9, "min"))
    worse.run(0, [0.5] * 9)
    worse.run(1, [0.6] * 9)
    assert worse.stopped == {1: Stopped(1, 0.6, 0.5)}


def test_no_trial_is_stopped_at_its_last_epoch() -> None:
    tune = Tune(job(3))  # rungs at 1 and 3
    tune.run(0, [0.1, 0.5, 0.9])
    tune.run(1, [0.2, 0.2, 0.1])
    assert tune.stopped == {}


@pytest.mark.parametrize(("epochs", "reduction", "rungs"), [
    (10, 3, [1, 3]), (9, 3, [1, 3]), (8, 3, [1]), (243, 3, [1, 3, 9, 27, 81]), (1000, 10, [1, 10, 100]),
    (50, 4, [1, 4]),
])  # fmt: skip
def test_no_rung_shortly_before_the_end(epochs: int, reduction: int, rungs: list[int]) -> None:
    tune = Tune(job(epochs, reduction=reduction))
    tune.run(0, [0.9] * epochs)
    ((found),) = ([int(milestone) for milestone, _ in bracket._rungs] for bracket in tune.asha._brackets)
    assert sorted(found) == rungs


def test_no_trial_is_stopped_before_the_grace_is_over() -> None:
    tune = Tune(job(9, grace=3))
    tune.run(0, [0.9] * 9)
    tune.run(1, [0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert tune.stopped[1].epoch == 3


def test_an_epoch_without_a_value_is_worse_than_any() -> None:
    """As of a loss that has become infinite."""
    tune = Tune(job(9))
    assert tune.report(0, 1, None), "there is nothing to compare it with"
    tune.run(1, [0.9] * 9)
    assert not tune.report(2, 1, None)
    assert tune.stopped == {2: Stopped(1, None, 0.9)}


def test_what_was_trained_faster_than_it_was_judged_is_judged_after_a_restart() -> None:
    tune = Tune(job(9, grace=2))
    tune.asha.remember(0, [(epoch, 0.9) for epoch in range(1, 10)])
    tune.asha.judge(1, [(epoch, 0.1) for epoch in range(1, 10)])
    assert tune.stopped == {1: Stopped(2, 0.1, 0.9)}


def test_the_last_report_is_no_further_epoch() -> None:
    tune = Tune(job(9))
    tune.run(0, [0.9] * 9)
    ended = {NUMBER: 1, EPOCH: 1, VALUE: 0.1, ENDED: "failed"}
    assert tune.asha.on_trial_result(CONTROLLER, CONTROLLER, ended) == "CONTINUE"
    tune.asha.on_trial_complete(CONTROLLER, CONTROLLER, ended)
    assert tune.stopped == {}


@pytest.mark.parametrize("epochs", [1, 2])
def test_fewer_epochs_than_rungs(epochs: int) -> None:
    tune = Tune(job(epochs))
    tune.run(0, [0.9] * epochs)
    tune.run(1, [0.1] * epochs)
    assert set(tune.stopped) == ({1} if epochs == 2 else set())


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_job_itself_is_never_stopped(mode: str) -> None:
    """Trial 0 comes to each rung after better ones, as it may with several trials at once."""
    good, bad = (0.9, 0.1) if mode == "max" else (0.1, 0.9)
    tune = Tune(job(epochs=9, mode=mode))
    for number in (1, 2, 3):
        assert tune.report(number, 1, good)
    assert all(tune.report(0, epoch, value) for epoch, value in enumerate([bad, None, bad, bad], 1))
    tune.asha.judge(0, [(5, bad), (6, bad)])
    assert tune.stopped == {}
    assert not tune.report(4, 1, bad)


def test_what_the_job_itself_reaches_counts_for_others() -> None:
    tune = Tune(job(epochs=9))
    assert tune.report(0, 1, 0.9)
    assert not tune.report(1, 1, 0.1)
    assert tune.stopped[1].cutoff == 0.9
