"""The section on what kinds of errors a detector makes: TIDE, for all objects and by size."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report.detection_metrics import ERRORS, SPECIAL
from visionjobs.report.figures_tide import Errors, error_bars, error_shares
from visionjobs.report.floors import PARTS, SIZES_DEFINED, Floor, floors
from visionjobs.report.formatting import decimal
from visionjobs.report.page import Block, Bullets, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

READINGS = {"tide": "dropped", "tide_ignore": "ignored"}
"""Key of metrics.json -> what happens to objects of other sizes."""

DEFINED = (
    "TIDE tells by how many points AP50 would rise if the errors of one kind were mended, each kind by itself: so they "
    "do not add up to what is lost. Each detection has one main error at most, and lower is better."
)

KINDS = (
    *(f"{name}, {words}: {definition}" for name, (words, definition) in ERRORS.items()),
    *(f"{name}, {words}: {definition}" for name, (words, definition) in SPECIAL.items()),
)

READ = (
    f"By size there are two readings. {SIZES_DEFINED} Dropped: true boxes by their area in the annotations and "
    "predicted ones by width times height, and boxes of other sizes are left out on both sides, as in the "
    "experiments; a detection whose true box has another size by that measure then counts as wrong. Ignored: true "
    "boxes of other sizes become regions in which detections are not counted, which is nearer to what COCO's AP by "
    "size does."
)


def tide_errors(run: RunSummary) -> Section | None:
    """Bars, shares and tables for each floor; None before the run was evaluated."""
    found = {key: floor for key, floor in floors(run).items() if floor.get("tide")}
    if not found:
        return None
    blocks: list[Block] = [Text(DEFINED), Bullets(KINDS), Text(READ)]
    blocks += [Gallery(tuple(_bars(found, reading, told))) for reading, told in READINGS.items()]
    blocks.append(Gallery(tuple(_shares(found))))
    for key, floor in found.items():
        blocks += [Text(f"At a confidence of at least {key}, in points:"), _table(key, floor)]
    return Section("tide", "Kinds of errors (TIDE)", tuple(blocks))


def _bars(found: dict[str, Floor], reading: str, told: str) -> Iterator[Figure]:
    for key, floor in found.items():
        if sizes := floor.get(reading):
            caption = f"TIDE's errors at a confidence of at least {key}; objects of other sizes {told}"
            yield Figure(f"{reading}_{key}", error_bars(sizes, list(ERRORS), list(SPECIAL)), caption)


def _shares(found: dict[str, Floor]) -> Iterator[Figure]:
    for key, floor in found.items():
        rows: dict[str, Errors] = {PARTS[size]: errors for size, errors in floor["tide"].items()}
        caption = f"Which share each main error has of their sum, confidence of at least {key}; other sizes dropped"
        yield Figure(f"tide_shares_{key}", error_shares(rows, list(ERRORS)), caption)


def _table(key: str, floor: Floor) -> Table:
    names = ("ap50", *ERRORS, *SPECIAL)
    headings = (Column("Objects", numeric=False), Column("AP50"), *map(Column, names[1:]))
    rows = [
        (PARTS[size] if size == "all" else f"{PARTS[size]}, others {told}", errors)
        for reading, told in READINGS.items()
        for size, errors in (floor.get(reading) or {}).items()
    ]
    return Table(
        f"TIDE at {key}",
        headings,
        tuple((Cell(told), *(Cell(decimal(errors.get(name), 2)) for name in names)) for told, errors in rows),
    )
