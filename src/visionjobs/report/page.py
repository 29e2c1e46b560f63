"""The parts a page is put together from. A task's report is a list of sections; html.py draws any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from visionjobs.report.formatting import NOT_AVAILABLE

Tone = Literal["", "better", "worse"]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences; `warning` sets it off from the rest of the page."""

    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]
    warning: bool = False


@dataclass(frozen=True)
class Cell:
    """A table's cell: the value and, in small type below, what explains it (across the row, if it is the first).

    link: where the text leads, "" for nowhere."""

    text: str
    details: tuple[str, ...] = ()
    tone: Tone = ""
    link: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether there is no value."""
        return self.text == NOT_AVAILABLE


@dataclass(frozen=True)
class Column:
    """A table's column; numbers stand flush right."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells, as many as there are columns; the first cell of a row names it."""

    kind: ClassVar[str] = "table"
    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A PNG, embedded in the page and stored as figures/<name>.png."""

    name: str
    png: bytes
    caption: str
    min_width: int = 0
    """CSS pixels below which the figure scrolls sideways instead of shrinking."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the PNG's header."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, as far as the width allows."""

    kind: ClassVar[str] = "gallery"
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Tile:
    """One number with its name, and lines in small type below."""

    label: str
    value: str
    detail: str = ""
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tiles:
    """Numbers side by side, as far as the width allows."""

    kind: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width face, line by line."""

    kind: ClassVar[str] = "code"
    text: str


Block = Text | Bullets | Table | Gallery | Tiles | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it. `anchor`: the heading's id in the page."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    subtitle: tuple[str, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...] = field(default=())

    def figures(self) -> Iterator[Figure]:
        """Every figure, in the order of the page."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Gallery):
                    yield from block.figures
