"""The sweep section of a job file: every mistake is one clear message with the right key."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_sections import BASE, LR, message, of_space, parse

from visionjobs.errors import UserError
from visionjobs.jobfile import dump_spec, parse_job
from visionjobs.spec_sweep import KINDS, Domain

ONE_KIND = "expected exactly one of choice, uniform, loguniform, int; found"
KEYS_OF_DOMAIN = "expected keys such as choice:, int:, loguniform:; found"


@pytest.mark.parametrize(
    ("domain", "key", "told"),
    [
        (
            "{unifrm: [0, 1]}",
            "train.lr.unifrm",
            "there is no such key in sweep.space.train.lr; expected one of choice, int, loguniform, uniform. "
            'Did you mean "uniform"?',
        ),
        ("{uniform: [1, 0]}", "train.lr", "uniform: expected a smaller number, then a larger one; found 1.0, 0.0"),
        ("{uniform: [1, 1]}", "train.lr", "uniform: expected a smaller number, then a larger one; found 1.0, 1.0"),
        ("{loguniform: [0, 1]}", "train.lr", "loguniform: 0.0 has no logarithm; expected numbers above 0"),
        ("{loguniform: [-1, 1]}", "train.lr", "loguniform: -1.0 has no logarithm; expected numbers above 0"),
        ("3", "train.lr", f"{KEYS_OF_DOMAIN} a number 3."),
        ("[0, 1]", "train.lr", f"{KEYS_OF_DOMAIN} a list [0, 1]."),
        ("", "train.lr", f"{KEYS_OF_DOMAIN} nothing."),
        ("{choice: [1], uniform: [0, 1]}", "train.lr", f"{ONE_KIND} choice and uniform"),
        ("{}", "train.lr", f"{ONE_KIND} nothing"),
        ("{choice: }", "train.lr", f"{ONE_KIND} nothing"),
        ("{uniform: [1]}", "train.lr.uniform", "expected at least 2 items; found a list [1]."),
        ("{uniform: [1, 2, 3]}", "train.lr.uniform", "expected at most 2 items; found a list [1, 2, 3]."),
        ("{uniform: 1}", "train.lr.uniform", "expected a list; found a number 1."),
        ("{uniform: [0, a]}", "train.lr.uniform.1", "expected a number; found text 'a'."),
        ("{uniform: [0, .inf]}", "train.lr.uniform.1", "expected a finite number; found a number inf."),
        ("{choice: []}", "train.lr.choice", "expected at least 1 item; found a list []."),
        (
            "{choice: [{a: 1}]}",
            "train.lr.choice.0",
            "expected true or false or a whole number or a number or text or a list; found a mapping {'a': 1}.",
        ),
        ("{int: [1, 2.5]}", "train.lr.int.1", "expected a whole number; found a number 2.5."),
        (
            "{int: [1, 9007199254740993]}",
            "train.lr.int.1",
            "expected a number less than or equal to 9007199254740992; found a number 9007199254740993.",
        ),
    ],
)
def test_wrong_domain(domain: str, key: str, told: str) -> None:
    assert message(of_space(f"train.lr: {domain}")) == f"jobs/mine.yaml: sweep.space.{key}: {told}"


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        (
            of_space(LR, trails="3"),
            "sweep.trails: there is no such key in sweep; expected one of metric, space, at_once, gpus, grace, mode, "
            'reduction, scheduler, search, seed, trials. Did you mean "trials"?',
        ),
        (of_space(LR, trials="0"), "sweep.trials: expected a number greater than or equal to 1; found a number 0."),
        (of_space(LR, trials=""), "sweep.trials: expected a whole number; found nothing."),
        (of_space(LR, gpus="2"), "sweep.gpus: expected 'auto' or a number less than or equal to 1; found a number 2."),
        (
            of_space(LR, gpus="0"),
            "sweep.gpus: expected 'auto' or a number greater than or equal to 0.01; found a number 0.",
        ),
        (of_space(LR, gpus="all"), "sweep.gpus: expected 'auto' or a number; found text 'all'."),
        (
            of_space(LR, at_once="0"),
            "sweep.at_once: expected 'auto' or a number greater than or equal to 1; found a number 0.",
        ),
        (
            of_space(LR, mode="maximum"),
            "sweep.mode: expected 'auto', 'max' or 'min'; found text 'maximum'. Did you mean \"max\"?",
        ),
        (of_space(LR, search="optuna"), "sweep.search: expected 'random' or 'tpe'; found text 'optuna'."),
        (
            of_space(LR, scheduler="ahsa"),
            "sweep.scheduler: expected 'asha' or 'none'; found text 'ahsa'. Did you mean \"asha\"?",
        ),
        (
            of_space(LR, reduction="1"),
            "sweep.reduction: expected a number greater than or equal to 2; found a number 1.",
        ),
        (f"space: {{{LR}}}", "sweep.metric: this key is needed, and missing."),
        ("metric: val_accuracy", "sweep.space: this key is needed, and missing."),
        (
            "metric: val_accuracy, space: 3",
            "sweep.space: expected keys such as train.lr:, train.batch:; found a number 3.",
        ),
        ("metric: val_accuracy, space: ", "sweep.space: expected at least 1 item; found a mapping {}."),
        (
            "metric: val_accuracy, space: {train: {lr: {uniform: [0.1, 1]}}}",
            "sweep.space.train.lr: there is no such key in sweep.space.train; expected one of choice, int, loguniform, "
            "uniform. The keys of sweep.space have dots: train.lr:",
        ),
    ],
)
def test_wrong_key_of_the_section(sweep: str, told: str) -> None:
    assert message(sweep) == f"jobs/mine.yaml: {told}"


@pytest.mark.parametrize(("section", "found"), [("3", "a number 3"), ("[1]", "a list [1]"), ("a", "text 'a'")])
def test_wrong_section(section: str, found: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_job(f"{BASE}sweep: {section}", "jobs/mine.yaml", "mine")
    told = f"jobs/mine.yaml: sweep: expected keys such as metric:, space:, at_once:; found {found}."
    assert str(caught.value) == told


def test_a_mistake_at_the_top_names_sweep_too() -> None:
    with pytest.raises(UserError, match=r'sweeep: there is no such key at the top.* Did you mean "sweep"\?'):
        parse_job(f"{BASE}sweeep: {{}}", "jobs/mine.yaml", "mine")


def test_every_problem_has_a_line_of_its_own() -> None:
    told = message("trials: 0, gpus: 2, space: {train.lr: 3, train.batch: {uniform: [a, 1]}}")
    assert [line.split(": ")[1] for line in told.splitlines()] == [
        "sweep.metric", "sweep.trials", "sweep.space.train.lr", "sweep.space.train.batch.uniform.0", "sweep.gpus",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("sweep.trails=2", "--set sweep.trails: there is no such key in sweep"),
        ("sweep.gpus=2", "--set sweep.gpus: expected 'auto' or a number less than or equal to 1"),
        (
            "sweep.space.train.lr={unifrm: [0, 1]}",
            "--set sweep.space.train.lr: sweep.space.train.lr.unifrm: there is no",
        ),
        ("sweep.space.train.lr.uniform=[0, 1]", "--set sweep.space.train.lr.uniform: expected keys such as choice:"),
        ("sweep.space.train.lrr={uniform: [0, 1]}", "--set sweep.space.train.lrr: the job has no such key"),
        ("sweep.metric=val_map", '--set sweep.metric: a classification job reports no "val_map"'),
        ("sweep.space=3", "--set sweep.space: expected keys such as train.lr:"),
    ],
)
def test_mistake_in_a_set_names_it(item: str, told: str) -> None:
    assert message(of_space(LR), sets=(item,)).startswith(told)


def test_set_reaches_a_domain() -> None:
    spec = parse(
        of_space(LR), sets=("sweep.space.train.lr={uniform: [0.5, 1]}", "sweep.space.train.batch={int: [2, 4]}")
    )
    assert spec.sweep is not None
    assert spec.sweep.space == {"train.lr": Domain(uniform=[0.5, 1]), "train.batch": Domain(int=[2, 4])}


WHOLE = "sweep={metric: val_loss, trials: 6, space: {train.lr: {uniform: [0.5, 1]}}}"


@pytest.mark.parametrize(
    "parts",
    [
        ("sweep.at_once=1", "sweep.trials=5"),
        ("train.epochs=4", "sweep.trials=5"),
        ("sweep.metric=val_loss", "sweep.space.train.lr={uniform: [0.5, 1]}", "sweep.trials=5"),
    ],
)
@pytest.mark.parametrize("sweep", [False, True])
def test_sets_give_a_job_its_whole_section(parts: tuple[str, ...], sweep: bool) -> None:
    spec = parse_job(BASE, "jobs/mine.yaml", "mine", (WHOLE, *parts), sweep=sweep)
    assert spec.sweep is not None
    assert (spec.sweep.trials, spec.sweep.space) == (5, {"train.lr": Domain(uniform=[0.5, 1])})


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (("sweep.trials=5",), "mine has no sweep: section"),
        (("train.epochs=4", " sweep.trials=5", "sweep.at_once=1"), "mine has no sweep: section"),
        (("sweep.trials=5", "sweep=3"), "sweep: expected keys such as"),
        (("sweep.trials=5", "sweep.trails=6"), "sweep.trails: there is no such key in sweep"),
    ],
)
def test_sets_that_give_no_section(sets: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_job(BASE, "jobs/mine.yaml", "mine", sets, sweep=True)
    assert told in str(refused.value)


# Anything at all.

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["auto", "val_loss", "tpe", "a"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
spaces = st.dictionaries(
    st.sampled_from(
        ["train.lr", "train.batch", "data.size", "train", "published.a", "train.schedule", "", "a: b", "."]
    ),
    st.dictionaries(st.sampled_from([*KINDS, "unifrm"]), st.lists(values, max_size=3) | values, max_size=2) | values,
    max_size=3,
)
sections = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.just("val_loss") | scalars,
        "space": spaces | values,
        **dict.fromkeys(("mode", "trials", "search", "scheduler", "grace", "at_once", "gpus", "seed", "zzz"), scalars),
    },
)


@settings(max_examples=500)
@given(sections | values)
def test_any_section_is_a_spec_or_a_user_error(section: Any) -> None:
    try:
        spec = parse_job(yaml.safe_dump(yaml.safe_load(BASE) | {"sweep": section}), "jobs/mine.yaml", "mine")
    except UserError as error:
        assert all(line.startswith("jobs/mine.yaml: sweep") for line in str(error).splitlines())
    else:
        assert parse_job(dump_spec(spec), "spec.yaml", "run") == spec
