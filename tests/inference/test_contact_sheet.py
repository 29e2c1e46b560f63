"""Contact sheets: what can be told from them without colour, and how many there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from visionjobs.inference.contact_sheet import (
    CELL,
    COLUMNS,
    HEADING,
    LEGEND,
    LINE,
    MARGIN,
    PER_SHEET,
    SHEETS,
    TEXT,
    THUMBNAIL,
    ContactSheets,
    Thumbnail,
    _fitted,
    _percent,
    sheet,
    thumbnail_pixels,
)
from visionjobs.inference.text_font import font


def thumbnail(predicted: str = "fox", label: str | None = None, size: tuple[int, int] = (40, 30)) -> Thumbnail:
    return Thumbnail(np.full((*size, 3), 128, np.uint8), "photo.jpg", predicted, 0.93, label)


def gray(thumbnails: list[Thumbnail]) -> np.ndarray:
    return np.asarray(sheet("run", thumbnails).convert("L")).astype(int)


def frame(gray: np.ndarray) -> np.ndarray:
    """The upper edge of the first cell's frame."""
    return gray[MARGIN + HEADING + 1, MARGIN : MARGIN + CELL]


def test_right_wrong_and_unknown_differ_without_colour() -> None:
    right, wrong, unknown = (gray([thumbnail(label=label)]) for label in ("fox", "bear", None))
    assert (frame(right) < 150).all()  # a whole line
    assert 0.4 < (frame(wrong) < 150).mean() < 0.8  # dashes
    assert (frame(unknown) > 150).all()
    second_line = slice(MARGIN + HEADING + CELL + 3 + LINE, MARGIN + HEADING + CELL + 2 * LINE)
    words = [picture[second_line, MARGIN : MARGIN + CELL] for picture in (right, wrong)]
    assert not np.array_equal(*words)
    assert min(words[0].min(), words[1].min()) < 60


def test_a_sheet_has_as_many_rows_as_it_needs() -> None:
    one, nine = sheet("run", [thumbnail()] * COLUMNS), sheet("run", [thumbnail()] * (COLUMNS + 1))
    assert one.width == nine.width
    assert nine.height - one.height > CELL


@pytest.mark.parametrize(
    ("images", "sheets"), [(1, 1), (PER_SHEET, 1), (PER_SHEET + 1, 2), (PER_SHEET * SHEETS + 9, SHEETS)]
)
def test_sheets_are_drawn_up_to_a_limit(tmp_path: Path, images: int, sheets: int) -> None:
    book = ContactSheets(tmp_path, "run")
    added = 0
    for _ in range(images):
        if book.wanted:
            book.add(thumbnail())
            added += 1
    book.finish(images)
    assert added == min(images, PER_SHEET * SHEETS)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"contact-sheet-{number:03}.png" for number in range(1, sheets + 1)]
    for name in names:
        with Image.open(tmp_path / name) as image:
            image.load()
    shown = min(images, PER_SHEET)
    with Image.open(tmp_path / names[0]) as image:
        expected = sheet(f"run: images 1 to {shown} of {images}", [thumbnail()] * shown)
        assert np.array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (300, 900), (1, 5000), (2, 2)])
def test_a_thumbnail_has_the_shape_of_the_image(width: int, height: int) -> None:
    small = thumbnail_pixels(np.zeros((48, 40, 3), np.uint8), width, height)
    assert max(small.shape[:2]) == THUMBNAIL
    assert small.shape[1] / small.shape[0] == pytest.approx(width / height, rel=0.02) or 1 in small.shape[:2]


def test_long_and_odd_names_fit(tmp_path: Path) -> None:
    letters: ImageFont.FreeTypeFont = font(TEXT, bold=True)
    for name in ("W" * 300, "амурский леопард и ещё много слов подряд", "熊" * 40, "two\nlines", ""):
        text = _fitted(name, CELL, "  93%", bold=True)
        assert text.endswith("  93%")
        assert letters.getlength(text) <= CELL
        assert "\n" not in text
    assert _fitted("amur_leopard", CELL, "  93%", bold=True) == "amur_leopard  93%"


def test_a_share_is_never_rounded_up_to_certainty() -> None:
    assert [_percent(share) for share in (1.0, 0.9999, 0.935, 0.004)] == ["100%", "99%", "94%", "0%"]


def test_a_legend_explains_the_colours_that_a_sheet_shows(tmp_path: Path) -> None:
    colours = {f"class {number}": (number, 200, 7) for number in range(1, 12)}
    book = ContactSheets(tmp_path, "run", colours)
    book.add(Thumbnail(np.full((30, 40, 3), 128, np.uint8), "street.jpg", "class 2", 0.5, None, ("class 2", "class 9")))
    book.finish(1)
    with Image.open(tmp_path / "contact-sheet-001.png") as image:
        found = image.convert("RGB").getcolors(image.width * image.height)
        height = image.height
    seen = {colour for _, colour in found}
    assert [number for number in range(1, 12) if (number, 200, 7) in seen] == [2, 9]
    plain = sheet("run", [thumbnail()])
    assert height == plain.height + LEGEND
    assert sheet("run", [thumbnail()], colours).height == plain.height + 2 * LEGEND, "eleven take two lines"
