"""The sections on single images: those with most errors, and those whose labels may be wrong."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image

from visionjobs.box_scenes import LABEL_ERROR, WORST, BoxScenes
from visionjobs.metrics.box_pairs import iou
from visionjobs.metrics.tide import BACKGROUND, ERRORS, RIGHT
from visionjobs.report.detection_metrics import ERRORS as IN_WORDS
from visionjobs.report.figures_boxes import Box, Mark, legend, marked, name_of
from visionjobs.report.floors import counted, floors, listed
from visionjobs.report.formatting import decimal
from visionjobs.report.page import Block, Figure, Gallery, Section, Text
from visionjobs.report.summary import RunSummary

KINDS = ("right", *IN_WORDS, "true", "crowd")


def worst_images(run: RunSummary) -> Section | None:
    """The images with most errors at the highest floor; None without any."""
    found, rows = _scenes(run, WORST)
    if found is None or not rows:
        return None
    highest = list(floors(run))[-1:] or ["n/a"]
    lead = (
        f"The {counted(len(rows), 'image')} with most errors, at a confidence of at least {highest[0]}: wrong "
        "detections and objects not found, as TIDE tells them apart. A label has the kind of the error, the class, "
        "and the confidence where it is a detection's; right detections have no kind. True boxes that are not missed "
        "are drawn without a label. What finds no room beside others has no label."
    )
    key = Figure("boxes_legend", legend(KINDS), "How boxes are drawn")
    return Section(
        "worst", "Images with most errors", (Text(lead), Gallery((key,)), Gallery(tuple(_worst(run, found, rows))))
    )


def label_errors(run: RunSummary) -> Section | None:
    """Images in which a confident detection and the label differ; None without any."""
    found, rows = _scenes(run, LABEL_ERROR)
    if found is None or not rows:
        return None
    lead = (
        "Confident detections that the annotations contradict: another class at the same place, or nothing annotated "
        "there. Some of them are mistakes of the detector, others of the labels; which, a look at the image tells. "
        "Drawn are the detection, and the true boxes with their classes."
    )
    key = Figure("labels_legend", legend(("suspect", "true", "crowd")), "How boxes are drawn")
    blocks: tuple[Block, ...] = (Text(lead), Gallery((key,)), Gallery(tuple(_suspects(run, found, rows))))
    return Section("labels", "Labels that may be wrong", blocks)


def _scenes(run: RunSummary, kind: str) -> tuple[BoxScenes | None, list[int]]:
    scenes = run.box_scenes
    return scenes, [] if scenes is None else np.flatnonzero(scenes.kinds == kind).tolist()


def _worst(run: RunSummary, scenes: BoxScenes, rows: list[int]) -> Iterator[Figure]:
    for number, row in enumerate(rows, start=1):
        right, wrong = _found_marks(run, scenes, row, right=True), _found_marks(run, scenes, row, right=False)
        marks = [*_true_marks(run, scenes, row), *right, *_missed_marks(run, scenes, row), *wrong]
        kinds = Counter(mark.kind for mark in marks)
        errors = [f"{kinds[kind]} {words}" for kind, (words, _) in IN_WORDS.items() if kinds[kind]]
        told = f"{listed(errors) or 'nothing wrong'}; {counted(kinds['right'], 'right detection')}"
        yield Figure(f"worst_{number}", _drawn(scenes, row, marks), f"{number}: {scenes.paths[row]}. {told}")


def _suspects(run: RunSummary, scenes: BoxScenes, rows: list[int]) -> Iterator[Figure]:
    for number, row in enumerate(rows, start=1):
        marks, told = [*_true_marks(run, scenes, row, named=True)], []
        for at in np.flatnonzero((scenes.scenes == row) & scenes.suspect).tolist():
            name = _class(run, int(scenes.categories[at]))
            text = f"{name_of(name)} {scenes.scores[at]:.2f}"
            marks.append(Mark("suspect", _box(scenes.boxes[at]), text))
            told.append(f"Detected as {name} with {scenes.scores[at]:.2f}, {_label(run, scenes, row, at)}")
        yield Figure(f"label_{number}", _drawn(scenes, row, marks), f"{number}: {scenes.paths[row]}. {'; '.join(told)}")


def _label(run: RunSummary, scenes: BoxScenes, row: int, at: int) -> str:
    """What the annotations say at the place of a detection."""
    true = np.flatnonzero((scenes.truth_scenes == row) & ~scenes.truth_crowd)
    overlaps = iou(np.repeat(scenes.boxes[at : at + 1], len(true), axis=0), scenes.truth_boxes[true])
    if not len(true) or overlaps.max() <= BACKGROUND:
        return "but nothing is annotated there"
    best = int(overlaps.argmax())
    label, overlap = _class(run, int(scenes.truth_categories[true[best]])), float(overlaps[best])
    if overlap >= RIGHT:
        return f"but labelled {label} (IoU {decimal(overlap, 2)})"
    return f"but nothing is annotated there; the nearest is {label} (IoU {decimal(overlap, 2)})"


def _true_marks(run: RunSummary, scenes: BoxScenes, row: int, *, named: bool = False) -> Iterator[Mark]:
    """Crowd regions, and the other true boxes: named, all of them with their classes; else those that were found."""
    true = np.flatnonzero(scenes.truth_scenes == row)
    for at in true[np.argsort(~scenes.truth_crowd[true], kind="stable")].tolist():
        crowd, name = bool(scenes.truth_crowd[at]), name_of(_class(run, int(scenes.truth_categories[at])))
        if crowd or named or not scenes.truth_missed[at]:
            text = f"crowd: {name}" if crowd and named else name if named else ""
            yield Mark("crowd" if crowd else "true", _box(scenes.truth_boxes[at]), text)


def _missed_marks(run: RunSummary, scenes: BoxScenes, row: int) -> Iterator[Mark]:
    """Large ones above small ones, which are many and have no room for labels."""
    there = np.flatnonzero((scenes.truth_scenes == row) & scenes.truth_missed)
    areas = scenes.truth_boxes[there, 2] * scenes.truth_boxes[there, 3]
    for at in there[np.argsort(areas, kind="stable")].tolist():
        name = _class(run, int(scenes.truth_categories[at]))
        yield Mark("Miss", _box(scenes.truth_boxes[at]), f"Miss {name_of(name)}")


def _found_marks(run: RunSummary, scenes: BoxScenes, row: int, *, right: bool) -> Iterator[Mark]:
    """The right or the wrong detections, the more confident above; those that TIDE does not count are neither."""
    chosen = scenes.errors == 0 if right else (scenes.errors > 0) & (scenes.errors < len(ERRORS))
    there = np.flatnonzero((scenes.scenes == row) & chosen)
    for at in there[np.argsort(scenes.scores[there], kind="stable")].tolist():
        kind = "right" if right else ERRORS[int(scenes.errors[at])]
        text = f"{name_of(_class(run, int(scenes.categories[at])))} {scenes.scores[at]:.2f}"
        yield Mark(kind, _box(scenes.boxes[at]), text if right else f"{kind} {text}")


def _drawn(scenes: BoxScenes, row: int, marks: list[Mark]) -> bytes:
    height, width = scenes.sizes[row].tolist()
    with Image.open(io.BytesIO(scenes.jpeg(row))) as photo:
        return marked(photo, (height, width), marks)


def _class(run: RunSummary, number: int) -> str:
    names = run.dataset.get("classes") or ()
    return str(names[number]) if number < len(names) else f"class {number}"


def _box(values: np.ndarray) -> Box:
    x, y, width, height = values.tolist()
    return x, y, width, height
