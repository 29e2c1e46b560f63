"""What is proposed: the same for the same question, nothing twice, nothing that the job refuses; and what TPE finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from visionjobs.errors import UserError
from visionjobs.jobfile import build_spec, dump_yaml, load_job, parse_yaml
from visionjobs.spec import JobSpec
from visionjobs.spec_sweep import Domain
from visionjobs.sweeps import trial_spec
from visionjobs.tuning.draw import SMALL, draw, grid, readable
from visionjobs.tuning.search import Observed, check_space, propose

LR = {"train.lr": {"loguniform": [1e-5, 1e-1]}}
WIDE = {
    **LR,
    "train.batch": {"choice": [16, 32, 64]},
    "train.label_smoothing": {"uniform": [0, 0.3]},
    "train.checkpoint.every": {"int": [1, 9]},
    "data.size": {"choice": [[64, 64], [96, 128]]},
    "train.compile": {"choice": [True, False]},
}


def job(space: dict[str, Any], text: str = "", **sweep: Any) -> JobSpec:
    tree = {"name": "mine", "task": "classification", "model": {"name": "convnet"}, "data": {"name": "tiny"}}
    tree |= {"sweep": {"metric": "val_accuracy", "space": space} | sweep}
    return build_spec(tree | (yaml.safe_load(text) or {}), "mine")


def seen(
    number: int, parameters: dict[str, Any], *values: float, ended: bool = True, complete: bool = True
) -> Observed:
    return Observed(number, parameters, tuple(enumerate(values, 1)), ended=ended, complete=ended and complete)


def run(spec: JobSpec, trials: int, value: Callable[[dict[str, Any]], float] = lambda _: 0.0) -> list[dict[str, Any]]:
    """Propose one after another, each trial with one value."""
    found: list[Observed] = []
    for number in range(trials):
        parameters = propose(spec, number, found)
        if parameters is None:
            break
        found.append(seen(number, parameters, value(parameters)))
    return [trial.parameters for trial in found]


def test_trial_0_is_the_job_itself() -> None:
    spec = job(WIDE, "train: {lr: 0.5, batch: 48}")
    assert propose(spec, 0, []) == {
        "train.lr": 0.5, "train.batch": 48, "train.label_smoothing": 0.0, "train.checkpoint.every": 1,
        "data.size": [224, 224], "train.compile": False,
    }  # fmt: skip


def test_a_proposal_depends_on_seed_and_number_alone() -> None:
    spec, other = job(WIDE), job(WIDE, seed=1)
    alone = [propose(spec, number, []) for number in range(1, 30)]
    assert alone == [propose(spec, number, []) for number in range(1, 30)]
    assert alone == run(spec, 30)[1:]
    assert len({str(parameters) for parameters in alone}) == 29
    assert not any(ours == theirs for ours, theirs in zip(alone, [propose(other, n, []) for n in range(1, 30)]))


def test_values_are_drawn_as_the_space_says() -> None:
    trials = run(job(WIDE, trials=300), 300)[1:]
    rates = [math.log10(trial["train.lr"]) for trial in trials]
    assert abs(np.mean(rates) + 3) < 0.25  # uniform from -5 to -1: deviation of the mean .067
    assert abs(np.std(rates) - 4 / 12**0.5) < 0.15
    smoothing = [trial["train.label_smoothing"] for trial in trials]
    assert abs(np.mean(smoothing) - 0.15) < 0.02
    assert {trial["train.checkpoint.every"] for trial in trials} == set(range(1, 10))
    assert {trial["train.batch"] for trial in trials} == {16, 32, 64}
    kinds = [{type(trial[key]) for trial in trials} for key in WIDE]
    assert kinds == [{float}, {int}, {float}, {int}, {list}, {bool}]


def test_a_whole_number_in_the_bounds_of_a_real_one_stays_real() -> None:
    assert type(draw(Domain(uniform=[0, 1]), np.random.default_rng(0))) is float
    assert readable(1.2, Domain(uniform=[2, 3])) == 2.0


@pytest.mark.parametrize(
    ("value", "bounds", "told"),
    [
        (0.000123456, [1e-5, 1e-1], "0.0001235"),
        (12345.6, [1, 1e5], "12350.0"),
        (0.0, [-1, 1], "0.0"),
        (-0.0123456, [-1, 1], "-0.01235"),
        (0.123456789, [0.1234, 0.1235], "0.1234568"),
        (0.99999, [0, 1], "1.0"),
        (0.99999, [0, 0.99995], "0.99995"),
    ],
)
def test_real_numbers_have_four_digits_that_a_person_can_read(value: float, bounds: list[float], told: str) -> None:
    assert str(readable(value, Domain(uniform=bounds))) == told


def test_nothing_is_proposed_twice_and_a_small_space_is_used_up() -> None:
    spec = job({"train.batch": {"choice": [16, 32, 64]}, "train.checkpoint.every": {"int": [1, 4]}}, trials=50)
    trials = run(spec, 50)
    assert len(trials) == 12  # the job's own is one of the combinations
    assert len({str(trial) for trial in trials}) == 12
    found = [seen(number, parameters) for number, parameters in enumerate(trials)]
    assert propose(spec, 12, found) is None


def test_the_last_of_a_thousand_is_found() -> None:
    space = {"train.checkpoint.every": {"int": [1, 1000]}}
    found = [seen(n, {"train.checkpoint.every": n + 1}) for n in range(1000) if n != 700]
    assert propose(job(space, trials=1001), 1000, found) == {"train.checkpoint.every": 701}


def test_an_earlier_trial_that_took_the_draw_moves_the_later_one() -> None:
    spec = job(LR)
    first = propose(spec, 7, [])
    assert first is not None
    second = propose(spec, 7, [seen(3, first)])
    assert second is not None and second != first
    assert propose(spec, 7, [seen(8, first)]) == first  # of a later trial: no matter


def test_what_the_job_refuses_is_not_proposed() -> None:
    spec = job({"train.batch": {"int": [2, 64]}}, "resources: {workers: 4}", trials=100)
    batches = [trial["train.batch"] for trial in run(spec, 100)]
    assert sorted(batches) == list(range(8, 65, 4))


def test_values_that_only_work_together_are_proposed_together() -> None:
    space = {
        "train.freeze": {"choice": ["none", "backbone"]},
        "model.weights": {"choice": ["random", "IMAGENET1K_V1"]},
    }
    trials = run(job(space), 16)
    assert len(trials) == 3
    assert {"train.freeze": "backbone", "model.weights": "random"} not in trials


def test_no_more_trials_where_the_job_takes_none() -> None:
    spec = job({"train.batch": {"choice": [33, 35]}}, "resources: {workers: 2}")
    assert propose(spec, 1, []) is None


def test_a_space_is_counted_out_only_where_that_is_possible() -> None:
    few = Domain(int=[0, 15])
    assert len(grid({"a": few, "b": Domain(choice=["x", "y"])})) == 32
    assert grid({"a": few, "b": Domain(uniform=[0, 1])}) == []
    assert grid({"a": Domain(int=[0, SMALL])}) == []
    assert len(grid({"a": Domain(int=[1, SMALL])})) == SMALL
    assert grid({"a": Domain(int=[-(2**53), 2**53]), "b": Domain(uniform=[0, 1])}) == []


reals = st.floats(1e-8, 1e8, allow_subnormal=False) | st.floats(-1e8, 1e8, allow_subnormal=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8)
choices = st.lists(
    st.booleans() | st.integers(-(10**9), 10**9) | reals | texts | st.lists(st.integers(0, 9), max_size=2), min_size=1
)
domains = st.one_of(
    st.builds(lambda values: Domain(choice=values), choices),
    st.lists(st.integers(-(2**53), 2**53), min_size=2, max_size=2, unique=True).map(lambda b: Domain(int=sorted(b))),
    st.lists(reals, min_size=2, max_size=2, unique=True).map(lambda bounds: Domain(uniform=sorted(bounds))),
    st.lists(st.floats(1e-8, 1e8, allow_subnormal=False), min_size=2, max_size=2, unique=True).map(
        lambda bounds: Domain(loguniform=sorted(bounds))
    ),
)


@settings(max_examples=300, deadline=None)
@given(domains, st.integers(0, 2**31 - 1))
def test_any_draw_is_in_its_domain_and_survives_a_job_file(domain: Domain, seed: int) -> None:
    value = draw(domain, np.random.default_rng(seed))
    assert domain.contains(value)
    back = parse_yaml(dump_yaml({"value": value}), "trial")["value"]
    assert back == value
    assert type(back) is type(value)


def test_of_a_narrow_range_many_values_can_be_drawn() -> None:
    generator, domain = np.random.default_rng(0), Domain(loguniform=[0.12341, 0.12342])
    assert len({draw(domain, generator) for _ in range(200)}) > 150


# What the search space is good for, told before the sweep begins.


def test_a_good_space_has_no_warnings() -> None:
    assert check_space(job(WIDE)) == []
    assert check_space(job({"train.batch": {"int": [15, 33]}}, "resources: {workers: 2}")) == []  # its ends are odd


def test_values_that_need_others_of_the_space_are_no_matter() -> None:
    space = {"data.copies": {"choice": [0, 2, 4]}, "data.augment": {"choice": ["none", "wildlife"]}}
    assert check_space(job(space)) == []


def test_a_value_that_never_works_is_told() -> None:
    spec = job({"train.batch": {"choice": [33, 64]}, **LR}, "resources: {workers: 2}")
    (warning,) = check_space(spec)
    assert warning.startswith("sweep.space.train.batch: 33 is never tried: ")
    assert "33 is not a multiple of resources.workers = 2" in warning


@pytest.mark.parametrize(
    ("space", "text", "told"),
    [
        (
            {"train.batch": {"choice": [33, 35]}},
            "resources: {workers: 2}",
            "sweep.space.train.batch: the job takes none",
        ),
        ({"train.batch": {"int": [33, 35]}}, "resources: {workers: 16}", "sweep.space.train.batch: the job takes none"),
        ({**LR, "detect.nms_iou": {"uniform": [0.5, 0.9]}}, "", "sweep.space.detect.nms_iou: the job takes none"),
        ({"train.freeze": {"choice": ["backbone"]}}, "", "sweep.space.train.freeze: the job takes none"),
        (
            {"train.freeze": {"choice": ["backbone"]}, "model.weights": {"choice": ["random"]}},
            "model: {name: convnet, weights: IMAGENET1K_V1}",
            "sweep.space: the job takes no combination of these values: ",
        ),
    ],
)
def test_a_space_without_trials_is_refused(space: dict[str, Any], text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        check_space(job(space, text))
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


# TPE


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


def test_a_trial_is_a_job_file(tmp_path: Any) -> None:
    spec = job(WIDE)
    for parameters in run(spec, 5):
        text = dump_yaml(trial_spec(spec, parameters).model_dump(mode="json", exclude={"sweep"}))
        (tmp_path / "mine.yaml").write_text(text)
        assert load_job(tmp_path / "mine.yaml") == trial_spec(spec, parameters)
