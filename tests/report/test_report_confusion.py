"""Confusion matrix and the most confused pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parsed_page import ParsedPage, figures_of, section_page

from visionjobs.report.confusion import classes, confusion
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]


def with_matrix(make_run: MakeRun, matrix: Sequence[Sequence[int]]) -> RunSummary:
    names = [f"c{number}" for number in range(len(matrix))]
    run = make_run(names=names, epochs=1, n=2 * len(names))
    return make_run(
        names=names, epochs=1, metrics={**run.metrics, "metrics": {**run.values, "confusion_matrix": matrix}}
    )


def pairs(page: ParsedPage) -> list[list[str]]:
    return page.tables["Most confused pairs"][1:]


def test_the_most_frequent_pairs_come_first(make_run: MakeRun) -> None:
    page = section_page(confusion(with_matrix(make_run, [[8, 1, 3], [0, 6, 0], [3, 1, 4]])))
    assert pairs(page) == [
        ["c0", "c2", "3", "25.0 %", "37.5 %"],
        ["c2", "c0", "3", "37.5 %", "37.5 %"],
        ["c0", "c1", "1", "8.3 %", "12.5 %"],
        ["c2", "c1", "1", "12.5 %", "12.5 %"],
    ]
    assert "The 4 most confused pairs of classes, of 4 that occur, hold 8 of the 8 mistakes" in page.text


def test_at_most_ten_pairs_are_listed(make_run: MakeRun) -> None:
    page = section_page(confusion(with_matrix(make_run, [[5, 1, 1, 1], [1, 5, 1, 1], [1, 1, 5, 1], [1, 1, 1, 5]])))
    assert len(pairs(page)) == 10
    assert "of 12 that occur, hold 10 of the 12 mistakes" in page.text


def test_no_mistake_at_all(make_run: MakeRun) -> None:
    page = section_page(confusion(with_matrix(make_run, [[3, 0], [0, 2]])))
    assert "None of the samples was misclassified." in page.text
    assert "Most confused pairs" not in page.tables


def test_both_matrices_scroll_where_there_are_many_classes(make_run: MakeRun) -> None:
    def widths(k: int) -> list[int]:
        run = make_run(names=[f"c{number}" for number in range(k)], epochs=1, n=2 * k)
        return [figure.min_width for figure in figures_of(confusion(run))]

    assert widths(10) == [0, 0]
    assert widths(40) == [1040, 1040]


def test_before_the_evaluation_there_is_neither(make_run: MakeRun) -> None:
    run = make_run(epochs=1, metrics={})
    assert (confusion(run), classes(run)) == (None, None)
