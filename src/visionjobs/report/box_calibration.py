"""The section on calibration: whether detections are right as often as their confidence says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from visionjobs.report.figures_confidence import box_reliability
from visionjobs.report.floors import PARTS, Floor, floors
from visionjobs.report.formatting import count, decimal, plain, signed
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

MEASURES = {
    "d_ece": "D-ECE",
    "la_ece0": "LaECE, IoU 0",
    "adaptive_ece": "Adaptive ECE",
    "count_ece": "Count-based ECE",
    "d_ece_filtered": "D-ECE, filtered first",
}

DEFINED = (
    "D-ECE: detections are matched to true boxes of their class at an IoU of .5, the most confident first and each "
    "box once; then the gap between precision and mean confidence, in bins of equal width and weighted by their "
    "detections. By size, all are matched first and then told apart by the predicted box. Filtered first: true and "
    "predicted boxes of other sizes are dropped before they are matched, so that a detection whose true box has "
    "another size counts as wrong; of an image the most confident ones are taken after that, as TIDE by size does. "
    "Adaptive: in bins of equal numbers of detections. LaECE: the overlap (IoU) with its true box takes the place of "
    "right or wrong, and the gap is averaged over the classes. A detection that finds nothing but lies in a crowd "
    "region of its class is left out of all of these, of the count-based error it is not."
)

COUNT_BASED = (
    "Count-based, as in the experiments: of an image and class with N objects, the N most confident detections count "
    "as right, whatever their boxes. Its weakness: it never looks at a box, so a perfect detector and one with random "
    "boxes have the same value, if their confidences and numbers of detections are the same. It says how well "
    "detections are counted, not whether they are right."
)

BY_CHANCE = (
    "By chance: the D-ECE of detections with these confidences which are right exactly as often as they say, as mean "
    "and as what 95 % of simulated sets stay below: a D-ECE no larger than that tells nothing against the detector."
)

WORST = 10
"""Classes with the largest D-ECE."""

DRAWN, ENOUGH = 4, 50
"""Of the classes with so many detections, so many with the largest D-ECE have a reliability diagram."""

OF_CLASS = ("d_ece", "la_ece0", "adaptive_ece", "count_ece")
"""Calibration errors of a class, as in metrics.json."""


def box_calibration(run: RunSummary) -> Section | None:
    """Reliability diagrams by size, tables, recalibration and worst classes; None before the run was evaluated."""
    found = {key: floor["calibration"] for key, floor in floors(run).items() if floor.get("calibration")}
    if not any(_bins(measured, "all") for measured in found.values()):
        return None
    blocks: list[Block] = [*map(Text, _sentences(found)), Text(DEFINED)]
    blocks += [Gallery(figures) for size in PARTS if (figures := tuple(_diagrams(found, size)))]
    blocks += [_table(found), Text(f"{BY_CHANCE} {COUNT_BASED}")]
    blocks += [*_recalibrated(found), *_classes(found)]
    return Section("calibration", "Calibration", tuple(blocks))


def gap(measured: Floor, size: str) -> float | None:
    """Mean confidence less precision over all detections of the size: above 0 they are over-confident; None without
    detections. measured: a floor's `calibration`."""
    bins = _bins(measured, size)
    total = sum(bin_["n"] for bin_ in bins)
    return sum(bin_["n"] * (bin_["confidence"] - bin_["precision"]) for bin_ in bins) / total if total else None


def confident(value: float) -> str:
    """'over-confident', in words."""
    return "over-confident" if value > 0 else "under-confident"


def _bins(measured: Floor, size: str) -> list[Mapping[str, Any]]:
    return [bin_ for bin_ in (measured.get(size) or {}).get("reliability") or () if bin_["n"]]


def _sentences(found: Mapping[str, Floor]) -> Iterator[str]:
    for key, measured in found.items():
        value, apart = (measured["all"] or {}).get("d_ece"), gap(measured, "all")
        if value is None or apart is None:
            yield f"At a confidence of at least {key} there are no detections."
            continue
        high = (measured["all"].get("expected") or {}).get("high")
        chance = ""
        if high is not None:
            chance = ", more than chance explains" if value > high else ", no more than chance explains"
        yield (
            f"At a confidence of at least {key}: D-ECE {decimal(value)}{chance}. On average the detections are "
            f"{confident(apart)}: their mean confidence less their precision is {signed(apart)}."
        )


def _diagrams(found: Mapping[str, Floor], size: str) -> Iterator[Figure]:
    for key, measured in found.items():
        if not (bins := _bins(measured, size)):
            continue
        of = f"{PARTS[size]} detections, confidence of at least {key}"
        caption = f"{of}: D-ECE {decimal(measured[size]['d_ece'])} over {count(sum(bin_['n'] for bin_ in bins))}"
        yield Figure(f"reliability_{size}_{key}", box_reliability(bins), caption)


