"""The section on how well each class is segmented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionjobs.report.figures import LARGEST
from visionjobs.report.figures_bars import score_bars
from visionjobs.report.formatting import count, decimal
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

RATIOS = {"recall": "Accuracy (recall)", "iou": "IoU", "dice": "Dice", "precision": "Precision"}

DEFINED = (
    "Of a class, TP are its pixels that were found, FN those that were missed, FP pixels wrongly said to be of it, all "
    "images counted together. Accuracy, which is recall: TP / (TP + FN). IoU: TP / (TP + FP + FN). Dice: "
    "2 TP / (2 TP + FP + FN). Precision: TP / (TP + FP), n/a where the class was never predicted. A class without "
    "pixels has none of them: n/a."
)

ELEVEN = (
    "The same folded into the 11 classes of the literature: pixels that are truly of none of them are left out, and "
    "predictions of none of them are misses."
)


def class_ious(run: RunSummary) -> Section | None:
    """Bars and tables of all classes, and of CamVid's 11; None before the run was evaluated."""
    scores = run.values.get("per_class")
    if not scores:
        return None
    blocks: list[Block] = [_gallery("class_iou", scores, "IoU of each class")] if len(scores) <= LARGEST else []
    blocks += [_table("Classes", scores), Text(DEFINED)]
    if eleven := (run.values.get("camvid11") or {}).get("per_class"):
        drawn = _gallery("class_iou_11", eleven, "IoU of each of the 11 classes")
        blocks += [Text(ELEVEN), drawn, _table("11 classes", eleven)]
    return Section("classes", "Classes", tuple(blocks))


def _gallery(name: str, scores: Mapping[str, Mapping[str, Any]], caption: str) -> Gallery:
    png = score_bars(list(scores), [found["iou"] for found in scores.values()], "IoU")
    return Gallery((Figure(name, png, f"{caption}; n/a: the class has no pixels"),))


def _table(name: str, scores: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(
        name,
        (Column("Class", numeric=False), *map(Column, RATIOS.values()), Column("Pixels")),
        tuple(
            (Cell(of), *(Cell(decimal(found[key])) for key in RATIOS), Cell(count(found["pixels"])))
            for of, found in scores.items()
        ),
    )
