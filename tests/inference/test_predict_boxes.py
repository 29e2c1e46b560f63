"""Boxes of a finished run's detector, in a table and drawn."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import start_attempt
from tiny_boxes import boxes_root, boxes_spec, random_weights

from visionjobs.errors import FinalError, UserError
from visionjobs.inference.detector import Found
from visionjobs.inference.draw_boxes import COLOURS, draw_boxes, draw_thumbnail
from visionjobs.inference.predict import predict_images
from visionjobs.inference.reading import find_images
from visionjobs.inference.run_detector import RunDetector, load_run_detector
from visionjobs.training import driver

NAMES = ["fox", "owl"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(storage, weights, an attempt of a run that evaluates them as they are)."""
    folder = tmp_path_factory.mktemp("boxes")
    root = boxes_root(folder)
    weights = random_weights(folder / "w.pth", NAMES)
    spec = driver.pin_inputs(root, boxes_spec(weights), folder / "cache")
    return root, weights, start_attempt(root, spec)


def loaded(made: Any, tmp_path: Path, **changes: Any) -> RunDetector:
    root, _, attempt = made
    options: dict[str, Any] = {"floor": None, "device": "cpu", "threads": 1}
    return load_run_detector(attempt.run, root, tmp_path / "cache", **(options | changes))


def photo(path: Path, width: int = 90, height: int = 60, **options: Any) -> Path:
    generator = np.random.default_rng(len(path.name))
    patches = Image.fromarray(generator.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    patches.resize((width, height)).save(path, **options)
    return path


def test_the_files(made: Any, tmp_path: Path) -> None:
    given = [photo(tmp_path / "a.png"), photo(tmp_path / "b.jpg", 40, 50), tmp_path / "bad.png"]
    given[-1].write_text("no image")
    asked = loaded(made, tmp_path)
    (tmp_path / "out").mkdir()
    tally = predict_images(asked, find_images([*map(str, given)]), tmp_path / "out", batch=2, top=7)
    assert (tally.predicted, tally.rejected, tally.accuracy) == (2, 1, None)
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["a.png", "b.jpg"]
    assert [(line["height"], line["width"]) for line in lines] == [(60, 90), (50, 40)]
    assert [line["drawn"] for line in lines] == ["boxes/a.jpg", "boxes/b.jpg"]
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["image", "class", "score", "x", "y", "width", "height"]
    told = [
        [line["image"], box["class"], str(box["score"]), *map(str, box["box"])]
        for line in lines
        for box in line["boxes"]
    ]
    assert rows == told
    for line, path in zip(lines, given, strict=False):
        with Image.open(path) as image:
            (found,) = asked.detector.predict([np.asarray(image.convert("RGB"))])
        assert len(line["boxes"]) == min(7, len(found)) > 2
        assert [box["score"] for box in line["boxes"]] == pytest.approx(found.scores[:7], abs=1e-5)
        np.testing.assert_allclose([box["box"] for box in line["boxes"]], found.boxes[:7], atol=0.05)
        with Image.open(tmp_path / "out" / line["drawn"]) as drawn, Image.open(path) as image:
            assert drawn.size == image.size
            difference = np.asarray(drawn, np.int64) - np.asarray(image.convert("RGB"))
            assert np.abs(difference).max() > 60
    assert (tmp_path / "out/contact-sheet-001.png").is_file()
    assert "bad.png" in (tmp_path / "out/rejects.csv").read_text()


def test_a_photo_that_is_turned_is_seen_as_it_is_shown(made: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    photo(tmp_path / "turned.jpg", 90, 60, exif=exif)
    (tmp_path / "out").mkdir()
    predict_images(loaded(made, tmp_path), find_images([str(tmp_path / "turned.jpg")]), tmp_path / "out", batch=1)
    (line,) = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert (line["height"], line["width"]) == (90, 60)
    assert all(
        0 <= x <= x + w <= 60.01 and 0 <= y <= y + h <= 90.01 for x, y, w, h in (b["box"] for b in line["boxes"])
    )
    with Image.open(tmp_path / "out/boxes/turned.jpg") as drawn:
        assert drawn.size == (60, 90)


def test_an_image_without_boxes_has_its_line_all_the_same(made: Any, tmp_path: Path) -> None:
    class Blind:
        classes = tuple(NAMES)

        def predict(self, images: list[Any]) -> list[Found]:
            return [Found(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64)) for _ in images]

    asked = loaded(made, tmp_path)
    photo(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    blind = RunDetector(asked.run, asked.spec, Blind())  # type: ignore[arg-type]
    assert predict_images(blind, find_images([str(tmp_path / "a.png")]), tmp_path / "out", batch=4).predicted == 1
    assert json.loads((tmp_path / "out/predictions.jsonl").read_text())["boxes"] == []
    assert len((tmp_path / "out/predictions.csv").read_text().splitlines()) == 1


def test_the_floor_is_the_job_s_highest_or_as_given(made: Any, tmp_path: Path) -> None:
    image = np.asarray(Image.open(photo(tmp_path / "a.png")).convert("RGB"))
    usual, low = loaded(made, tmp_path), loaded(made, tmp_path, floor=1e-6)
    assert usual.spec.detect.floors == [0.001, 0.005]
    (few,), (many,) = usual.detector.predict([image]), low.detector.predict([image])
    assert few.scores.min() > 0.005 > many.scores.min()
    assert usual.detector.classes == tuple(NAMES)


def test_weights_that_changed_since_the_run_are_refused(made: Any, tmp_path: Path) -> None:
    _, weights, _ = made
    before = weights.read_bytes()
    try:
        random_weights(weights, NAMES, seed=5)
        with pytest.raises((UserError, FinalError), match="sha256"):
            loaded(made, tmp_path)
    finally:
        weights.write_bytes(before)


@pytest.mark.parametrize("side", [60, 2000])
def test_drawn_boxes_keep_to_their_places(side: int) -> None:
    gray = np.full((side, side, 3), 128, np.uint8)
    box = np.array([[side * 0.25, side * 0.5, side * 0.5, side * 0.25]])
    found = Found(box, np.array([0.875]), np.array([1]))
    drawn = np.asarray(draw_boxes(gray, found, NAMES), np.int64)
    frame = [int(COLOURS[1][start : start + 2], 16) for start in (1, 3, 5)]
    row, column = round(side * 0.6), round(side * 0.25)
    assert drawn[row, column].tolist() == frame
    assert drawn[row, side // 2].tolist() == [128] * 3  # within
    assert drawn[round(side * 0.9)].tolist() == gray[0].tolist()  # below
    thumbnail = draw_thumbnail(gray[: side // 2, : side // 2], found, side)
    assert thumbnail[round(side * 0.3), round(side * 0.125)].tolist() == frame


def test_many_boxes_and_the_most_confident_on_top() -> None:
    boxes = np.array([[10.0, 20.0, 30.0, 20.0], [10.0, 20.0, 30.0, 20.0]])
    found = Found(boxes, np.array([0.9, 0.1]), np.array([0, 1]))
    top = Found(boxes[:1], np.array([0.9]), np.array([0]))
    gray = np.full((60, 60, 3), 128, np.uint8)
    assert (
        np.asarray(draw_boxes(gray, found, NAMES))[40, 25].tolist()
        == np.asarray(draw_boxes(gray, top, NAMES))[40, 25].tolist()
    )
