"""The section on what the size of an object does to a detector: its precision, what it misses, its confidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from visionjobs.report.box_calibration import confident, gap
from visionjobs.report.floors import PARTS, SIZES_DEFINED, Floor, floors
from visionjobs.report.formatting import decimal, signed
from visionjobs.report.page import Block, Bullets, Cell, Column, Section, Table, Text
from visionjobs.report.summary import RunSummary

COCO_AP = {"all": "AP", "small": "APs", "medium": "APm", "large": "APl"}

READ = (
    f"{SIZES_DEFINED} AP is COCO's; AP50 and Miss are TIDE's in points, boxes of other sizes dropped; D-ECE is of the "
    "detections of the size, matched among all; the count-based ECE is that of the experiments; the last column is "
    "their mean confidence less their precision: above zero they are over-confident."
)


def object_sizes(run: RunSummary) -> Section | None:
    """A table a floor, and what its numbers say in words; None before the run was evaluated."""
    found = floors(run)
    if not found:
        return None
    blocks: list[Block] = [Text(READ)]
    for key, floor in found.items():
        blocks += [Text(f"At a confidence of at least {key}:"), _table(key, floor)]
        if said := tuple(sentences(floor)):
            blocks.append(Bullets(said))
    return Section("sizes", "Sizes", tuple(blocks))


def _table(key: str, floor: Floor) -> Table:
    titles = ("AP", "AP50, points", "Miss, points", "D-ECE", "Count-based ECE", "Confidence less precision")
    return Table(
        f"Sizes at {key}",
        (Column("Objects", numeric=False), *map(Column, titles)),
        tuple(
            (
                Cell(PARTS[size]),
                Cell(decimal(ap(floor, size))),
                Cell(decimal(tide(floor, size, "ap50"), 2)),
                Cell(decimal(tide(floor, size, "Miss"), 2)),
                Cell(decimal(calibrated(floor, size, "d_ece"))),
                Cell(decimal(calibrated(floor, size, "count_ece"))),
                Cell(signed(gap(floor.get("calibration") or {}, size))),
            )
            for size in PARTS
        ),
    )


def ap(floor: Floor, size: str) -> float | None:
    """COCO's AP of the size."""
    return _number(floor.get("coco") or {}, COCO_AP[size])


def tide(floor: Floor, size: str, key: str) -> float | None:
    """In points, boxes of other sizes dropped."""
    return _number((floor.get("tide") or {}).get(size) or {}, key)


def calibrated(floor: Floor, size: str, key: str) -> float | None:
    """A calibration error of the size."""
    return _number((floor.get("calibration") or {}).get(size) or {}, key)


def _number(of: Mapping[str, float | None], key: str) -> float | None:
    return of.get(key)


def sentences(floor: Floor) -> Iterator[str]:
    """What the numbers of the sizes say, each sentence only where it is true."""
    yield from _compared(lambda size: ap(floor, size), lambda size: f"AP {decimal(ap(floor, size))}", "AP is highest")
    yield from _compared(
        lambda size: tide(floor, size, "Miss"),
        lambda size: f"{decimal(tide(floor, size, 'Miss'), 2)} points",
        "missing objects costs most",
    )
    yield from _compared(
        lambda size: calibrated(floor, size, "d_ece"),
        lambda size: decimal(calibrated(floor, size, "d_ece")),
        "D-ECE is largest",
    )
    measured = floor.get("calibration") or {}
    for size in ("small", "medium", "large"):
        apart, error = gap(measured, size), calibrated(floor, size, "d_ece")
        high = ((measured.get(size) or {}).get("expected") or {}).get("high")
        if apart is None or error is None:
            yield f"There are no {size} detections, and so no calibration of them."
        elif high is not None and error <= high:
            yield f"{PARTS[size]} detections: their D-ECE, {decimal(error)}, is within what chance explains."
        else:
            yield f"{PARTS[size]} detections are {confident(apart)} on average, by {decimal(abs(apart))}."


def _compared(value: Callable[[str], float | None], told: Callable[[str], str], what: str) -> Iterator[str]:
    """'AP is highest for large objects (...), and lowest for small ones (...).'; nothing where sizes do not differ."""
    known = {size: number for size in ("small", "medium", "large") if (number := value(size)) is not None}
    if len(set(known.values())) < 2:
        return
    most, least = max(known, key=lambda size: known[size]), min(known, key=lambda size: known[size])
    other = {"AP is highest": "lowest", "missing objects costs most": "least", "D-ECE is largest": "smallest"}[what]
    said = f"{what[0].upper()}{what[1:]} for {most} objects ({told(most)})"
    yield f"{said}, and {other} for {least} ones ({told(least)})."
