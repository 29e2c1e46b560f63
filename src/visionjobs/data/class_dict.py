"""class_dict.csv, the table of a dataset's classes and their colours: a line a class, name, r, g, b."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from visionjobs.data.camvid_classes import CAMVID, VOID, Colour
from visionjobs.data.colours import NO_CLASS
from visionjobs.errors import UserError

CLASS_DICT = "class_dict.csv"

COLUMNS = ("name", "r", "g", "b")

_WHOLE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Palette:
    """The classes of a dataset. colours: class -> its colour, in the order of the class numbers; notes: what to tell
    the user of them."""

    colours: dict[str, Colour]
    notes: tuple[str, ...] = ()

    @property
    def void(self) -> int | None:
        """The number of the class that takes colours of no class, Void however it is written; None where none is."""
        written = [name.lower() for name in self.colours]
        return written.index(VOID.lower()) if VOID.lower() in written else None


def read_palette(text: str, where: str) -> Palette:
    """The classes of a class_dict.csv: CamVid's own in the order of CAMVID, any others in that of the file.

    `where` is the file's place, for messages. Raises UserError naming file and line.
    """
    found = parse_class_dict(text, where)
    if found == CAMVID:
        return Palette(dict(CAMVID))
    notes = [f"{where} has other classes than CamVid's own {len(CAMVID)} ({_difference(found)}): the file's count."]
    palette = Palette(found)
    if palette.void is None:
        notes.append(f"{where} has no class {VOID}: a label with a colour that is no class's is left out.")
    return Palette(found, tuple(notes))


def parse_class_dict(text: str, where: str) -> dict[str, Colour]:
    """Class -> colour, in the order of the file. Blanks around values do not count; a header is not needed.

    Raises UserError naming file and line for a column that is missing, a value that is no whole number from 0 to 255,
    a name or a colour that was there before, and for fewer than 2 or more than 255 classes.
    """
    rows = _rows(text, where)
    columns = list(range(len(COLUMNS)))
    if rows and not any(_WHOLE.fullmatch(value) for value in rows[0][1]):
        columns = _columns(rows.pop(0), where)
    colours: dict[str, Colour] = {}
    names: dict[str, int] = {}
    places: dict[Colour, tuple[str, int]] = {}
    for line, row in rows:
        at = f"{where}, line {line}"
        name, colour = _entry(row, columns, at)
        if name in names:
            raise UserError(f"{at}: the class {name} is already in line {names[name]}; give each class once")
        if colour in places:
            first, other = places[colour]
            raise UserError(
                f"{at}: {name} has the colour {_text(colour)}, which {first} has already in line {other}; give each "
                "class a colour of its own"
            )
        colours[name], names[name], places[colour] = colour, line, (name, line)
    if not 2 <= len(colours) <= NO_CLASS:
        raise UserError(f"{where}: has {len(colours)} classes; expected 2 to {NO_CLASS}, a line each: name,r,g,b")
    return colours


def _rows(text: str, where: str) -> list[tuple[int, list[str]]]:
    """(line number, values without blanks around them) of every line that has any."""
    reader = csv.reader(io.StringIO(text))
    rows = []
    try:
        for row in reader:
            values = [value.strip() for value in row]
            if any(values):
                rows.append((reader.line_num, values))
    except csv.Error as error:
        raise UserError(f"{where}, line {reader.line_num}: {error}; expected name,r,g,b") from error
    return rows


def _columns(header: tuple[int, list[str]], where: str) -> list[int]:
    """Where name, r, g and b stand."""
    line, titles = header
    lowered = [title.lower() for title in titles]
    missing = [column for column in COLUMNS if column not in lowered]
    if missing:
        raise UserError(
            f"{where}, line {line}: has no column {', '.join(missing)}, only {', '.join(titles)}; expected name,r,g,b"
        )
    return [lowered.index(column) for column in COLUMNS]


def _entry(row: list[str], columns: list[int], at: str) -> tuple[str, Colour]:
    if len(row) <= max(columns):
        raise UserError(f"{at}: has {len(row)} values ({','.join(row)}); expected {max(columns) + 1}: name,r,g,b")
    name, *values = (row[column] for column in columns)
    if not name or not name.isprintable():
        raise UserError(f'{at}: "{name}" is no name for a class; expected name,r,g,b')
    for column, value in zip(COLUMNS[1:], values, strict=True):
        if not _WHOLE.fullmatch(value) or int(value) > 255:
            raise UserError(f'{at}: {column} of {name} is "{value}"; expected a whole number from 0 to 255')
    red, green, blue = map(int, values)
    return name, (red, green, blue)


def _difference(found: dict[str, Colour]) -> str:
    """What tells them from CamVid's own, in a few words."""
    kinds = {
        "with": [name for name in found if name not in CAMVID],
        "without": [name for name in CAMVID if name not in found],
        "with another colour": [name for name, colour in found.items() if CAMVID.get(name, colour) != colour],
    }
    return "; ".join(
        f"{kind} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for kind, names in kinds.items()
        if names
    )


def _text(colour: Colour) -> str:
    return ",".join(map(str, colour))
