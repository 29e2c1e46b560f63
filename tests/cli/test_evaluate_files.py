"""`visionjobs evaluate --predictions --annotations --out`: any detector's boxes; and what a person gets wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ANNOTATIONS: dict[str, Any] = {
    "images": [{"id": number, "file_name": f"{number}.jpg", "height": 120, "width": 160} for number in (1, 2)],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 9, "bbox": [20, 20, 20, 20], "area": 400, "iscrowd": 0},
    ],
    "categories": [{"id": 7, "name": "cup"}, {"id": 9, "name": "cat"}],
}
RESULTS: list[dict[str, Any]] = [
    {"image_id": 1, "category_id": 7, "bbox": [10, 10, 40, 40], "score": 0.9},
    {"image_id": 2, "category_id": 7, "bbox": [20, 20, 20, 20], "score": 0.6},
    {"image_id": 2, "category_id": 9, "bbox": [20, 20, 20, 20], "score": 0.1},
]


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visionjobs: Callable[..., Any]) -> Callable[..., Any]:
    """With the three options, in a folder that holds both files and the images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps(ANNOTATIONS))
    (tmp_path / "mine.json").write_text(json.dumps(RESULTS))
    (tmp_path / "images").mkdir()
    for number in (1, 2):
        Image.new("RGB", (160, 120), "gray").save(tmp_path / "images" / f"{number}.jpg")
    files = ("--predictions", "mine.json", "--annotations", "truth.json", "--out", "out")
    return lambda *more, files=files: visionjobs("evaluate", *files, *more)


def test_writes_metrics_boxes_and_a_report(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    done = evaluate("--images", "images")
    assert done.status == 0, done.err
    assert done.out == "out\n"
    assert "coco.AP50" in done.err
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (stored["task"], stored["run"], stored["job"], stored["split"]) == ("detection", None, "mine", "truth")
    low, high = stored["metrics"]["floors"]["0.001"], stored["metrics"]["floors"]["0.25"]
    assert (low["coco"]["AP50"], high["coco"]["AP50"]) == (pytest.approx(1), pytest.approx(0.5))
    assert (low["detections"], high["detections"]) == (3, 2)
    page = (tmp_path / "out" / "report" / "report.html").read_text()
    assert "mine" in page
    assert "with the weights at the end of training" not in page
    assert {path.name for path in (tmp_path / "out" / "predictions").iterdir()} == {
        "coco_predictions.json", "annotations.json", "curves.npz", "box_scenes.npz",
    }  # fmt: skip


def test_floors_may_be_others_and_images_may_be_left_out(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    done = evaluate("--floor", "0.5", "--floor", "0.05")
    assert done.status == 0, done.err
    assert list(json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]["floors"]) == ["0.05", "0.5"]
    assert not (tmp_path / "out" / "predictions" / "box_scenes.npz").exists()


def test_a_folder_that_is_not_empty_is_left_alone(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    done = evaluate()
    assert done.status == 2
    assert "out: is there already, and not empty" in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("mine.json", [RESULTS[0] | {"image_id": 3}], "mine.json: entry 0 has the image_id 3"),
        ("mine.json", [RESULTS[0] | {"category_id": 8}], "mine.json: entry 0 has the category_id 8"),
        ("mine.json", [RESULTS[0] | {"bbox": [1, 1, -5, 5]}], "mine.json: entry 0 of the results has the box"),
        ("mine.json", [RESULTS[0] | {"bbox": [1, 1, float("nan"), 5]}], "mine.json: entry 0 of the results has"),
        ("truth.json", ANNOTATIONS | {"categories": []}, "truth.json: its categories are empty"),
        ("truth.json", None, "truth.json is not valid JSON"),
        ("mine.json", None, "mine.json is not valid JSON"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_names_it_and_leaves_nothing(
    evaluate: Callable[..., Any], tmp_path: Path, file: str, content: Any, told: str
) -> None:
    text = (tmp_path / file).read_text()[:-9] if content is None else json.dumps(content)
    (tmp_path / file).write_text(text)
    done = evaluate()
    assert (done.status, done.out) == (2, "")
    assert told in done.err
    assert not (tmp_path / "out").exists()


def test_an_image_that_cannot_be_read_is_named(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "images" / "2.jpg").write_bytes(b"no image")
    broken = evaluate("--images", "images")
    assert (broken.status, "2.jpg: cannot be decoded" in broken.err) == (2, True)
    missing = evaluate("--images", "elsewhere")
    assert (missing.status, "elsewhere" in missing.err, "--images must be the folder" in missing.err) == (2, True, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give a RUN, or --predictions, --annotations and --out"),
        (("--predictions", "mine.json", "--out", "out"), "missing: --annotations"),
        (("some-run", "--out", "out"), "--out and a RUN do not go together"),
        (("some-run", "--floor", "0.3"), "--floor and a RUN do not go together"),
    ],
)
def test_options_that_do_not_fit(evaluate: Callable[..., Any], arguments: tuple[str, ...], told: str) -> None:
    done = evaluate(*arguments, files=())
    assert (done.status, done.out) == (2, "")
    assert told in done.err


@pytest.mark.parametrize("more", [("--split", "val"), ("--floor", "1.5"), ("--floor", "0")])
def test_options_that_do_not_fit_the_files(evaluate: Callable[..., Any], more: tuple[str, ...]) -> None:
    done = evaluate(*more)
    assert done.status == 2
    assert more[0] in done.err


@pytest.mark.parametrize("file", ["mine.json", "truth.json"])
def test_a_file_that_is_not_there(evaluate: Callable[..., Any], tmp_path: Path, file: str) -> None:
    (tmp_path / file).unlink()
    done = evaluate()
    assert done.status == 2
    assert f"{file}: cannot be read: No such file" in done.err
