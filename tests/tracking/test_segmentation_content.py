"""What of a segmentation run goes to wandb."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene_summaries import CLASSES, COLOURS, scene_run

from visionjobs.inference.overlay import GAP
from visionjobs.report.summary import RunSummary
from visionjobs.scenes import image_ious, ranked, worst_classes
from visionjobs.tracking.content import final


@pytest.fixture(scope="module")
def run() -> RunSummary:
    return scene_run()


def panels(pixels: np.ndarray, number: int) -> list[np.ndarray]:
    """What stands side by side."""
    width = (pixels.shape[1] - (number - 1) * GAP) // number
    return [pixels[:, at * (width + GAP) : at * (width + GAP) + width] for at in range(number)]


def masks_of(picture: np.ndarray) -> np.ndarray:
    """Coloured pixels -> class numbers."""
    found = (picture[:, :, None] == np.array(COLOURS)).all(axis=3)
    assert found.any(axis=2).all()
    return found.argmax(axis=2)


def test_tables(run: RunSummary) -> None:
    tables = final(run, {}).tables
    assert list(tables) == ["results", "per_class", "iou_bins", "class_distribution"]
    scores = {row[0]: dict(zip(tables["per_class"].columns, row, strict=True)) for row in tables["per_class"].rows}
    assert list(scores) == list(CLASSES)
    for name in CLASSES:
        expected = run.values["per_class"][name]
        assert {key: scores[name][key] for key in expected} == expected
        assert scores[name]["boundary_f"] == run.values["boundary"]["per_class"][name]["f"]
    assert scores["Train"]["iou"] is None, "not measured is not 0"
    bins = run.values["iou_bins"]
    assert tables["iou_bins"].rows == tuple(tuple(found.values()) for found in bins)
    assert sum(row[2] for row in tables["iou_bins"].rows) == 4
    distribution = tables["class_distribution"]
    assert distribution.columns == (
        "class", "train pixels", "val pixels", "test pixels", "full pixels", "train images", "val images",
        "test images", "full images",
    )  # fmt: skip
    assert distribution.rows[2] == ("Car", 500, 500, 500, 1500, 9, 9, 9, 27)
    assert distribution.rows[3] == ("Train", *[0] * 8)


def test_the_confusion_matrix_has_the_classes_that_occur(run: RunSummary) -> None:
    chart = final(run, {}).charts["confusion_matrix"]
    there = [name for name in CLASSES if name != "Train"]
    matrix = run.values["confusion_matrix"]
    assert chart.table.rows == tuple((a, b, matrix[CLASSES.index(a)][CLASSES.index(b)]) for a in there for b in there)
    assert sum(row[2] for row in chart.table.rows) == 9 * 24 * 32


def test_distributions_by_pixels_and_by_images(run: RunSummary) -> None:
    charts = final(run, {}).charts
    assert charts["class_pixels_test"].table.rows[0] == ("Road", 4000)
    assert charts["class_images_full"].table.rows[0] == ("Road", 27)
    assert charts["class_images_full"].fields == {"label": "class", "value": "images"}


def test_best_median_and_worst_images(run: RunSummary) -> None:
    pictures, ious = final(run, {}).pictures, image_ious(run.masks)
    for kind, rows in ranked(run.masks).items():
        shown = pictures[f"{kind}_images"]
        assert len(shown) == len(rows) == 3
        for row, picture in zip(rows, shown, strict=True):
            image, truth, predicted = panels(picture.pixels, 3)
            place = run.scenes.place(row)
            assert np.array_equal(image, run.scenes.images[place])
            assert np.array_equal(masks_of(truth), run.scenes.truths[place])
            assert np.array_equal(masks_of(predicted), run.masks.masks[row])
            assert picture.caption == f"test/{row:03}.png: image, truth, prediction; mIoU {ious[row]:.4f}"


def test_worst_classes_are_shown_alone() -> None:
    run = scene_run(wrong=0.8)
    worst = worst_classes(run.masks)
    shown = final(run, {}).pictures["worst_classes"]
    assert len(shown) == sum(map(len, worst.values())) > 3
    wanted = [(number, row) for number, rows in worst.items() for row in rows]
    for (number, row), picture in zip(wanted, shown, strict=True):
        _, truth, predicted = panels(picture.pixels, 3)
        place = run.scenes.place(row)
        assert np.array_equal(truth.any(axis=2), run.scenes.truths[place] == number)
        assert np.array_equal(predicted.any(axis=2), run.masks.masks[row] == number)
        name = CLASSES[number]
        assert picture.caption.startswith(f"{name} (IoU {run.values['per_class'][name]['iou']:.4f}): test/{row:03}")


def test_examples_and_augmented_images(run: RunSummary) -> None:
    pictures = final(run, {}).pictures
    assert [picture.caption for picture in pictures["class_examples"]] == ["Road", "Sky", "Car", "Void"]
    image, alone = panels(pictures["class_examples"][2].pixels, 2)
    assert np.array_equal(image, run.scenes.example_images[2])
    assert np.array_equal((alone == COLOURS[2]).all(axis=2), run.scenes.examples[2] == 2)
    _, void = panels(pictures["class_examples"][3].pixels, 2)
    assert np.array_equal((void == 255).all(axis=2), run.scenes.examples[3] == 4), "black on black shows nothing"
    captions = [picture.caption for picture in pictures["augmented"]]
    assert captions == ["image 1: original", "image 1: augmented 1", "image 1: augmented 2"]
    image, mask = panels(pictures["augmented"][2].pixels, 2)
    assert np.array_equal(image, run.scenes.augmented[0, 1])
    assert np.array_equal(masks_of(mask), run.scenes.augmented_masks[0, 1])


def test_large_examples_are_made_smaller(run: RunSummary) -> None:
    examples = run.scenes.examples.repeat(20, axis=1).repeat(20, axis=2)
    images = run.scenes.example_images.repeat(20, axis=1).repeat(20, axis=2)
    wide = replace(run, scenes=replace(run.scenes, examples=examples, example_images=images))
    image, _ = panels(final(wide, {}).pictures["class_examples"][0].pixels, 2)
    assert image.shape == (160, 214, 3)


def test_what_a_run_does_not_have_is_left_out(run: RunSummary) -> None:
    bare = final(replace(run, metrics={}, dataset={}, scenes=None, masks=None), {})
    assert (list(bare.tables), bare.charts, bare.pictures) == (["results"], {}, {})
    without = final(replace(run, masks=None), {}).pictures
    assert list(without) == ["class_examples", "augmented"]
