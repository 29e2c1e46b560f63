"""Figures are whole PNGs that show what they are given."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageColor

from visionjobs.report import figures
from visionjobs.report.figures_bars import class_bars, class_shares, paired_bars
from visionjobs.report.figures_calibration import reliability
from visionjobs.report.figures_scatter import COLOURS, MARKERS, scatter
from visionjobs.report.figures_sheet import Picture, SheetRow, sheet, wrapped


def pixels(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(int)


def amount(png: bytes, colour: str) -> int:
    """Number of pixels of exactly this colour."""
    return int((pixels(png) == ImageColor.getrgb(colour)).all(axis=2).sum())


def curve(values: Sequence[float | None], best: int | None = None) -> bytes:
    epochs = list(range(1, len(values) + 1))
    return figures.curves(epochs, {"training": values, "validation": [None] * len(values)}, "loss", best)


def test_curves_have_the_size_told() -> None:
    assert pixels(curve([1.0, 0.5, 0.2])).shape == (680, 1000, 3)


def test_both_curves_are_drawn_in_their_colours() -> None:
    png = figures.curves([1, 2], {"training": [1, 2], "validation": [2, 1]}, "loss")
    assert min(amount(png, figures.BLUE), amount(png, figures.VERMILLION)) > 1000


def test_a_gap_in_a_curve_is_not_bridged() -> None:
    assert amount(curve([1.0, 0.5, 1.0]), figures.BLUE) > 1.5 * amount(curve([1.0, None, 1.0]), figures.BLUE)


def test_the_best_epoch_is_marked_where_it_is() -> None:
    def centre(best: int) -> float:
        dark = (pixels(curve([1.0] * 9, best))[140:500, 150:] == 0x55).all(axis=2)
        return float(dark.sum(axis=0).argmax())

    assert centre(2) < centre(5) < centre(8)


@pytest.mark.parametrize("epochs", [1, 2, 40, 41, 500])
def test_any_number_of_epochs(epochs: int) -> None:
    assert amount(curve([1 / (i + 1) for i in range(epochs)], best=epochs), figures.BLUE) > 50


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [1e-9, 1e9], [-3.0, 2.0]])
def test_any_range_of_values(values: list[float]) -> None:
    assert amount(curve(values), figures.BLUE) > 1000


def test_a_curve_at_the_upper_end_of_an_open_range_keeps_clear_of_the_edge() -> None:
    png = figures.curves([1, 2, 3], {"speed": [30.0, 30.0, 30.0]}, "images per second", limits=(0.0, None))
    rows = np.flatnonzero((pixels(png) == ImageColor.getrgb(figures.BLUE)).all(axis=2).any(axis=1))
    assert 20 < rows.min() < 120


@pytest.mark.parametrize(("classes", "low", "high"), [(1, 900, 1100), (10, 1000, 1100), (40, 1700, 1900)])
def test_a_confusion_matrix_grows_with_its_classes(classes: int, low: int, high: int) -> None:
    matrix = np.eye(classes, dtype=int).tolist()
    height, width, _ = pixels(figures.confusion_matrix([f"class {i}" for i in range(classes)], matrix)).shape
    assert height == width
    assert low <= width <= high


def test_the_matrix_has_truth_in_rows() -> None:
    shown = pixels(figures.confusion_matrix(["a", "b"], [[0, 9], [0, 0]]))
    dark = (shown[:, :, 2] > 80) & (shown[:, :, 0] < 30)
    ys, xs = np.nonzero(dark)
    assert ys.mean() < shown.shape[0] / 2 < xs.mean()  # the only count stands in the upper right cell


def test_odd_class_names_and_huge_or_no_counts_are_drawn_without_a_warning() -> None:
    names = ["$x", "$x^2$", "a\nb", "long " * 40, "", "Überläufer", r"\frac", "леопард"]
    matrix = [[0] * 8 for _ in names]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = figures.confusion_matrix(names, matrix)
        matrix[0][0] = 123_456_789
        full = figures.confusion_matrix(names, matrix)
    assert empty != full


def test_the_zero_line_is_drawn_when_asked_for() -> None:
    grey = [amount(figures.curves([1, 2], {"gap": [1.0, -1.0]}, "gap", zero=zero), "#555555") for zero in (False, True)]
    assert grey[0] < 100
    assert grey[1] > 500


def test_the_matrix_of_shares_does_not_depend_on_the_rows_sums() -> None:
    names = ["a", "b"]
    few, many = [[3, 1], [1, 1]], [[300, 100], [50, 50]]
    assert figures.confusion_matrix(names, few, shares=True) == figures.confusion_matrix(names, many, shares=True)
    assert figures.confusion_matrix(names, few) != figures.confusion_matrix(names, many)


def test_more_classes_than_names_find_room_for_are_still_drawn() -> None:
    k = figures.LARGEST + 1
    drawn = pixels(figures.confusion_matrix([f"class {i}" for i in range(k)], np.eye(k, dtype=int).tolist()))
    assert drawn.shape[0] < 5000


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\n b", "a b"), ("$5 <b>", "$5 <b>"), ("雪豹", "□□"), ("x" * 30, "x" * 23 + "…"), ("леопард", "леопард")],
)
def test_names_are_shown_as_the_font_can(name: str, shown: str) -> None:
    assert figures.short(name) == shown


def test_bars_are_as_long_as_the_numbers() -> None:
    shown = (pixels(class_bars(["a", "b", "c"], [40, 10, 0], "images")) == ImageColor.getrgb(figures.BLUE)).all(axis=2)
    lengths = np.unique(shown.sum(axis=1))
    assert len(lengths) == 3
    assert lengths[2] / lengths[1] == pytest.approx(4, rel=0.03)


def test_a_pie_leaves_out_what_has_nothing() -> None:
    assert class_shares(["a", "b", "c"], [3, 0, 1]) == class_shares(["a", "c"], [3, 1])
    assert class_shares(["a", "c"], [3, 1]) != class_shares(["a", "c"], [1, 3])


def test_paired_bars_leave_a_gap_for_what_is_missing() -> None:
    both = {"divergence": [0.2, 0.1], "chance": [0.1, 0.1]}
    png = paired_bars(["a", "b"], both, "nats")
    fewer = paired_bars(["a", "b"], {**both, "divergence": [0.2, None]}, "nats")
    assert amount(png, figures.BLUE) > amount(fewer, figures.BLUE) > 1000
    assert amount(png, figures.ORANGE) > 1000


def picture(colour: tuple[int, int, int], caption: str = "a name") -> Picture:
    return Picture(np.full((40, 60, 3), colour, np.uint8), (caption,))


def test_a_sheet_has_its_pictures_in_their_places() -> None:
    red, green = (250, 10, 20), (20, 240, 30)
    shown = pixels(sheet([SheetRow((picture(red), picture(green)), "first"), SheetRow((picture(green),))], 2))
    assert shown.shape[1] == 624
    (red_y, red_x), (_, green_x) = (np.nonzero((shown == colour).all(axis=2)) for colour in (red, green))
    assert red_x.max() < 312 < green_x.max()
    assert red_y.max() < shown.shape[0] / 2
    assert (red_x.max() - red_x.min()) / (red_y.max() - red_y.min()) == pytest.approx(1.5, rel=0.02)  # not distorted


def test_a_caption_takes_two_lines_at_most() -> None:
    assert wrapped("fox", 3) == ("fox",)
    assert wrapped("", 3) == ("",)
    for name in ("a long name of an animal that lives far away", "x" * 80):
        assert len(wrapped(name, 3)) == 2
        assert max(map(len, wrapped(name, 3))) <= 17


BINS = [
    {"low": 0.0, "high": 0.5, "n": 0, "accuracy": None, "confidence": None},
    {"low": 0.5, "high": 1.0, "n": 8, "accuracy": 0.75, "confidence": 0.8},
]


def test_reliability_shows_both_kinds_of_bins() -> None:
    png = reliability(BINS, BINS)
    assert min(amount(png, colour) for colour in (figures.SKY, figures.BLUE, figures.VERMILLION)) > 50
    assert amount(reliability(BINS, []), figures.VERMILLION) == 0
    assert amount(reliability(BINS, [{**BINS[1], "confidence": None}]), figures.VERMILLION) == 0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_cloud_leaves_out_points_that_are_not_finite(dimensions: int) -> None:
    points = np.random.default_rng(0).normal(size=(60, dimensions))
    labels = np.arange(60) % 3
    png = scatter(points, labels, ["a", "$b$", "c"], "t-SNE")
    assert pixels(png).shape[1] == 800
    broken = np.vstack([points, np.full((3, dimensions), np.nan)])
    assert scatter(broken, np.r_[labels, 0, 1, 2], ["a", "$b$", "c"], "t-SNE") == png


def test_classes_differ_in_colour_or_marker() -> None:
    styles = {(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]) for number in range(77)}
    assert len(styles) == 77
