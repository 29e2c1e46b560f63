"""Each pair of runs: McNemar's test and Holm's correction by hand, and runs that cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from compared_runs import CREATED, MakeRun, numbers_of, page_of, run_of, three_runs, with_spec

from visionjobs.errors import UserError
from visionjobs.report.compare import build_comparison, check_ids
from visionjobs.report.compare_pairs import p_text
from visionjobs.report.summary import RunSummary


@pytest.fixture
def three(make_run: MakeRun) -> list[RunSummary]:
    return three_runs(make_run)


def test_mcnemar_and_holm_by_hand(three: list[RunSummary]) -> None:
    """p = 2 P(X <= 0 | 8) = 2/256; 2 P(X <= 0 | 1) = 1; 2 P(X <= 1 | 9) = 2 (1 + 9)/512; times 3, 1 and 2."""
    page = page_of(three)
    assert page.row("all - few")[1:5] == ["4", "8", "0", "0"]
    assert page.row("all - few")[6:] == ["0.0078", "0.0234 different"]
    assert page.row("all - most")[6:] == ["1.0000", "1.0000"]
    assert page.row("few - most")[1:5] == ["3", "1", "8", "0"]
    assert page.row("few - most")[6:] == ["0.0391", "0.0781"]
    assert page.after("few - most") == (
        "few is right on 1 sample that most gets wrong, and most on 8 that few gets wrong; p = 0.0391, after Holm "
        "p = 0.0781: no difference is shown at the 5 % level."
    )
    assert (
        "8 samples that few gets wrong, and few on 0 that all gets wrong; p = 0.0078, after Holm p = 0.0234: a diff"
        in (page.text)
    )
    assert "Tested: 3 of 3 pairs. A difference in accuracy is shown at the 5 % level between all and few." in page.text
    pairs = numbers_of(three)["pairs"]
    assert [pair["p_value"] for pair in pairs] == pytest.approx([2 / 256, 1, 20 / 512])
    assert [pair["p_holm"] for pair in pairs] == pytest.approx([6 / 256, 1, 40 / 512])
    assert [pair["differs"] for pair in pairs] == [True, False, False]
    assert [pair["accuracy_difference"] for pair in pairs] == pytest.approx([8 / 12, 1 / 12, -7 / 12])


def test_one_pair_needs_no_correction(make_run: MakeRun) -> None:
    """p = 2 P(X <= 1 | 7) = 2 (1 + 7)/128."""
    runs = [run_of(make_run, "one", [0, 8, 9]), run_of(make_run, "two", [2, 3, 4, 5, 6, 7, 8, 9])]
    page = page_of(runs)
    assert page.row("one - two")[1:5] == ["3", "6", "1", "2"]
    assert page.row("one - two")[6:] == ["0.1250", "0.1250"]
    assert "test and interval may disagree" in page.text
    assert "Tested: the pair. No difference in accuracy is shown" in page.text


def test_the_interval_of_a_difference_holds_it(three: list[RunSummary]) -> None:
    for pair in numbers_of(three)["pairs"]:
        low, high = pair["interval"]
        assert low <= pair["accuracy_difference"] <= high


def test_older_run_without_predictions(three: list[RunSummary]) -> None:
    page = page_of([*three[:2], replace(three[2], predictions=None)])
    assert page.row("all - few")[6:] == ["0.0078", "0.0078 different"], "Holm over the pair that could be tested"
    assert page.row("few - most")[1:] == ["n/a"] * 7
    assert "most-20260504-101112-ab12 holds no predictions/val.parquet" in page.after("few - most")
    assert "Tested: 1 of 3 pairs" in page.text
    assert page.row("most")[1].startswith("0.9167")
    pair = numbers_of([*three[:2], replace(three[2], predictions=None)])["pairs"][2]
    assert pair["p_value"] is None
    assert pair["differs"] is None
    assert "holds no predictions" in pair["reason"]


def test_runs_without_any_predictions(three: list[RunSummary]) -> None:
    page = page_of([replace(run, predictions=None) for run in three[:2]])
    assert "No pair could be tested." in page.text
    assert "hold no predictions/val.parquet" in page.after("all - few")


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a"], "one run given; expected 2 to 8 runs"),
        ([], "0 runs given"),
        ([str(i) for i in range(9)], "9 runs given"),
        (["a", "b", "a"], "a: given more than once"),
    ],
)
def test_numbers_of_runs_are_checked(ids: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_ids(ids)


def test_refusals(three: list[RunSummary]) -> None:
    a, b = three[:2]
    other = dict(b.metrics)
    rolled = replace(b.predictions, paths=("x.png", *b.predictions.paths[1:]))
    relabelled = replace(b.predictions, labels=1 - b.predictions.labels)
    wildlife = {"name": "wildlife", "version": "0123"}
    cases = [
        (replace(b, metrics=other | {"task": "segmentation"}), "task is not the same: classification and segmentation"),
        (
            with_spec(b, "data", name="zoo"),
            "dataset is not the same: wildlife version 3f9.* and zoo.*dataset: --set data.name=NAME",
        ),
        (replace(b, dataset=wildlife), "wildlife version 3f9c2ab41d77 and wildlife version 0123.*same version: --set"),
        (replace(b, metrics=other | {"split": "train"}), "split is not the same: val and train"),
        (replace(b, predictions=rolled), "not of the same 12 and 12 samples"),
        (replace(b, predictions=relabelled), "or have other labels"),
        (replace(b, run=a.run), "given more than once"),
    ]
    for changed, said in cases:
        with pytest.raises(UserError, match=said):
            build_comparison([a, changed], CREATED)
    with pytest.raises(UserError, match="no comparison is known for the task 'pottery'; known: classification"):
        build_comparison([replace(run, metrics=dict(run.metrics) | {"task": "pottery"}) for run in (a, b)], CREATED)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, r"not finished \(not started\).*Continue it: visionjobs run few --run few-2026"),
        ({"state": "interrupted", "message": "disk full"}, r"\(interrupted: disk full\).*Continue it: visionjobs run"),
        ({"state": "interrupted", "message": "interrupted"}, r"not finished \(interrupted\): it has no final metrics"),
        ({"state": "running", "message": None}, r"\(running\).*Wait for its end"),
        ({"state": "failed", "message": "bad loss"}, r"\(failed: bad loss\).*start a new run: visionjobs run few$"),
    ],
)
def test_unfinished_runs_are_told_with_what_to_do(three: list[RunSummary], record: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_comparison([three[0], replace(three[1], metrics={}, record=record)], CREATED)


def test_a_split_without_samples(make_run: MakeRun) -> None:
    page = page_of([run_of(make_run, job, [], n=0) for job in ("one", "two")])
    assert "there are no figures to compare" in page.text
    assert "the split holds no samples" in page.after("one - two")
    assert page.row("one")[1] == "n/a"


@pytest.mark.parametrize(
    ("p", "text"), [(None, "n/a"), (1.0, "1.0000"), (1e-4, "0.0001"), (9e-5, "< 0.0001"), (0, "< 0.0001")]
)
def test_p_values(p: float | None, text: str) -> None:
    assert p_text(p) == text
