"""What of a run goes to wandb."""

from __future__ import annotations

import math

import pytest

from visionjobs.report.summary import RunSummary
from visionjobs.tracking.content import epoch_row, final


def summary(**parts: object) -> RunSummary:
    given = {"run": "r", "job": "j", "spec": {"task": "classification"}, "record": {}, "history": [], "metrics": {}}
    return RunSummary(**(given | parts))


def test_row_has_the_numbers_and_the_epoch_from_1() -> None:
    row = {"epoch": 0, "train_loss": 1.5, "val_loss": None, "nan": math.nan, "inf": math.inf, "diagnosis": "slow"}
    assert epoch_row(row) == {"epoch": 1, "train_loss": 1.5}


def test_what_a_run_does_not_have_is_left_out() -> None:
    ended = final(summary(), {})
    assert (ended.metrics, ended.charts, ended.pictures, ended.figures) == ({}, {}, {}, {})
    assert list(ended.tables) == ["results"]
    assert {row[1:] for row in ended.tables["results"].rows} == {(None,) * 6}, "not measured is not 0"


def test_metrics_are_flat_and_only_numbers() -> None:
    values = {"accuracy": 0.5, "nll": None, "per_class": {"fox": {"recall": 0.25}}, "confusion_matrix": [[1]]}
    assert final(summary(metrics={"metrics": values}), {}).metrics == {"accuracy": 0.5, "per_class.fox.recall": 0.25}


def test_published_figure_that_is_no_metric_of_the_task_shows_too() -> None:
    published = {"acuracy": {"value": 0.9, "source": "a paper"}}
    ended = final(summary(spec={"task": "classification", "published": published}), {})
    assert ("acuracy", None, None, None, 0.9, None, "a paper") in ended.tables["results"].rows


@pytest.mark.parametrize("task", ["detection", None])
def test_another_task_has_its_published_figures(task: str | None) -> None:
    values = {"metrics": {"miou": 0.5}}
    published = {"miou": {"value": 0.25, "source": "a paper"}}
    ended = final(summary(spec={"task": task, "published": published}, metrics=values), {})
    assert ended.tables["results"].rows == (("miou", 0.5, None, None, 0.25, 0.25, "a paper"),)
