"""The section on a segmentation dataset: how many pixels and images of which class each split has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from visionjobs.report.class_examples import MOST_CLASSES, example_figures
from visionjobs.report.distribution import SPLITS
from visionjobs.report.figures import LARGEST
from visionjobs.report.figures_bars import class_bars
from visionjobs.report.formatting import count, percent, plain
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary

Numbers = Mapping[str, list[int]]
"""Split, as people call it -> a number a class."""

ALONE = (
    "For each class the two training images with most of its pixels (left), and the class alone in its colour, the "
    "rest black (right); a class whose own colour is black is white."
)


def pixel_distribution(run: RunSummary) -> Section | None:
    """Bars and a table of the classes, and examples of each; None where the dataset's manifest is not there."""
    classes = run.dataset.get("classes") or []
    pixels, images = (_numbers(classes, run.dataset.get(key) or {}) for key in ("pixels", "counts"))
    if not classes or not pixels:
        return None
    blocks: list[Block] = [Text(" ".join((_size(run), *_balance(classes, pixels))))]
    if len(classes) <= LARGEST:
        blocks += [Gallery(tuple(_bars(classes, pixels, "pixels"))), Gallery(tuple(_bars(classes, images, "images")))]
    blocks += [_table(classes, pixels, images), *_examples(run, classes)]
    return Section("dataset", "Dataset", tuple(blocks))


def _numbers(classes: list[str], of_splits: Mapping[str, Mapping[str, int]]) -> Numbers:
    return {
        SPLITS.get(split, split): [int(found.get(name, 0)) for name in classes] for split, found in of_splits.items()
    }


def _size(run: RunSummary) -> str:
    splits = {name: run.images(split) for split, name in SPLITS.items() if run.images(split) is not None}
    size = run.dataset.get("size") or ()
    packed = f", packed at {' x '.join(map(str, reversed(size)))} pixels (width x height)" if len(size) == 2 else ""
    parts = ", ".join(f"{count(number)} for {name}" for name, number in splits.items())
    return f"{plain(run.dataset.get('name'))}: {count(sum(n or 0 for n in splits.values()))} images{packed}: {parts}."


def _balance(classes: list[str], pixels: Numbers) -> Iterator[str]:
    """Sentences on how unequal the classes are, and which are absent."""
    full = [sum(column) for column in zip(*pixels.values(), strict=True)]
    there = [at for at, number in enumerate(full) if number]
    if len(there) > 1:
        most, least = max(there, key=full.__getitem__), min(there, key=full.__getitem__)
        yield (
            f'The class "{classes[most]}" has {count(full[most])} pixels, "{classes[least]}" '
            f"{count(full[least])}: pixels are drawn on a logarithmic axis, on which equal steps are equal ratios."
        )
    if absent := [name for name, number in zip(classes, full, strict=True) if not number]:
        yield f"Absent, without a pixel in any split: {', '.join(absent)}."
    for split, values in pixels.items():
        missing = [name for name, n, total in zip(classes, values, full, strict=True) if total and not n]
        if missing:
            yield f"Without a pixel in {split}, though not in all splits: {', '.join(missing)}."


def _bars(classes: list[str], numbers: Numbers, unit: str) -> Iterator[Figure]:
    for name, values in numbers.items():
        axis = ", logarithmic axis" if unit == "pixels" else ""
        png = class_bars(classes, values, f"{unit} ({name}{axis})", log=unit == "pixels")
        what = "Pixels of each class" if unit == "pixels" else "Images that hold the class"
        yield Figure(f"class_{unit}_{name}", png, f"{what}, {name}{axis}")


def _table(classes: list[str], pixels: Numbers, images: Numbers) -> Table:
    def cell(values: list[int], at: int) -> Cell:
        return Cell(f"{count(values[at])} ({_share(values[at], sum(values))})" if values[at] else "absent")

    columns = [Column(f"{name.capitalize()}: {unit}") for name in pixels for unit in ("pixels", "images")]
    return Table(
        "Pixels and images by class",
        (Column("Class", numeric=False), *columns),
        tuple(
            (Cell(name), *(
                found for split in pixels for found in (cell(pixels[split], at), Cell(count(images[split][at])))
            ))
            for at, name in enumerate(classes)
        ),
    )  # fmt: skip


def _share(part: int, whole: int) -> str:
    return "<0.1 %" if part < 0.0005 * whole else percent(part / whole)


def _examples(run: RunSummary, classes: list[str]) -> Iterator[Block]:
    colours = run.dataset.get("colours")
    if run.scenes is None or not colours or not len(run.scenes.example_classes):
        return
    known = set(run.scenes.example_classes.tolist())
    absent = [name for number, name in enumerate(classes) if number not in known]
    text = f"{ALONE} Absent from the training images: {', '.join(absent)}." if absent else ALONE
    if len(known) > MOST_CLASSES:
        text += f" Only the first {MOST_CLASSES} classes are shown."
    yield Text(text)
    yield Gallery(tuple(example_figures(run.scenes, classes, colours)))
