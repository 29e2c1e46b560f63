"""What is proposed: the same for the same question, nothing twice, and nothing that the job refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searches import LR, WIDE, job, run, seen

from visionjobs.errors import UserError
from visionjobs.jobfile import dump_yaml, load_job, parse_yaml
from visionjobs.spec_sweep import Domain
from visionjobs.sweeps import trial_spec
from visionjobs.tuning.draw import SMALL, draw, grid, readable
from visionjobs.tuning.search import check_space, propose


def test_trial_0_is_the_job_itself() -> None:
    spec = job(WIDE, "train: {lr: 0.5, batch: 48}")
    assert propose(spec, 0, []) == {
        "train.lr": 0.5, "train.batch": 48, "train.label_smoothing": 0.0, "train.seed": 0,
        "data.size": [224, 224], "train.compile": False,
    }  # fmt: skip


def test_a_proposal_depends_on_seed_and_number_alone() -> None:
    spec, other = job(WIDE), job(WIDE, seed=1)
    alone = [propose(spec, number, []) for number in range(1, 30)]
    assert alone == [propose(spec, number, []) for number in range(1, 30)]
    assert alone == run(spec, 30)[1:]
    assert len({str(parameters) for parameters in alone}) == 29
    assert not any(propose(other, number, []) == alone[number - 1] for number in range(1, 30))


def test_values_are_drawn_as_the_space_says() -> None:
    trials = run(job(WIDE, trials=300), 300)[1:]
    rates = [math.log10(trial["train.lr"]) for trial in trials]
    assert abs(np.mean(rates) + 3) < 0.25  # uniform from -5 to -1: deviation of the mean .067
    assert abs(np.std(rates) - 4 / 12**0.5) < 0.15
    smoothing = [trial["train.label_smoothing"] for trial in trials]
    assert abs(np.mean(smoothing) - 0.15) < 0.02
    assert {trial["train.seed"] for trial in trials} == set(range(1, 10))
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
    spec = job({"train.batch": {"choice": [16, 32, 64]}, "train.seed": {"int": [1, 4]}}, trials=50)
    trials = run(spec, 50)
    assert len(trials) == 13  # the job's own, of which the seed is none of these, and the combinations
    assert len({str(trial) for trial in trials}) == 13
    found = [seen(number, parameters) for number, parameters in enumerate(trials)]
    assert propose(spec, 13, found) is None


def test_the_last_one_left_is_found() -> None:
    space = {"train.seed": {"int": [1, 4000]}}
    found = [seen(n, {"train.seed": n + 1}) for n in range(4000) if n != 700]
    assert propose(job(space, trials=4001), 4000, found) == {"train.seed": 701}


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


@settings(max_examples=300)
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
    odd_ends = {"train.batch": {"int": [15, 33]}}
    assert check_space(job(odd_ends, "resources: {workers: 2}", trials=9)) == []


def test_values_that_need_others_of_the_space_are_no_matter() -> None:
    space = {"data.copies": {"choice": [0, 2, 4]}, "data.augment": {"choice": ["none", "wildlife"]}}
    assert check_space(job(space, trials=3)) == []


def test_more_trials_than_the_space_holds_are_told_before_they_begin() -> None:
    space = {"train.batch": {"choice": [16, 32]}, "train.seed": {"int": [1, 3]}}
    (told,) = check_space(job(space, "train: {seed: 1}", trials=7))
    assert told == "sweep.space holds 6 different trials, fewer than sweep.trials = 7"
    assert check_space(job(space | LR, trials=7)) == []


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


def test_a_trial_is_a_job_file(tmp_path: Any) -> None:
    spec = job(WIDE)
    for parameters in run(spec, 5):
        text = dump_yaml(trial_spec(spec, parameters).model_dump(mode="json", exclude={"sweep"}))
        (tmp_path / "mine.yaml").write_text(text)
        assert load_job(tmp_path / "mine.yaml") == trial_spec(spec, parameters)
