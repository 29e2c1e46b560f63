"""The rate of each step against values worked out by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionjobs.spec import Train
from visionjobs.training.schedule import learning_rate

NAMES = ("constant", "polynomial", "cosine")


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 0.1),
        ("constant", 99, 0.1),
        ("polynomial", 0, 0.1),
        ("polynomial", 50, 0.1 * 0.5358867312681466),  # .5^.9
        ("polynomial", 75, 0.1 * 0.28717458874925877),  # .25^.9
        ("polynomial", 99, 0.1 * 0.015848931924611134),  # .01^.9 = 10^-1.8
        ("cosine", 0, 0.1),
        ("cosine", 25, 0.1 * 0.8535533905932737),  # (1 + sqrt(.5)) / 2
        ("cosine", 50, 0.05),
        ("cosine", 75, 0.1 * 0.14644660940672627),
        ("cosine", 99, 0.1 * 0.0002467198171342),  # (1 - cos(pi / 100)) / 2
    ],
)
def test_values_by_hand(schedule: str, step: int, expected: float) -> None:
    assert learning_rate(Train(lr=0.1, schedule=schedule), step, 100) == pytest.approx(expected, rel=1e-12)


def test_constant_is_the_very_number() -> None:
    assert {learning_rate(Train(lr=1e-3), step, 7) for step in range(7)} == {1e-3}


@given(st.sampled_from(NAMES), st.integers(1, 2000), st.floats(1e-6, 10))
def test_never_above_lr_never_0_and_never_rising(schedule: str, steps: int, lr: float) -> None:
    train = Train(lr=lr, schedule=schedule)
    rates = [learning_rate(train, step, steps) for step in sorted({0, steps // 3, steps // 2, steps - 1})]
    assert rates[0] == lr
    assert all(0 < later <= earlier <= lr for earlier, later in itertools.pairwise(rates))


def test_a_run_of_one_step_trains_at_lr() -> None:
    assert [learning_rate(Train(lr=0.1, schedule=name), 0, 1) for name in NAMES] == [0.1] * 3


@pytest.mark.parametrize("name", ["polynomial", "cosine"])
def test_more_epochs_stretch_the_schedule(name: str) -> None:
    """The rate depends on the share of the run that is done: continued to twice the steps, it rises again."""
    train = Train(lr=0.1, schedule=name)
    assert learning_rate(train, 60, 200) == pytest.approx(learning_rate(train, 30, 100))
    assert learning_rate(train, 100, 200) > learning_rate(train, 99, 100)
