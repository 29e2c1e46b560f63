"""The section on misclassified samples: three of each class, and the most confident of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from visionjobs.mistakes import MOST_CLASSES, PER_CLASS, most_confident, shown_classes, three_per_class
from visionjobs.predictions import Indices, Predictions
from visionjobs.report.figures import short
from visionjobs.report.figures_sheet import Picture, SheetRow, sheet, wrapped
from visionjobs.report.formatting import count, decimal, percent
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary
from visionjobs.sample_images import SampleImages

SHEET = 5
"""Classes a sheet: it still fits on a printed page."""

COLUMNS = 3


def mistakes(run: RunSummary) -> Section | None:
    """Sheets of misclassified samples and a table of the most confident ones; None where there are no predictions."""
    predictions, samples = run.predictions, run.samples
    if predictions is None or not len(predictions):
        return None
    wrong = int((~predictions.correct).sum())
    if not wrong:
        return Section("mistakes", "Mistakes", (Text(f"None of the {count(len(predictions))} samples is a mistake."),))
    chosen = three_per_class(predictions)
    blocks: list[Block] = [Text(" ".join(_counted(predictions, chosen, wrong)))]
    if samples is None:
        blocks += [Text("The images of the mistakes were not kept with the run.")]
    else:
        blocks += [Gallery(drawn) for drawn in (tuple(_by_class(class_rows(predictions, samples, chosen))),) if drawn]
        blocks += [Gallery(drawn) for drawn in (tuple(_most_confident(predictions, samples)),) if drawn]
    blocks += [Text("The most confident mistakes, with their files:"), _table(predictions)]
    return Section("mistakes", "Mistakes", tuple(blocks))


def _numbers(predictions: Predictions) -> tuple[Indices, Indices]:
    """Mistakes and samples by true class, int64 [K]."""
    k = len(predictions.classes)
    return (
        np.bincount(predictions.labels[~predictions.correct], minlength=k),
        np.bincount(predictions.labels, minlength=k),
    )


def _counted(predictions: Predictions, chosen: Mapping[int, Indices], wrong: int) -> Iterator[str]:
    """Sentences: how many mistakes there are, and which classes have fewer than PER_CLASS."""
    yield (
        f"{count(wrong)} of the {count(len(predictions))} samples were misclassified. Shown are up to {PER_CLASS} of "
        "each true class, the most confident ones, with the predicted class and the probability given to it "
        "(confidence)."
    )
    _, samples = _numbers(predictions)
    by_number: dict[int, list[str]] = {}
    for label, rows in chosen.items():
        if len(rows) < PER_CLASS and samples[label]:
            by_number.setdefault(len(rows), []).append(predictions.classes[label])
    for number, names in sorted(by_number.items()):
        words = {0: "no mistakes", 1: "only one mistake"}.get(number, f"only {number} mistakes")
        listed = ", ".join(f'"{name}"' for name in names[:MOST_CLASSES]) + (
            " and others" if len(names) > MOST_CLASSES else ""
        )
        yield f"{words[0].upper()}{words[1:]} in {listed}."
    if (~samples.astype(bool)).any():
        yield f"Without any sample: {int((samples == 0).sum())} of {len(samples)} classes."
    if sum(1 for rows in chosen.values() if len(rows)) > MOST_CLASSES:
        yield f"Only the {MOST_CLASSES} classes with the most mistakes are shown."


def class_rows(predictions: Predictions, samples: SampleImages, chosen: Mapping[int, Indices]) -> list[SheetRow]:
    """A row a class, in their order, with the chosen mistakes whose image was kept; none for a class without."""
    wrong, of_class = _numbers(predictions)
    rows = []
    for label in shown_classes(predictions):
        pictures = _pictures(predictions, samples, chosen[label], with_truth=False)
        heading = f"{short(predictions.classes[label], 30)}: {wrong[label]} of {of_class[label]} wrong"
        rows += [SheetRow(pictures, heading)] if pictures else []
    return rows


def _by_class(rows: list[SheetRow]) -> Iterator[Figure]:
    """Sheets of at most SHEET rows, as many on each."""
    parts = math.ceil(len(rows) / SHEET)
    for part in range(parts):
        caption = f"Up to {PER_CLASS} misclassified samples of each class, with predicted class and confidence"
        told = f"{caption} ({part + 1} of {parts})" if parts > 1 else caption
        each = math.ceil(len(rows) / parts)
        yield Figure(f"mistakes_by_class_{part + 1}", sheet(rows[part * each : (part + 1) * each], COLUMNS), told)


def _most_confident(predictions: Predictions, samples: SampleImages) -> Iterator[Figure]:
    pictures = _pictures(predictions, samples, most_confident(predictions), with_truth=True)
    rows = [SheetRow(pictures[start : start + COLUMNS]) for start in range(0, len(pictures), COLUMNS)]
    if rows:
        caption = f"The {len(pictures)} most confident mistakes: true class \N{RIGHTWARDS ARROW} predicted class"
        yield Figure("mistakes_most_confident", sheet(rows, COLUMNS), f"{caption} (confidence)")


def _pictures(
    predictions: Predictions, samples: SampleImages, rows: Indices, *, with_truth: bool
) -> tuple[Picture, ...]:
    """Those of the rows whose image was kept."""
    found = []
    for row in map(int, rows):
        image = samples.image_of(row)
        if image is None:
            continue
        truth, predicted = (predictions.classes[at] for at in (predictions.labels[row], predictions.predicted[row]))
        confidence = percent(float(predictions.confidence[row]))
        if with_truth:
            caption = (*wrapped(truth, COLUMNS), *wrapped(f"\N{RIGHTWARDS ARROW} {predicted}", COLUMNS))
        else:
            caption = wrapped(predicted, COLUMNS)
        found.append(Picture(image, (*caption, f"({confidence})")))
    return tuple(found)


def _table(predictions: Predictions) -> Table:
    return Table(
        "Most confident mistakes",
        (
            Column("True class", numeric=False),
            Column("Predicted class", numeric=False),
            Column("Confidence"),
            Column("Given to the true class"),
            Column("File", numeric=False),
        ),
        tuple(
            (
                Cell(predictions.classes[predictions.labels[row]]),
                Cell(predictions.classes[predictions.predicted[row]]),
                Cell(decimal(float(predictions.confidence[row]))),
                Cell(decimal(float(predictions.probabilities[row, predictions.labels[row]]))),
                Cell(predictions.paths[row]),
            )
            for row in map(int, most_confident(predictions))
        ),
    )