def _table(found: Mapping[str, Floor]) -> Table:
    headings = [Column("Size", numeric=False), *(Column(f"At {key}") for key in found)]
    headings += [
        *(Column(f"Detections, {key}") for key in found),
        Column("Bins"),
        Column("Detections an image, at most"),
    ]
    rows = [_row(found, measure, size) for measure in MEASURES for size in PARTS]
    return Table("Calibration", (Column("Measure", numeric=False), *headings), tuple(rows))


def _row(found: Mapping[str, Floor], measure: str, size: str) -> tuple[Cell, ...]:
    sizes = [measured.get(size) or {} for measured in found.values()]
    facts = [(of.get("of") or {}).get(measure) or {} for of in sizes]
    return (
        Cell(MEASURES[measure]),
        Cell(PARTS[size]),
        *(Cell(decimal(of.get(measure)), _by_chance(of) if measure == "d_ece" else ()) for of in sizes),
        *(Cell(count(fact.get("n"))) for fact in facts),
        *(Cell(plain(facts[0].get(key))) for key in ("bins", "max_dets")),
    )


def _by_chance(measured: Floor) -> tuple[str, ...]:
    """Lines that are not broken."""
    chance = measured.get("expected") or {}
    if chance.get("mean") is None:
        return ()
    lines = (f"by chance {decimal(chance['mean'])}", f"95 % below {decimal(chance['high'])}")
    return tuple(line.replace(" ", "\N{NO-BREAK SPACE}") for line in lines)


def _recalibrated(found: Mapping[str, Floor]) -> Iterator[Block]:
    rows = [row for key, measured in found.items() if (row := _recalibration(key, measured.get("recalibrated")))]
    if not rows:
        return
    halves = next(measured["recalibrated"] for measured in found.values() if measured.get("recalibrated"))
    yield Text(
        f"Recalibration: a map of confidences, the same for all classes, fitted on {count(halves['fitted_on'])} of the "
        f"images and shown on the other {count(halves['shown_on'])}. Temperature: the logit of the confidence is "
        "divided by it; above 1 confidences move towards .5. Isotonic: the rising step function that fits best. "
        "Neither changes the model."
    )
    columns = ("Temperature", "D-ECE before", "With temperature", "With isotonic map")
    yield Table("Recalibration", (Column("Confidence", numeric=False), *map(Column, columns)), tuple(rows))


def _recalibration(key: str, measured: Mapping[str, Any] | None) -> tuple[Cell, ...] | None:
    if not measured:
        return None
    scaled, stepped = measured["temperature"], measured["isotonic"]
    values = (scaled["parameter"], scaled["d_ece_before"], scaled["d_ece_after"], stepped["d_ece_after"])
    return Cell(f"at least {key}"), *(Cell(decimal(value, 4)) for value in values)


def _classes(found: Mapping[str, Floor]) -> Iterator[Block]:
    """The classes with the largest D-ECE at the highest floor."""
    highest = list(found.values())[-1].get("per_class") or {}
    known = [name for name, of in highest.items() if of["d_ece"] is not None]
    worst = sorted(known, key=lambda name: -highest[name]["d_ece"])[:WORST]
    if not worst:
        return
    last = list(found)[-1]
    columns = [Column(f"{MEASURES[measure]} at {key}") for measure in OF_CLASS for key in found]
    columns += [Column(f"Detections, {key}") for key in found]
    yield Text(
        f"The {len(worst)} classes with the largest D-ECE at {last}. Few detections make it large by chance."
        if len(worst) > 1
        else "One class alone has a D-ECE."
    )
    rows = tuple(_of_class(found, name) for name in worst)
    yield Table("Calibration by class", (Column("Class", numeric=False), *columns), rows)
    often = sorted((name for name in known if highest[name]["n"] >= ENOUGH), key=lambda name: -highest[name]["d_ece"])
    if often:
        yield Text(f"Of the classes with at least {ENOUGH} detections at {last} those with the largest D-ECE:")
        yield Gallery(tuple(_of_class_diagram(highest[name], name, at) for at, name in enumerate(often[:DRAWN], 1)))


def _of_class(found: Mapping[str, Floor], name: str) -> tuple[Cell, ...]:
    measured = [(floor.get("per_class") or {}).get(name) or {} for floor in found.values()]
    numbers = (Cell(decimal(of.get(measure))) for measure in OF_CLASS for of in measured)
    return Cell(name), *numbers, *(Cell(count(of.get("n"))) for of in measured)


def _of_class_diagram(measured: Mapping[str, Any], name: str, number: int) -> Figure:
    bins = [bin_ for bin_ in measured.get("reliability") or () if bin_["n"]]
    caption = f"{name}: D-ECE {decimal(measured['d_ece'])} over {count(measured['n'])}"
    return Figure(f"reliability_class_{number}", box_reliability(bins), caption)
