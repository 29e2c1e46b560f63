"""`visionjobs runs`: runs of both tasks in one list, each with its task's metric."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visionjobs.jobfile import build_spec
from visionjobs.runs import create_run
from visionjobs.storage import open_store

MODELS = {"classification": "convnet", "segmentation": "segnet"}
METRICS = {"classification": {"accuracy": 0.8125, "nll": 0.5}, "segmentation": {"miou": 0.2409, "loss": 0.8569}}


@pytest.fixture
def add(tmp_path: Path) -> Callable[..., str]:
    """A run in the storage that `visionjobs` uses; its id."""

    def add(job: str, task: str, **metrics: float) -> str:
        tree = {"name": job, "task": task, "model": {"name": MODELS[task]}, "data": {"name": "tiny"}}
        run = create_run(open_store(str(tmp_path / "storage")), build_spec(tree, job, ()), "{}")
        run.store.write("metrics.json", json.dumps({"metrics": METRICS[task] | metrics}))
        return run.id

    return add


def cells(err: str, run_id: str) -> list[str]:
    """The words of a run's line."""
    return err[err.index(run_id) :].split()[:6]


def test_each_run_shows_its_tasks_metric(visionjobs: Callable[..., Any], add: Callable[..., str]) -> None:
    first, second = add("photos", "classification"), add("streets", "segmentation")
    ended = visionjobs("runs")
    assert ended.status == 0, ended.err
    assert "accuracy/miou" in ended.err
    assert "0.8125" in cells(ended.err, first)
    assert "0.2409" in cells(ended.err, second)


def test_runs_of_one_task_have_one_title(visionjobs: Callable[..., Any], add: Callable[..., str]) -> None:
    add("photos", "classification")
    run_id = add("streets", "segmentation")
    ended = visionjobs("runs", "--job", "streets")
    assert "/miou" not in ended.err
    assert " miou " in ended.err
    assert "0.2409" in cells(ended.err, run_id)


def test_sorted_by_a_metric_that_metric_is_shown(visionjobs: Callable[..., Any], add: Callable[..., str]) -> None:
    low, high = add("streets", "segmentation", miou=0.1), add("streets", "segmentation", miou=0.7)
    other = add("photos", "classification")
    ended = visionjobs("runs", "--sort", "miou")
    assert ended.err.index(other) < ended.err.index(low) < ended.err.index(high)
    assert "n/a" in cells(ended.err, other), "no metric of that run"
    assert "accuracy" not in ended.err
    refused = visionjobs("runs", "--sort", "map")
    assert refused.status == 2
    assert "accuracy, loss, miou, nll" in refused.err


def test_it_fits_into_80_columns(
    visionjobs: Callable[..., Any], add: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run_id = add("s" * 12, "segmentation")
    add("photos", "classification")
    assert run_id in visionjobs("runs").err


def test_json_tells_the_task(visionjobs: Callable[..., Any], add: Callable[..., str]) -> None:
    add("streets", "segmentation")
    (line,) = visionjobs("runs", "--json").out.splitlines()
    row = json.loads(line)
    assert (row["task"], row["metrics"]) == ("segmentation", METRICS["segmentation"])


def test_without_runs(visionjobs: Callable[..., Any]) -> None:
    assert "There are no such runs in" in visionjobs("runs").err


def test_folders_without_a_spec_are_no_runs(
    visionjobs: Callable[..., Any], add: Callable[..., str], tmp_path: Path
) -> None:
    run_id = add("photos", "classification")
    open_store(str(tmp_path / "storage")).at("runs", "other-1").write("stop.json", "{}")
    ended = visionjobs("runs")
    assert ended.status == 0
    assert run_id in ended.err
    assert "other-1" not in ended.err
