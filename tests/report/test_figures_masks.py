"""Panels of images and masks: what is marked in which colour, and that few bytes do not change the colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from visionjobs.report import figures_masks as fm
from visionjobs.report.figures_bars import binned_bars, class_bars, score_bars, split_bars
from visionjobs.report.figures_sheet import SheetRow, sheet

COLOURS = [[128, 64, 128], [128, 128, 128], [0, 0, 0]]


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def coloured_pixels(png: bytes, colour: tuple[int, int, int]) -> int:
    return int((opened(png) == colour).all(axis=2).sum())


def test_wrong_pixels_are_marked_on_grey() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    truth, predicted = np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8)
    predicted[1, 2] = 1
    marked = fm.wrong_pixels(image, truth, predicted)
    assert marked[1, 2].tolist() == list(fm.WRONG)
    others = np.delete(marked.reshape(-1, 3), 7, axis=0)
    assert (others == others[:, :1]).all()
    assert others.min() >= 140


def test_pixels_of_a_class_are_found_missed_or_wrongly_said() -> None:
    truth = np.array([[1, 1, 0, 0]], np.uint8)
    predicted = np.array([[1, 0, 1, 0]], np.uint8)
    marked = fm.found_pixels(truth, predicted, 1)
    assert marked[0].tolist() == [list(fm.WHITE), list(fm.MISSED), list(fm.FALSE), [0, 0, 0]]


@pytest.mark.parametrize(("shape", "size"), [((360, 480), (240, 320)), ((24, 32), (24, 32)), ((900, 3), (320, 3))])
def test_a_panel_is_small_and_framed(shape: tuple[int, int], size: tuple[int, int]) -> None:
    mask = np.full((*shape, 3), (128, 64, 128), np.uint8)
    picture = fm.panel(mask, "truth")
    assert picture.image.shape == (*size, 3)
    assert picture.caption == ("truth",)
    assert (picture.image[0] == fm.FRAME).all()
    assert (picture.image[:, -1] == fm.FRAME).all()
    assert (picture.image[1:-1, 1:-1] == (128, 64, 128)).all()


def test_only_a_blended_panel_has_colours_between() -> None:
    stripes = np.zeros((400, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    assert set(np.unique(fm.panel(stripes, "").image[1:-1, 1:-1])) <= {0, 255}
    assert np.unique(fm.panel(stripes, "", blend=True).image[1:-1, 1:-1]).tolist() == [128]


def test_a_sheet_of_few_colours_keeps_those_of_the_masks() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    rows = [SheetRow((fm.panel(photo, "image", blend=True), fm.panel(np.full((90, 120, 3), COLOURS[0], np.uint8), "")))]
    few, all_colours = fm.mask_sheet(rows, 2, COLOURS), sheet(rows, 2)
    before, after = opened(all_colours), opened(few)
    for colour in ((128, 64, 128), fm.WHITE):
        assert coloured_pixels(few, colour) >= coloured_pixels(all_colours, colour) > 1000
        where = (before == colour).all(axis=2)
        assert (after[where] == colour).all()
    assert len(few) < len(all_colours) / 2
    assert np.abs(before.astype(int) - after).mean() < 12
    assert Image.open(io.BytesIO(few)).mode == "P"


def test_a_hundred_classes_fit_into_the_palette() -> None:
    colours = [[number, 255 - number, 2 * number] for number in range(100)]
    mask = np.array(colours, np.uint8)[np.arange(100).reshape(10, 10)].repeat(20, axis=0).repeat(20, axis=1)
    png = fm.mask_sheet([SheetRow((fm.panel(mask, ""),))], 1, colours)
    assert sum(coloured_pixels(png, (r, g, b)) > 100 for r, g, b in colours) == 100


def test_a_row_may_have_a_heading_alone() -> None:
    picture = fm.panel(np.zeros((24, 32, 3), np.uint8), "")
    with_row = sheet([SheetRow((), "Train: absent"), SheetRow((picture,), "Road")], 2)
    without = sheet([SheetRow((picture,), "Road")], 2)
    assert opened(with_row).shape[0] > opened(without).shape[0]


@pytest.mark.parametrize("number", [1, 2, 5, 32, 100])
def test_the_legend_has_a_swatch_a_class(number: int) -> None:
    colours = [[number % 7 * 36, 2 * number, 255 - 2 * number] for number in range(number)]
    png = fm.colour_legend([f"a long name of class {k}" for k in range(number)], colours)
    for red, green, blue in colours:
        assert coloured_pixels(png, (red, green, blue)) > 300


def test_logarithmic_bars_tell_small_numbers_from_none() -> None:
    png = class_bars(["road", "sign", "train"], [18_000_000, 2_000, 0], "pixels", log=True)
    blue = (opened(png) == (0, 114, 178)).all(axis=2)
    lengths = sorted(set(blue.sum(axis=1).tolist()) - {0})
    assert lengths[-1] / lengths[0] == pytest.approx(np.log10(18e6) / np.log10(2000), rel=0.05)


def test_bars_of_scores_without_a_score() -> None:
    png = score_bars(["a", "b"], [0.5, None], "IoU")
    blue = (opened(png) == (0, 114, 178)).all(axis=2)
    rows = np.flatnonzero(blue.any(axis=1))
    assert np.ptp(rows) + 1 == len(rows), "one bar alone"


def test_bars_of_bins_and_of_splits_are_drawn_for_any_numbers() -> None:
    bins = [(k / 10, (k + 1) / 10) for k in range(10)]
    values: dict[str, list[float | None]] = {"Precision": [None] * 9 + [0.9], "Recall": [0.1] + [None] * 8 + [1.0]}
    assert coloured_pixels(binned_bars(bins, [2, *[0] * 8, 1], values, "IoU"), (0, 114, 178)) > 1000
    numbers = {"train": [5, 0], "val": [0, 0], "test": [1, 10**9]}
    for log in (False, True):
        assert opened(split_bars(["a", "b"], numbers, "pixels", log)).shape[1] > 1000
