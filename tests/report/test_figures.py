"""Figures are whole PNGs that show what they are given."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageColor

from visionjobs.report import figures


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
