"""Colours <-> class numbers, against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.colours import NO_CLASS, ColourTable, OffPalette, off_palette

TABLE = ColourTable(CAMVID.values())
NUMBERS = {colour: number for number, colour in enumerate(CAMVID.values())}

near = st.sampled_from([0, 1, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255])
"""Values of and beside those of the palette."""


@given(colours=st.lists(st.tuples(near, near, near), min_size=1, max_size=60))
def test_every_pixel_is_what_a_dictionary_says(colours: list[tuple[int, int, int]]) -> None:
    label = np.array([colours, colours[::-1]], np.uint8)
    found = TABLE.numbers(label)
    expected = [NUMBERS.get(colour, NO_CLASS) for colour in colours]
    assert (found.dtype, found.shape) == (np.uint8, (2, len(colours)))
    assert found.tolist() == [expected, expected[::-1]]


@given(numbers=st.lists(st.integers(0, 31), min_size=1, max_size=40))
def test_painted_and_read_again(numbers: list[int]) -> None:
    mask = np.array([numbers], np.uint8)
    painted = TABLE.paint(mask)
    assert painted.shape == (1, len(numbers), 3)
    assert [tuple(colour) for colour in painted[0].tolist()] == [list(CAMVID.values())[n] for n in numbers]
    np.testing.assert_array_equal(TABLE.numbers(painted), mask)


def test_all_255_classes_there_may_be() -> None:
    colours = [(number, 255 - number, 7) for number in range(255)]
    table = ColourTable(colours)
    assert table.numbers(np.array(colours, np.uint8)).tolist() == list(range(255))
    assert table.numbers(np.array([[255, 0, 7], [0, 255, 8]], np.uint8)).tolist() == [NO_CLASS, NO_CLASS]


def test_a_label_that_is_a_view_of_another_array() -> None:
    label = TABLE.paint(np.arange(32, dtype=np.uint8).reshape(4, 8))
    np.testing.assert_array_equal(TABLE.numbers(label[::2, ::-1]), TABLE.numbers(label)[::2, ::-1])


@pytest.mark.parametrize("colours", [[(1, 2, 3), (1, 2, 3)], [(number, 0, 0) for number in range(256)]])
def test_no_table_of_equal_or_too_many_colours(colours: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="at most 255 different colours"):
        ColourTable(colours)


def test_a_number_of_no_class_has_no_colour() -> None:
    with pytest.raises(IndexError):
        TABLE.paint(np.array([32], np.uint8))


def test_the_most_frequent_strays_are_named() -> None:
    pixels = [(0, 0, value) for value in range(1, 8) for _ in range(value)] + [(255, 16, 1)] * 7
    found = off_palette("a_L.png", np.array(pixels, np.uint8))
    assert found == OffPalette(
        "a_L.png", 35, (("#000007", 7), ("#ff1001", 7), ("#000006", 6), ("#000005", 5), ("#000004", 4))
    )
