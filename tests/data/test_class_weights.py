"""Median frequency balancing: by hand, and against an independent count of real labels."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.class_weights import median_frequency_weights
from visionjobs.data.manifest import Manifest


def manifest(classes: list[str], images: list[int], pixels: list[int], size: list[int]) -> Manifest:
    """images: in how many training images each class occurs; pixels: how many it has there. `val` is to be left out."""
    return Manifest(
        format=1, layout="camvid", name="scenes", version="1", classes=classes, size=size, rejected=0, shards=[],
        index_sha256="", parameters={}, source="", created="2026-01-01T00:00:00+00:00",
        counts={"train": dict(zip(classes, images, strict=True)), "val": dict.fromkeys(classes, 1000)},
        pixels={"train": dict(zip(classes, pixels, strict=True)), "val": dict.fromkeys(classes, 7)},
    )  # fmt: skip


def test_a_hand_worked_case() -> None:
    # images of 10 x 10: frequencies 600 / 1000, 200 / 500, 10 / 100, and 30 / 1000
    found = median_frequency_weights(manifest(["a", "b", "c", "d"], [10, 5, 1, 10], [600, 200, 10, 30], [10, 10]))
    middle = (0.4 + 0.1) / 2
    assert found == pytest.approx([middle / 0.6, middle / 0.4, middle / 0.1, middle / 0.03])


def test_an_absent_class_weighs_nothing_and_is_not_in_the_median() -> None:
    found = median_frequency_weights(manifest(["a", "gone", "b", "c"], [4, 0, 2, 1], [40, 0, 40, 30], [2, 25]))
    assert found == pytest.approx([0.4 / 0.2, 0.0, 1.0, 0.4 / 0.6])


def test_classes_of_equal_frequency_weigh_one() -> None:
    assert median_frequency_weights(manifest(["a", "b"], [3, 1], [30, 10], [4, 5])) == [1.0, 1.0]


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.01, 1)), min_size=1, max_size=9).filter(
    lambda rows: any(images for images, _ in rows)
))  # fmt: skip
def test_weight_times_frequency_is_the_median(rows: list[tuple[int, float]]) -> None:
    images = [n for n, _ in rows]
    pixels = [max(1, int(share * n * 200)) if n else 0 for n, share in rows]
    found = median_frequency_weights(manifest([str(k) for k in range(len(rows))], images, pixels, [10, 20]))
    frequencies = [p / (n * 200) for p, n in zip(pixels, images, strict=True) if n]
    for weight, p, n in zip(found, pixels, images, strict=True):
        assert weight * p == pytest.approx(n * 200 * median(frequencies))


def colour_counts(file: Path) -> dict[tuple[int, int, int], int]:
    found = Image.open(file).convert("RGB").getcolors(1 << 16)
    assert found is not None
    return {colour: number for number, colour in found}


def test_weights_of_real_labels(test_data: Path) -> None:
    folder = test_data / "camvid32" / "train_labels"
    if not folder.is_dir():
        pytest.skip(f"no camvid32 in {test_data}")
    counts = [colour_counts(file) for file in sorted(folder.glob("*.png"))]
    assert len(counts) == 61
    classes, size = list(CAMVID), [360, 480]
    images = [sum(colour in count for count in counts) for colour in CAMVID.values()]
    pixels = [sum(count.get(colour, 0) for count in counts) for colour in CAMVID.values()]
    assert sum(pixels) == 61 * 360 * 480
    found = median_frequency_weights(manifest(classes, images, pixels, size))

    # the same from each image's own shares: the mean share over the images in which a class occurs
    shares = np.array([[count.get(colour, 0) / (360 * 480) for colour in CAMVID.values()] for count in counts])
    there = shares > 0
    frequency = np.where(there, shares, np.nan)[:, there.any(axis=0)]
    means = np.nanmean(frequency, axis=0)
    expected = np.zeros(32)
    expected[there.any(axis=0)] = np.median(means) / means
    assert found == pytest.approx(expected.tolist())
    weight = dict(zip(classes, found, strict=True))
    assert weight["Road"] < 0.05 < 1 < weight["SignSymbol"]
    assert (weight["Train"], weight["Tunnel"]) == (0.0, 0.0)
