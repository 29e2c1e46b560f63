"""class_dict.csv: what is read, and the message for what cannot be."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.class_dict import Palette, parse_class_dict, read_palette
from visionjobs.errors import UserError

ROWS = [f"{name},{red}, {green}, {blue}" for name, (red, green, blue) in CAMVID.items()]


def text(*rows: str, header: str = "name,r,g,b") -> str:
    return "\n".join([header, *rows])


@given(order=st.randoms(use_true_random=False))
def test_camvids_own_in_any_order_count_in_the_tables_order(order: random.Random) -> None:
    rows = list(ROWS)
    order.shuffle(rows)
    palette = read_palette(text(*rows), "x")
    assert list(palette.colours.items()) == list(CAMVID.items())
    assert (palette.notes, palette.void) == ((), 30)


@pytest.mark.parametrize(
    "written",
    [
        "name,r,g,b\nsky,1,2,3\nroad,4,5,6\n",
        "sky,1,2,3\nroad,4,5,6",
        "name , r,g ,b\r\n  sky,1 , 2,3\r\n\r\n,,,\r\nroad,4,5,006\r\n",
        "B,Name,extra,G,R\n3,sky,x,2,1\n6,road,y,5,4\n",
        '"sky", 1, 2, 3\n"road", 4, 5, 6\n',
    ],
)
def test_ways_to_write_the_same(written: str) -> None:
    assert parse_class_dict(written, "x") == {"sky": (1, 2, 3), "road": (4, 5, 6)}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (text("a,1,2,3", "b,4,5,6", "c,1, 2,3"), "D, line 4: c has the colour 1,2,3, which a has already in line 2"),
        (text("a,1,2,3", "b,4,5,6", "a,7,8,9"), "D, line 4: the class a is already in line 2"),
        (text("a,1,2,3", "b,4,5,256"), 'D, line 3: b of b is "256"; expected a whole number from 0 to 255'),
        (text("a,1,2,3", "b,-4,5,6"), 'D, line 3: r of b is "-4"; expected a whole number'),
        (text("a,1,2.0,3", "b,4,5,6"), 'D, line 2: g of a is "2.0"'),
        (text("a,1,,3", "b,4,5,6"), 'D, line 2: g of a is ""'),
        (text("a,1,2,3", "b,4,5"), "D, line 3: has 3 values (b,4,5); expected 4: name,r,g,b"),
        (text("a,1,2", "b,4,5", header="name,r,g"), "D, line 1: has no column b, only name, r, g"),
        (text("a,1,2,3", header="class,red,green,blue"), "D, line 1: has no column name, r, g, b"),
        (text(",1,2,3", "b,4,5,6"), 'D, line 2: "" is no name for a class'),
        (text("a,1,2,3"), "D: has 1 classes; expected 2 to 255"),
        ("", "D: has 0 classes"),
        ("a,1,2\nb,4,5", "D, line 1: has 3 values"),
        (text(*(f"c{n},{n},0,0" for n in range(256))), "D: has 256 classes; expected 2 to 255"),
        (text('"a', "b,1,2,3"), "D, line 3: has 1 values"),
    ],
)
def test_what_cannot_be_used_is_named(written: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_class_dict(written, "D")
    assert message in str(caught.value)


def test_blank_lines_count_when_a_line_is_named() -> None:
    with pytest.raises(UserError, match=r"D, line 6: the class a is already in line 3"):
        parse_class_dict("name,r,g,b\n\na,1,2,3\nb,2,2,2\n\na,7,8,9", "D")


def test_other_classes_are_the_files_in_its_order_and_told() -> None:
    palette = read_palette(text("road,4,5,6", "VOID,0,0,0", "Car,64,0,129"), "D")
    assert list(palette.colours) == ["road", "VOID", "Car"]
    assert palette.void == 1
    (note,) = palette.notes
    assert note.startswith("D has other classes than CamVid's own 32 (with road, VOID; without Animal, Archway,")
    assert "and 28 more; with another colour Car): the file's count." in note


def test_without_void_it_is_told() -> None:
    palette = read_palette(text("road,4,5,6", "car,1,1,1"), "D")
    assert palette.void is None
    assert "no class Void" in palette.notes[1]


def test_one_colour_changed_makes_them_other_classes() -> None:
    palette = read_palette(text(*ROWS[:-1], "Wall,64,192,1"), "D")
    assert palette.colours["Wall"] == (64, 192, 1)
    assert palette.notes == ("D has other classes than CamVid's own 32 (with another colour Wall): the file's count.",)


def test_at_most_255_classes_can_be_read() -> None:
    assert len(parse_class_dict(text(*(f"c{n},{n},0,0" for n in range(255))), "D")) == 255


def test_void_is_found_however_it_is_written() -> None:
    for name, void in [("void", 1), ("Void", 1), ("VoId", 1), ("Avoid", None)]:
        assert Palette({"a": (1, 1, 1), name: (0, 0, 0)}).void == void
