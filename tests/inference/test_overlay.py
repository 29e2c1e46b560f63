"""Masks as pictures: colours, class numbers and boundaries, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visionjobs.inference.overlay import beside, coloured, only_class, overlay, palette_image

COLOURS = [[128, 64, 128], [0, 0, 0], [64, 0, 192]]
MASK = np.array([[0, 0, 1], [0, 2, 2]], np.uint8)


def test_the_pixels_of_a_palette_image_are_the_class_numbers() -> None:
    image = palette_image(MASK, COLOURS)
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), MASK)
    assert np.array_equal(np.asarray(image.convert("RGB")), coloured(MASK, COLOURS))
    assert coloured(MASK, COLOURS)[1, 2].tolist() == [64, 0, 192]


def test_256_classes_have_a_colour_each() -> None:
    numbers = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colours = [[k, 255 - k, k // 2] for k in range(256)]
    image = palette_image(numbers, colours)
    assert np.array_equal(np.asarray(image.convert("RGB")), np.array(colours, np.uint8).reshape(16, 16, 3))


def test_one_class_alone() -> None:
    assert only_class(MASK, 2, COLOURS).tolist() == [[[0] * 3] * 3, [[0] * 3, [64, 0, 192], [64, 0, 192]]]
    assert only_class(MASK, 1, COLOURS)[0, 2].tolist() == [255] * 3, "black would not be seen"
    assert not only_class(MASK, 1, COLOURS)[1].any()


def test_an_overlay_is_half_of_both_with_white_boundaries() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[8:] = 2
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    mixed = np.asarray(overlay(Image.fromarray(photo), palette_image(mask, COLOURS))).astype(int)
    assert (mixed[7] == 255).all()
    others = np.arange(20) != 7
    half = (photo.astype(int) + coloured(mask, COLOURS)) / 2
    assert np.abs(mixed - half)[others].max() <= 1


def test_boundaries_of_large_images_are_wider() -> None:
    mask = np.zeros((30, 1600), np.uint8)
    mask[:, 800:] = 1
    black = Image.new("RGB", (1600, 30))
    mixed = np.asarray(overlay(black, palette_image(mask, COLOURS)))
    assert np.flatnonzero((mixed == 255).all(axis=(0, 2))).tolist() == [796, 797, 798, 799]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2000)])
def test_narrow_images(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[-1, -1] = 1
    mixed = overlay(Image.new("RGB", shape[::-1]), palette_image(mask, COLOURS))
    assert mixed.size == shape[::-1]


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_pictures_side_by_side_can_be_taken_apart(number: int, height: int, width: int) -> None:
    draw = np.random.default_rng(number)
    pictures = [draw.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(number)]
    joined = beside(*pictures)
    assert joined.shape == (height, number * width + (number - 1) * 4, 3)
    for at, picture in enumerate(pictures):
        left = at * (width + 4)
        assert np.array_equal(joined[:, left : left + width], picture)
        assert (joined[:, left + width : left + width + 4] == 255).all()
