"""`visionjobs runs`, `compare` and `reproduce` of detection runs, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from detection_runs import detection_run_in

from visionjobs.coco_json import RESULTS
from visionjobs.runs import Run
from visionjobs.storage import Store, open_store

AP = "floors.0.25.coco.AP"
MISS = "floors.0.25.tide.small.Miss"


@pytest.fixture
def root(tmp_path: Path) -> Store:
    """The storage that `visionjobs` uses."""
    return open_store(str(tmp_path / "storage"))


def metrics_of(run: Run) -> dict[str, Any]:
    return (run.metrics() or {})["metrics"]


def cells(err: str, run_id: str) -> list[str]:
    return err[err.index(run_id) :].split()[:6]


def test_runs_shows_ap_at_the_lowest_floor(visionjobs: Callable[..., Any], root: Store) -> None:
    usual, other = detection_run_in(root), detection_run_in(root, "other", floors=(0.05, 0.5))
    ended = visionjobs("runs")
    assert ended.status == 0, ended.err
    assert " AP " in ended.err
    for run, floor in ((usual, "0.001"), (other, "0.05")):
        assert f"{metrics_of(run)['floors'][floor]['coco']['AP']:.4f}" in cells(ended.err, run.id)


def test_runs_are_sorted_by_a_dotted_key_and_json_has_all(visionjobs: Callable[..., Any], root: Store) -> None:
    bad, good = detection_run_in(root, "bad", 0.8), detection_run_in(root, "good", 0.1)
    ended = visionjobs("runs", "--sort", AP)
    assert ended.err.index(bad.id) < ended.err.index(good.id)
    assert f"{metrics_of(good)['floors']['0.25']['coco']['AP']:.4f}" in cells(ended.err, good.id)
    row = next(row for row in map(json.loads, visionjobs("runs", "--json").out.splitlines()) if row["run"] == good.id)
    found = metrics_of(good)["floors"]["0.25"]
    assert row["metrics"][MISS] == found["tide"]["small"]["Miss"]
    assert row["metrics"]["floors.0.25.per_class.dog.AP"] == found["per_class"]["dog"]["AP"]
    assert "floors.0.25.per_class.train.AP" not in row["metrics"], "null is no number"
    assert all(isinstance(value, int | float) for value in row["metrics"].values())


def test_a_wrong_key_is_told_with_the_nearest(visionjobs: Callable[..., Any], root: Store) -> None:
    detection_run_in(root)
    ended = visionjobs("runs", "--sort", "floors.0.25.coco.Ap")
    assert ended.status == 2
    assert f'Did you mean "{AP}"?' in ended.err
    assert "such as boxes, categories, crowd, floors.0.001.coco.AP, images;" in ended.err


def test_whole_ids_in_80_columns(visionjobs: Callable[..., Any], root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = detection_run_in(root, "y" * 25)
    assert run.id in visionjobs("runs").err


def test_compare(visionjobs: Callable[..., Any], root: Store) -> None:
    good, bad = detection_run_in(root, "good", 0.1), detection_run_in(root, "bad", 0.8)
    ended = visionjobs("compare", good.id, bad.id)
    assert ended.status == 0, ended.err
    numbers = json.loads(Path(ended.out.strip(), "compare.json").read_text())
    assert (numbers["task"], numbers["images"]) == ("detection", 40)
    (pair,) = numbers["pairs"]
    ap50 = [metrics_of(run)["floors"]["0.25"]["coco"]["AP50"] for run in (good, bad)]
    assert pair["ap50_difference"] == pytest.approx(ap50[0] - ap50[1], abs=1e-9)
    assert pair["differs"] is True
    assert numbers["runs"][0]["metrics"][AP] == metrics_of(good)["floors"]["0.25"]["coco"]["AP"]
    assert AP in ended.err
    bad.store.delete([RESULTS])
    numbers = json.loads(Path(visionjobs("compare", good.id, bad.id).out.strip(), "compare.json").read_text())
    assert f"{bad.id} holds no {RESULTS}" in numbers["pairs"][0]["reason"]


def test_reproduce(
    visionjobs: Callable[..., Any], root: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = detection_run_in(root)
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    spec = yaml.safe_load(run.store.read("spec.yaml"))
    published = {key: {"value": 0.5, "source": "part 1"} for key in (AP, MISS)}
    (jobs / "yolo.yaml").write_text(
        yaml.safe_dump({key: value for key, value in spec.items() if key != "name"} | {"published": published})
    )
    monkeypatch.setenv("VISIONJOBS_JOBS", str(jobs))
    ended = visionjobs("reproduce", "--no-run")
    assert ended.status == 0, ended.err
    rows = json.loads(Path(ended.out.strip(), "reproduce.json").read_text())["rows"]
    assert [(row["metric"], row["run"], row["epochs"], row["samples"]) for row in rows] == [
        (AP, run.id, 0, 40),
        (MISS, run.id, 0, 40),
    ]
    found = metrics_of(run)["floors"]["0.25"]
    assert [row["ours"] for row in rows] == [found["coco"]["AP"], found["tide"]["small"]["Miss"]]
    assert f" {found['tide']['small']['Miss']:.2f} " in ended.err
    assert "Miss, small, at 0.25" in ended.err


def test_on_a_sample_a_job_that_only_evaluates_is_passed_over(visionjobs: Callable[..., Any]) -> None:
    """The project's own yolo: what it evaluates knows nothing of the sample, and nothing is trained instead."""
    ended = visionjobs("reproduce", "--sample", "--jobs", "yolo")
    assert ended.status == 0
    rows = json.loads(Path(ended.out.strip(), "reproduce.json").read_text())["rows"]
    assert len(rows) > 20
    assert {row["state"] for row in rows} == {"not on the drawn sample"}
    assert "evaluates weights as they are (train.epochs is 0)" in ended.err
    assert {row["ours"] for row in rows} == {None}
    assert "Traceback" not in ended.err
