"""Calibration: the sentence, the table of bins, and what is not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parsed_page import page_of, section_page

from visionjobs.predictions import Predictions
from visionjobs.report.calibration import calibration
from visionjobs.report.classification import REPORT, tiles
from visionjobs.report.page import Cell, Table
from visionjobs.report.results import results
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]


def with_values(make_run: MakeRun, **values: Any) -> RunSummary:
    run = make_run(full=True, epochs=1)
    return make_run(full=True, epochs=1, metrics={**run.metrics, "metrics": {**run.values, **values}})


def bin_(low: float, n: int, accuracy: float | None, confidence: float | None) -> dict[str, Any]:
    return {"low": low, "high": low + 0.5, "n": n, "accuracy": accuracy, "confidence": confidence}


def ours(run: RunSummary) -> Cell:
    """Our accuracy in the table of results."""
    table = next(block for block in results(run, REPORT).blocks if isinstance(block, Table))
    return next(row for row in table.rows if row[0].text == "Accuracy")[1]


def test_the_numbers_of_the_run(make_run: MakeRun) -> None:
    run = make_run(full=True, epochs=1)
    page = section_page(calibration(run))
    assert f"ECE: {run.values['ece']:.4f} in 15 bins of equal width, {run.values['adaptive_ece']:.4f}" in page.text
    assert "over 200 samples" in page.text
    rows = page.tables["Bins of equal width"][1:]
    assert len(rows) == 15
    assert sum(int(row[1]) for row in rows) == 200
    mean = sum(int(row[1]) * float(row[2]) for row in rows if row[1] != "0") / 200
    assert mean == pytest.approx(run.predictions.confidence.mean(), abs=1e-4)


@pytest.mark.parametrize(("confidence", "words"), [(0.9, "over-confident"), (0.6, "under-confident")])
def test_over_and_under_confidence_are_told_apart(make_run: MakeRun, confidence: float, words: str) -> None:
    bins = [bin_(0.0, 0, None, None), bin_(0.5, 10, 0.75, confidence)]
    run = with_values(make_run, calibration={"n": 10, "bins": 2, "reliability": bins, "adaptive": []})
    text = section_page(calibration(run)).text
    assert f"the model is {words}" in text
    assert "in 0 bins" not in text


def test_a_confidence_that_is_not_a_number_leaves_no_sentence_on_confidence(make_run: MakeRun) -> None:
    bins = [bin_(0.0, 4, 0.5, 0.4), bin_(0.5, 10, 0.75, None)]
    run = with_values(
        make_run, ece=None, adaptive_ece=None,
        calibration={"n": 14, "bins": 2, "reliability": bins, "adaptive": []},
    )  # fmt: skip
    page = section_page(calibration(run))
    assert "ECE: n/a in 2 bins" in page.text
    assert "-confident:" not in page.text
    assert page.tables["Bins of equal width"][2][2:] == ["n/a", "0.7500", "n/a"]


@pytest.mark.parametrize(
    "measured", [None, {}, {"n": 0, "bins": 2, "reliability": [bin_(0.0, 0, None, None)], "adaptive": []}]
)
def test_without_samples_there_is_no_section(make_run: MakeRun, measured: dict[str, Any] | None) -> None:
    assert calibration(with_values(make_run, calibration=measured)) is None


def test_intervals_stand_below_our_figures_and_in_the_headline(make_run: MakeRun) -> None:
    run = make_run(full=True, epochs=1)
    low, high = run.values["intervals"]["accuracy"]
    tie = "\N{NO-BREAK SPACE}"
    line = f"95{tie}%:{tie}{low:.4f} to{tie}{high:.4f}"
    assert low < run.values["accuracy"] < high
    assert ours(run) == Cell(f"{run.values['accuracy']:.4f}", (line,))
    assert tiles(run)[0].more == (line,)
    text = section_page(results(run, REPORT)).text
    assert text.count("bootstrap") == 1
    assert "2,000 resamples, seed 0" in text


@pytest.mark.parametrize("intervals", [None, {}, {"level": 0.95, "accuracy": None}, {"accuracy": [0.1, None]}])
def test_missing_intervals_are_left_out(make_run: MakeRun, intervals: dict[str, Any] | None) -> None:
    run = with_values(make_run, intervals=intervals)
    assert ours(run) == Cell(f"{run.values['accuracy']:.4f}")
    assert "confidence intervals" not in section_page(results(run, REPORT)).text


def test_logits_that_are_not_numbers_still_make_a_report(make_run: MakeRun) -> None:
    run = make_run(full=True, epochs=1)
    logits = run.predictions.logits.copy()
    logits[::7] = np.nan
    given = Predictions("val", run.predictions.classes, run.predictions.paths, run.predictions.labels, logits)
    page = page_of(make_run(full=True, epochs=1, predictions=given))
    assert "were misclassified" in page.text
