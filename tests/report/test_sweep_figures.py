"""Figures of sweeps: where values lie on an axis, and what is drawn of few and of many trials."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import pytest
from made_sweeps import job, many, trial
from test_figures import amount, pixels

from visionjobs.report.compare_figures import GREY
from visionjobs.report.figures import BLACK, BLUE, ORANGE, SKY, VERMILLION
from visionjobs.report.figures_space import Scale, metric_by_parameter, parallel_coordinates
from visionjobs.report.figures_sweep import MAX_NAMED, _looks_of_few, cost_bars, importance_bars, metric_curves
from visionjobs.report.sweep_axes import Axis, axes_of, axis_of, visible_range
from visionjobs.spec_sweep import Domain
from visionjobs.sweep_progress import FAILED, STOPPED, TrialState

RATE = Domain(loguniform=[1e-4, 1e-2])


def with_values(*values: Any) -> list[TrialState]:
    return [trial(number, {"key": value}, [0.5]) for number, value in enumerate(values)]


def axes() -> list[Axis]:
    sweep = job().sweep
    assert sweep
    return axes_of(sweep.space, many(8))


def test_a_logarithmic_axis_is_even_in_the_logarithm() -> None:
    axis = axis_of("key", RATE, with_values(1e-3))
    assert [axis.place(value) for value in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 0.5, 1])
    assert (pytest.approx(0.5), "0.001") in axis.ticks()


def test_an_axis_holds_the_jobs_own_value_outside_the_space() -> None:
    axis = axis_of("key", RATE, with_values(1.0, 1e-3))
    assert [axis.place(1e-4), axis.place(1.0)] == pytest.approx([0, 1])
    choice = axis_of("key", Domain(choice=["a", "b"]), with_values("c", "a"))
    assert choice.categories == ("a", "b", "c")


def test_what_has_no_logarithm_stands_apart() -> None:
    axis = axis_of("key", RATE, with_values(0.0, 1e-3))
    low = axis.place(1e-4)
    assert axis.place(0.0) == 0
    assert low is not None
    assert low > 0.1
    assert axis.ticks()[0] == (0.0, "0")


def test_categories_keep_clear_of_one_another() -> None:
    axis = axis_of("key", Domain(choice=[True, [224, 224], "x", 3]), [])
    assert axis.categories == ("true", "[224, 224]", "x", "3")
    places = [[axis.place(value, number) or 0.0 for number in range(50)] for value in (True, [224, 224], "x", 3)]
    assert all(max(lower) < min(upper) for lower, upper in pairwise(places))
    assert len(set(places[0])) == 50


@pytest.mark.parametrize("value", [None, "text", True, float("nan"), [1]])
def test_what_is_no_number_has_no_place_among_numbers(value: Any) -> None:
    assert axis_of("key", RATE, with_values(value)).place(value) is None


@pytest.mark.parametrize(
    ("domain", "texts"),
    [
        (Domain(int=[1, 4]), ["1", "2", "3", "4"]),
        (Domain(uniform=[0, 0.2]), ["0", "0.05", "0.1", "0.15", "0.2"]),
        (Domain(loguniform=[1e-5, 1e-1]), ["1e-05", "0.0001", "0.001", "0.01", "0.1"]),
        (Domain(choice=["a", "b"]), ["a", "b"]),
    ],
)
def test_ticks_are_round(domain: Domain, texts: list[str]) -> None:
    assert [text for _, text in axis_of("key", domain, []).ticks()] == texts


@pytest.mark.parametrize(
    "domain",
    [Domain(choice=list(range(100))), Domain(int=[0, 2**53]), Domain(loguniform=[1e-300, 1e300]),
     Domain(loguniform=[0.9, 1.1]), Domain(uniform=[-1e9, 1e-9])],
)  # fmt: skip
def test_ticks_are_few(domain: Domain) -> None:
    ticks = axis_of("key", domain, []).ticks()
    assert 2 <= len(ticks) <= 10
    assert all(-1e-6 <= at <= 1 + 1e-6 for at, _ in ticks)


def test_a_value_out_of_all_proportion_does_not_set_the_axis() -> None:
    values = [0.5, 0.6, 0.7, 0.8, 0.9]
    assert visible_range([*values, 1e9])[1] < 1.5
    assert visible_range([*values, 1e9], [1e9])[1] > 1e9
    low, high = visible_range(values)
    assert low < 0.5
    assert high > 0.9
    assert visible_range([0.7])[0] < 0.7 < visible_range([0.7])[1]
    assert visible_range([0.0, 0.0]) == (-0.5, 0.5)


@pytest.mark.parametrize("number", [1, 2, 8, 9, 100])
@pytest.mark.parametrize("loss", [False, True])
def test_any_number_of_trials(number: int, loss: bool) -> None:
    trials, best = many(number, loss=loss), 4 if number > 4 else 0
    limits = visible_range([value for one in trials for _, value in one.curve])
    scale = Scale("metric", limits, limits, maximise=not loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves = metric_curves(trials, best, "metric", limits)
        lines, _ = parallel_coordinates(trials, axes(), scale, best)
        points, _ = metric_by_parameter(trials, axes(), scale, best)
        bars, width = cost_bars(trials, gpus=False)
    assert amount(curves, VERMILLION) > 1000
    assert amount(points, VERMILLION) > 100
    assert pixels(lines).shape[0] == 650
    assert amount(bars, BLUE) > 1000
    assert (width > 0) == (number > 40)


def test_trial_0_and_those_stopped_early_are_told_apart() -> None:
    trials = [trial(n, {"train.lr": 1e-3 * (n + 1)}, [0.1 * n + 0.05, 0.1 * n + 0.1], epochs=2) for n in range(9)]
    stopped = [*trials[:8], trial(8, {"train.lr": 5e-3}, [0.85], STOPPED, epochs=2)]
    space = [Axis("train.lr", log=True, low=1e-4, high=1e-1)]
    whole = metric_curves(trials, 7, "metric", (0, 1))
    cut = metric_curves(stopped, 7, "metric", (0, 1))
    assert min(amount(whole, BLACK), amount(cut, BLACK)) > 1000
    assert whole != cut
    scale = Scale("metric", (0, 1), (0, 1), maximise=True)
    hollow = metric_by_parameter(stopped, space, scale, 7)[0]
    filled = metric_by_parameter(trials, space, scale, 7)[0]
    assert amount(hollow, GREY) > 20 > amount(filled, GREY)


@pytest.mark.parametrize("best", [None, 0, 3, 8])
@pytest.mark.parametrize("first", [0, 1])
def test_as_many_curves_as_have_names_each_look_another_way(first: int, best: int | None) -> None:
    """Trial 0, whose look is its own, may have failed before its first epoch."""
    trials = [trial(n, {"train.lr": 1e-3}, [0.1 * n, 0.1 * n + 0.1], epochs=2) for n in range(first, first + MAX_NAMED)]
    if best is None or any(one.number == best for one in trials):
        looks = list(_looks_of_few(trials, best))
        assert len(looks) == MAX_NAMED
        assert len({(look["color"], look["linestyle"], look["marker"]) for look in looks if "marker" in look}) >= 6
        assert len({look["color"] for look in looks}) >= 7
        assert metric_curves(trials, best, "metric", (0, 1))


def test_better_is_darker_whichever_way_it_lies() -> None:
    for maximise, better, worse in ((True, 0.9, 0.1), (False, 0.1, 0.9)):
        scale = Scale("metric", (0, 1), (0, 1), maximise)
        assert sum(scale.colour(better)[:3]) < sum(scale.colour(worse)[:3])
    assert scale.colour(7.0) == scale.colour(1.0)


def test_bars_tell_what_was_trained_saved_and_lost() -> None:
    complete, early = trial(0, {}, [0.5] * 10), trial(1, {}, [0.1] * 2, STOPPED)
    failed = trial(2, {}, [0.1] * 5, FAILED)
    bars = cost_bars([complete, early, failed], gpus=False)[0]
    assert amount(bars, BLUE) / amount(bars, SKY) == pytest.approx(5, rel=0.15)
    assert amount(bars, ORANGE) > 1000
    assert amount(cost_bars([complete], gpus=False)[0], GREY) == 0
    assert amount(bars, GREY) > 500


def test_long_names_and_odd_ones_are_drawn_without_a_warning() -> None:
    keys = ["train." + "very_long_name_" * 6, "$x^2$", "a<b&\"c'"]
    spaces = [Axis(keys[0], categories=tuple(f"choice number {n} with a long name" for n in range(60)))]
    spaces += [Axis(key) for key in keys[1:]]
    trials = [trial(n, {keys[0]: f"choice number {n} with a long name", keys[1]: 0.5, keys[2]: None}, [0.1 * n])
              for n in range(5)]  # fmt: skip
    scale = Scale("Validation mIoU", (0, 1), (0, 1), maximise=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_coordinates(trials, spaces, scale, None)
        metric_by_parameter(trials, spaces, scale, None)
        importance_bars(dict.fromkeys(keys, 0.2))


def test_the_figure_of_importance_has_a_bar_for_the_rest() -> None:
    alone, shared = importance_bars({"a": 1.0, "b": 0.0}), importance_bars({"a": 0.5, "b": 0.0})
    assert amount(alone, "#C4C9CF") == 0
    assert amount(shared, "#C4C9CF") == pytest.approx(amount(shared, BLUE), rel=0.02)
