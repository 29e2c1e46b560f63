"""The section on the dataset: how many images of which class, in all and in each split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from visionjobs.report.figures import LARGEST
from visionjobs.report.figures_bars import class_bars, class_shares
from visionjobs.report.formatting import count, percent, plain
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

SPLITS = {"train": "training", "val": "validation", "test": "test"}
MANY = 40
"""From so many classes on, a pie's pieces are too thin to be told apart."""

NEGLIGIBLE = 5e-5
"""A difference between two shares that would be shown as 0.00 percentage points."""

Numbers = Mapping[str, list[int]]
"""Set of images ("full set", then the splits) -> images of each class."""


def distribution(run: RunSummary) -> Section | None:
    """Bars, pies and a table of the classes; None where the dataset's manifest is not there."""
    classes, counts = run.dataset.get("classes") or [], run.dataset.get("counts") or {}
    if not classes or not counts:
        return None
    splits = {
        SPLITS.get(split, split): [int(of_class.get(name, 0)) for name in classes] for split, of_class in counts.items()
    }
    numbers = {"full set": [sum(column) for column in zip(*splits.values(), strict=True)], **splits}
    blocks: list[Block] = [Text(" ".join((_size(run, numbers), *_balance(classes, numbers))))]
    if len(classes) <= LARGEST:
        blocks += [Gallery(tuple(_bars(classes, numbers)))]
    if len(classes) < MANY:
        blocks += [Gallery(tuple(_pies(classes, numbers)))]
    else:
        blocks += [Text(f"Pies are left out: the pieces of {len(classes)} classes are too thin to be told apart.")]
    return Section("dataset", "Dataset", (*blocks, _table(classes, numbers)))


def _size(run: RunSummary, numbers: Numbers) -> str:
    sums = {name: sum(values) for name, values in numbers.items()}
    size = run.dataset.get("size") or ()
    pixels = f", packed at {' x '.join(map(str, reversed(size)))} pixels (width x height)" if len(size) == 2 else ""
    parts = ", ".join(f"{count(number)} for {name}" for name, number in sums.items() if name != "full set")
    return f"{plain(run.dataset.get('name'))}: {count(sums['full set'])} images{pixels}: {parts}."


def _balance(classes: list[str], numbers: Numbers) -> Iterator[str]:
    """Sentences on how equal the classes are, and how alike training and validation."""
    full = numbers["full set"]
    largest, smallest = full.index(max(full)), full.index(min(full))
    if not full[smallest]:
        yield f'The class "{classes[smallest]}" has no images at all.'
    elif len(classes) > 1 and full[largest] == full[smallest]:
        yield f"Each class has {count(full[largest])} images."
    elif len(classes) > 1:
        yield (
            f'The largest class, "{classes[largest]}" ({count(full[largest])} images), has '
            f'{full[largest] / full[smallest]:.2f} times the images of the smallest, "{classes[smallest]}" '
            f"({count(full[smallest])})."
        )
    train, val = numbers.get("training", []), numbers.get("validation", [])
    if len(classes) > 1 and any(train) and any(val):
        deviations = [abs(a / sum(train) - b / sum(val)) for a, b in zip(train, val, strict=True)]
        if max(deviations) < NEGLIGIBLE:
            yield "Training and validation hold the classes in the same shares."
            return
        yield (
            f"Between training and validation, a class's share of the images differs by at most "
            f'{100 * max(deviations):.2f} percentage points ("{classes[deviations.index(max(deviations))]}").'
        )


def _bars(classes: list[str], numbers: Numbers) -> Iterator[Figure]:
    for name, values in numbers.items():
        png = class_bars(classes, values, f"images ({name})")
        yield Figure(f"class_bars_{name.replace(' ', '_')}", png, f"Images by class, {name}: {count(sum(values))}")


def _pies(classes: list[str], numbers: Numbers) -> Iterator[Figure]:
    for name, values in numbers.items():
        if sum(values):
            png = class_shares(classes, values)
            yield Figure(f"class_pie_{name.replace(' ', '_')}", png, f"Share of each class in the images, {name}")


def _table(classes: list[str], numbers: Numbers) -> Table:
    def cell(values: list[int], at: int) -> Cell:
        return Cell(f"{count(values[at])} ({percent(values[at] / sum(values))})" if sum(values) else count(values[at]))

    return Table(
        "Images by class",
        (Column("Class", numeric=False), *(Column(name.capitalize()) for name in numbers)),
        tuple((Cell(name), *(cell(values, at) for values in numbers.values())) for at, name in enumerate(classes)),
    )
