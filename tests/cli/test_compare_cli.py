"""`visionjobs compare` as a person types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from finished_runs import Project


def test_two_runs(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("compare", project.first.id, project.second.id)
    assert ended.status == 0, ended.err
    (address,) = ended.out.splitlines()
    folder = Path(address)
    assert folder.parent == project.folder / "storage" / "compare"
    assert project.first.id in folder.name
    assert f"{address}/compare.html" in ended.err
    numbers = json.loads((folder / "compare.json").read_text())
    assert [run["run"] for run in numbers["runs"]] == [project.first.id, project.second.id]
    assert numbers["settings"] == {"train.seed": [0, 1]}
    assert numbers["samples"] == 12
    pair = numbers["pairs"][0]
    assert sum(pair[key] for key in ("both_right", "only_first_right", "only_second_right", "neither_right")) == 12
    accuracies = [run["metrics"]["accuracy"] for run in numbers["runs"]]
    assert pair["accuracy_difference"] == pytest.approx(accuracies[0] - accuracies[1])
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {
        "accuracy_by_run.png", "loss_validation.png", "loss_training.png", "accuracy_validation.png",
        "accuracy_training.png", "f1_by_class.png",
    }  # fmt: skip
    assert not [path for path in folder.rglob("*") if "tmp" in path.name]


def test_a_chosen_folder_is_written_again(project: Project, visionjobs: Callable[..., Any]) -> None:
    folder = project.folder / "mine"
    for _ in range(2):
        ended = visionjobs("compare", project.first.id, project.second.id, "--out", str(folder))
        assert (ended.status, ended.out) == (0, f"{folder}\n")
        (folder / "figures" / "old.png").write_bytes(b"old")
    visionjobs("compare", project.first.id, project.second.id, "--out", str(folder))
    assert not (folder / "figures" / "old.png").exists()
    assert not (project.folder / "storage" / "compare").exists()


def test_an_older_run_without_predictions(project: Project, visionjobs: Callable[..., Any]) -> None:
    project.second.store.delete(["predictions/val.parquet"])
    ended = visionjobs("compare", project.first.id, project.second.id)
    assert ended.status == 0, ended.err
    numbers = json.loads(Path(ended.out.strip(), "compare.json").read_text())
    assert f"{project.second.id} holds no predictions/val.parquet" in numbers["pairs"][0]["reason"]
    assert numbers["pairs"][0]["p_value"] is None
    assert numbers["runs"][1]["metrics"]["accuracy"] is not None


def change_spec(project: Project, section: str, **values: Any) -> None:
    spec = yaml.safe_load(project.second.store.read("spec.yaml"))
    spec[section] |= values
    project.second.store.write("spec.yaml", yaml.safe_dump(spec))
    project.second.store.delete(["dataset.json"])


def test_runs_that_cannot_stand_side_by_side(project: Project, visionjobs: Callable[..., Any]) -> None:
    def refused(*ids: str) -> str:
        ended = visionjobs("compare", *ids)
        assert (ended.status, ended.out) == (2, "")
        assert "Traceback" not in ended.err
        return ended.err

    first, second, begun = project.first.id, project.second.id, project.begun.id
    assert "Missing argument" in refused()
    assert "one run given; expected 2 to 8 runs" in refused(first)
    assert "9 runs given" in refused(*[first] * 9)
    assert f"{first}: given more than once" in refused(first, second, first)
    assert f'There is no run "{first[:-1]}"' in refused(first[:-1], second)
    assert f"run {begun} is not finished (not started)" in refused(first, begun)
    assert f"visionjobs run tiny --run {begun}" in refused(first, begun)
    project.begun.store.write("record.json", '{"state": "failed", "message": "the loss is not finite"}')
    assert "(failed: the loss is not finite)" in refused(first, begun)
    metrics = json.loads(project.second.store.read("metrics.json"))
    project.second.store.write("metrics.json", json.dumps(metrics | {"task": "segmentation"}))
    assert "their task is not the same: classification and segmentation" in refused(first, second)
    project.second.store.write("metrics.json", json.dumps(metrics | {"split": "train"}))
    assert "their split is not the same: val and train" in refused(first, second)
    project.second.store.write("metrics.json", json.dumps(metrics))
    change_spec(project, "data", version="0123456789abcdef")
    assert "tiny version 0123456789abcdef. Instead: run both jobs on the same version" in refused(first, second)
    change_spec(project, "data", name="zoo")
    assert "and zoo version" in refused(first, second)
    assert not (project.folder / "storage" / "compare").exists()


def test_the_folder_is_checked_before_anything_is_read(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("compare", project.first.id, project.second.id, "--out", str(project.jobs))
    assert ended.status == 2
    assert "there are other files in it" in ended.err
    assert [path.name for path in project.jobs.iterdir()] == ["tiny.yaml"]
    ended = visionjobs("compare", project.first.id, project.second.id, "--out", str(project.jobs / "tiny.yaml"))
    assert ended.status == 2
    assert "tiny.yaml" in ended.err
