"""Figures of detections: boxes on photographs, TIDE's bars, reliability, curves, histograms."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visionjobs.report import figures_boxes as fb
from visionjobs.report.detection_metrics import ERRORS, SPECIAL
from visionjobs.report.figures_boxes import LOOKS, Mark, legend, marked
from visionjobs.report.figures_classes import floor_bars
from visionjobs.report.figures_confidence import box_reliability, confidence_histogram
from visionjobs.report.figures_curves import precision_recall
from visionjobs.report.figures_tide import SHARE_BARS, SIZE_BARS, error_bars, error_shares

GREY = Image.new("RGB", (320, 240), (128, 128, 128))
BLUE, ORANGE, SKY = (0, 114, 178), (230, 159, 0), (86, 180, 233)


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def of_colour(png: bytes, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((opened(png) == colour).all(axis=2))


@pytest.mark.parametrize("kind", LOOKS)
def test_a_box_is_drawn_where_it_is(kind: str) -> None:
    """The photograph is twice as large in the figure, and was half as large as the image: 640 x 480."""
    png = marked(GREY, (480, 640), [Mark(kind, (100, 120, 200, 160))])
    rows, columns = np.nonzero(of_colour(png, LOOKS[kind].colour))
    assert opened(png).shape == (480, 640, 3)
    assert (rows.min(), columns.min()) == pytest.approx((120, 100), abs=3)
    assert (rows.max(), columns.max()) == pytest.approx((280, 300), abs=3 + max(LOOKS[kind].dashes, default=0))
    inside = opened(png)[130:270, 110:290]
    assert (inside == inside[0, 0]).all(), "boxes are outlines"


def test_a_tall_photograph_stands_in_the_middle() -> None:
    png = marked(Image.new("RGB", (100, 400)), (400, 100), [Mark("right", (0, 0, 100, 400))])
    picture = opened(png)
    assert picture.shape == (520, 640, 3)
    assert (picture[:, :240] == 255).all()
    columns = np.nonzero(of_colour(png, LOOKS["right"].colour))[1]
    assert (columns.min(), columns.max()) == pytest.approx((255, 385), abs=4)


def test_kinds_are_told_apart_without_colour() -> None:
    shown = [LOOKS[kind] for kind in ("right", *ERRORS)]
    assert len({look.colour for look in LOOKS.values()}) >= len(shown)
    assert len({look.dashes for look in shown}) == len(shown) - 1, "whole lines: right, and Cls, which its label tells"
    assert len({look.words for look in shown}) == len(shown)


def test_dashes_leave_gaps() -> None:
    whole, dashed = (
        int(of_colour(marked(GREY, (240, 320), [Mark(kind, (20, 20, 280, 200))]), LOOKS[kind].colour).sum())
        for kind in ("right", "Bkg")
    )
    assert 0.3 * whole < dashed < 0.7 * whole


def test_labels_do_not_overlap_and_the_last_mark_has_its_first() -> None:
    taken: list[fb.Box] = []
    for at in range(8):
        area = fb._free_place((100, 100 + at, 300, 200), "person 0.90", (640, 480), taken)
        if area:
            assert not any(fb._overlap(area, other) for other in taken)
            assert 0 <= area[0] < area[2] <= 640
            assert 0 <= area[1] < area[3] <= 480
            taken.append(area)
    assert 1 < len(taken) < 8, "some found no room"
    box = (50.0, 50.0, 200.0, 150.0)
    png = marked(GREY, (240, 320), [Mark("Miss", box, "Miss dog"), Mark("Cls", box, "Cls cat 0.90")])
    above = slice(int(2 * box[1]) - fb.LETTERS - 5, int(2 * box[1]) - 4)
    assert of_colour(png, LOOKS["Cls"].colour)[above].sum() > 500
    assert of_colour(png, LOOKS["Miss"].colour)[above].sum() == 0


def test_a_label_at_the_edge_is_inside() -> None:
    for corners in ((0, 0, 640, 480), (630, 2, 640, 12), (600, 470, 640, 480)):
        left, top, right, bottom = fb._free_place(corners, "a long name 0.90", (640, 480), []) or (-1, -1, 0, 0)
        assert 0 <= left < right <= 640
        assert 0 <= top < bottom <= 480
    assert fb._free_place((0, 0, 10, 10), 90 * "w", (640, 480), []) is None


def test_at_most_so_many_labels() -> None:
    grid = [(10.0 + 100 * column, 24.0 + 24 * row, 20.0, 4.0) for column in range(3) for row in range(8)]
    many = marked(GREY, (240, 320), [Mark("Bkg", box, "ab") for box in grid])
    few = marked(GREY, (240, 320), [Mark("Bkg", box, "ab" if at < 3 else "") for at, box in enumerate(grid)])
    none = marked(GREY, (240, 320), [Mark("Bkg", box) for box in grid])
    filled = [int(of_colour(png, LOOKS["Bkg"].colour).sum()) for png in (many, few, none)]
    assert (filled[0] - filled[2]) / (filled[1] - filled[2]) == pytest.approx(fb.LABELS / 3, rel=0.05)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (640, 480)])
def test_any_photograph_and_any_name(size: tuple[int, int]) -> None:
    marks = [Mark("Loc", (-5, -5, 2000, 2000), fb.name_of("日本 $x^2$ " * 9)), Mark("Both", (0, 0, 0, 0), "zero")]
    assert opened(marked(Image.new("RGB", size), (size[1], size[0]), marks)).shape[1] == fb.WIDE


def test_the_size_of_the_image_may_be_unknown() -> None:
    known, unknown = (marked(GREY, size, [Mark("right", (20, 20, 100, 100))]) for size in ((240, 320), (0, 0)))
    assert known == unknown


def test_the_legend_has_every_kind() -> None:
    png = legend(LOOKS)
    for look in LOOKS.values():
        assert of_colour(png, look.colour).sum() > 20


def test_few_colours_are_written() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))
    assert Image.open(io.BytesIO(marked(noise, (240, 320), []))).mode == "P"


def errors(value: float | None) -> dict[str, float | None]:
    return dict.fromkeys((*ERRORS, *SPECIAL), value)


def test_a_size_keeps_its_colour_in_both_readings() -> None:
    for sizes in (("all", "small", "medium", "large"), ("small", "medium", "large")):
        png = error_bars({size: errors(5.0) for size in sizes}, list(ERRORS), list(SPECIAL))
        assert (of_colour(png, SKY).sum() > 1000) == ("small" in sizes)
        bars = of_colour(png, (0, 0, 0))[200:450].sum(axis=0)
        assert (bars > 200).any() == ("all" in sizes)
    assert set(SIZE_BARS) == {"all", "small", "medium", "large"}


def test_errors_that_are_not_there_have_no_bar() -> None:
    png = error_bars({"small": errors(None)}, list(ERRORS), list(SPECIAL))
    assert of_colour(png, SKY).sum() < 1500, "the legend alone"


def test_shares_are_of_the_sum() -> None:
    parts: dict[str, float | None] = {"Cls": 1.0, "Loc": 3.0, "Both": 0.0, "Dupe": -0.5, "Bkg": None, "Miss": 0.0}
    bar = of_colour(error_shares({"All": parts}, list(ERRORS)), BLUE)
    whole = of_colour(error_shares({"All": {"Loc": 2.0}}, list(ERRORS)), BLUE)
    lengths = [np.ptp(np.nonzero(found[150:])[1]) for found in (bar, whole)]
    assert lengths[0] / lengths[1] == pytest.approx(0.75, abs=0.01)
    assert len(SHARE_BARS) == len(ERRORS)
    assert opened(error_shares({"All": errors(0.0), "Small": errors(None)}, list(ERRORS))).any()


def bin_(low: float, n: int, confidence: float | None, precision: float | None) -> dict[str, Any]:
    return {"low": low, "high": low + 0.1, "n": n, "confidence": confidence, "precision": precision}


def test_reliability_leaves_empty_bins_out_and_draws_the_gap() -> None:
    few = box_reliability([bin_(0.0, 0, None, None), bin_(0.9, 5, 0.95, 0.5)])
    calibrated = box_reliability([bin_(0.0, 0, None, None), bin_(0.9, 5, 0.95, 0.95)])
    vermillion = (213, 94, 0)
    assert of_colour(few, vermillion).sum() > 2 * of_colour(calibrated, vermillion).sum()
    columns = np.nonzero(of_colour(few, SKY)[150:])[1]
    assert columns.min() > 0.8 * opened(few).shape[1], "one bar, at the right"
    assert opened(box_reliability([bin_(0.0, 2_000_000, 0.01, 0.002), bin_(0.9, 1, 0.95, 1.0)])).any()


def test_a_bar_that_dwarfs_the_others_is_cut() -> None:
    def bins(first: int) -> list[dict[str, Any]]:
        rest = [{"low": k / 20, "high": (k + 1) / 20, "right": 50, "wrong": 50} for k in range(1, 20)]
        return [{"low": 0.0, "high": 0.05, "right": 0, "wrong": first}, *rest]

    tall, level = (of_colour(confidence_histogram(bins(first)), BLUE)[120:] for first in (100_000, 100))
    heights = [int(found.sum(axis=0).max()) for found in (tall, level)]
    assert heights[0] > 0.8 * heights[1], "the others are as high as without it"
    assert opened(confidence_histogram([])).any()
    assert opened(confidence_histogram(bins(0)[:1])).any()


def test_precision_is_drawn_against_recall() -> None:
    recalls = np.linspace(0, 1, 101)
    png = precision_recall(recalls, [(f"$class_{k}", 1 - recalls * k / 5) for k in range(6)])
    for colour in (BLUE, (213, 94, 0), (0, 158, 115), (204, 121, 167), ORANGE, (0, 0, 0)):
        assert of_colour(png, colour).sum() > 300


@pytest.mark.parametrize("floors", [1, 2, 4])
def test_classes_have_a_bar_a_floor(floors: int) -> None:
    png = floor_bars(["a", "b"], {f"at {k}": [0.5, None] for k in range(floors)}, "AP")
    rows = np.flatnonzero(of_colour(png, BLUE)[100:].sum(axis=1) > 100)
    assert np.ptp(rows) + 1 == len(rows), "one bar alone"
