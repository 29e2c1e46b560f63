"""The section on features: what enters the last layer, as t-SNE, in numbers, and how it shifts to new images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from visionjobs.report.figures import LARGEST
from visionjobs.report.figures_bars import paired_bars
from visionjobs.report.figures_scatter import scatter
from visionjobs.report.formatting import count, decimal, plain
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import RunSummary, as_number

CLOUDS = (
    ("train_2d", "train_labels", "training", 2),
    ("val_2d", "val_labels", "validation", 2),
    ("val_3d", "val_labels", "validation", 3),
)
"""Embedding, its labels, split, dimensions."""

SPACES = (("", "features"), ("tsne_2d", "t-SNE in 2 dimensions"), ("tsne_3d", "t-SNE in 3 dimensions"))

EXPLAINED = (
    "Silhouette: how much nearer a sample lies to its own class than to the nearest other one, the mean over the "
    "samples; 1: classes well apart, 0: overlapping, below 0: nearer to another class. k-NN accuracy: share of the "
    "samples whose class wins the vote of their {neighbours} nearest neighbours, the sample itself left out."
)

SHIFT = (
    "Gaussian shift: for each class a normal distribution is fitted to each feature of its training samples (q) and of "
    "its validation samples (p). Cross-entropy of p with q, entropy of p, and their difference, the Kullback-Leibler "
    "divergence of p from q: means over the features that vary in both (their number: dimensions), in nats per "
    "dimension. Chance: the divergence where the class's samples are dealt at random to training and validation; a "
    "divergence well above it is a shift."
)


def features(run: RunSummary) -> Section | None:
    """Point clouds and tables; None for a run without embeddings and without numbers of its features."""
    numbers = run.values.get("features") or {}
    drawn = tuple(_clouds(run, numbers))
    shift = (numbers.get("shift") or {}).get("per_class") or {}
    if not drawn and not numbers:
        return None
    blocks: list[Block] = [Text(_lead(numbers, bool(drawn)))]
    # two side by side: in three columns their marks and legends are too small
    blocks += [Gallery(drawn[start : start + 2]) for start in range(0, len(drawn), 2)]
    rows = tuple(_rows(numbers))
    if rows:
        columns = ("Split", "Space"), ("Samples", "Silhouette", "k-NN accuracy")
        headings = (*(Column(title, numeric=False) for title in columns[0]), *map(Column, columns[1]))
        neighbours = plain(numbers.get("neighbours"))
        blocks += [Table("Features", headings, rows), Text(EXPLAINED.format(neighbours=neighbours))]
    return Section("features", "Features", (*blocks, *_shift(shift)))


def _lead(numbers: Mapping[str, Any], drawn: bool) -> str:
    layer = f'The input of the layer "{numbers["layer"]}"' if numbers.get("layer") else "The input of the last layer"
    text = f"{layer}, {plain(numbers.get('dimensions'))} features a sample."
    if not drawn:
        return text
    return (
        f"{text} For the figures they were reduced to {plain(numbers.get('pca'))} principal components, then by t-SNE "
        f"(perplexity {plain(numbers.get('perplexity'))}, seed {plain(numbers.get('seed'))}), which keeps neighbours "
        "together: near points are alike, while distances between far clusters, their sizes and the axes mean nothing."
    )


def _names(run: RunSummary) -> list[str]:
    if run.dataset.get("classes"):
        return list(run.dataset["classes"])
    return list(run.predictions.classes if run.predictions else run.values.get("per_class") or ())


def _clouds(run: RunSummary, numbers: Mapping[str, Any]) -> Iterator[Figure]:
    names = _names(run)
    for key, labels, split, dimensions in CLOUDS:
        points, classes = run.embeddings.get(key), run.embeddings.get(labels)
        if points is None or classes is None or not len(points):
            continue
        short = "train" if split == "training" else "val"
        measured = numbers.get(short) or {}
        found = measured.get(f"tsne_{dimensions}d") or {}
        of_all = as_number(measured.get("n"))
        number = count(len(points)) if of_all in (None, len(points)) else f"{count(len(points))} of {count(of_all)}"
        told = f"; silhouette {decimal(as_number(found.get('silhouette')), 3)}" if found else ""
        caption = f"t-SNE of the features of {number} {split} samples in {dimensions} dimensions{told}"
        yield Figure(f"tsne_{short}_{dimensions}d", scatter(points, classes, names, "t-SNE"), caption)


def _rows(numbers: Mapping[str, Any]) -> Iterator[tuple[Cell, ...]]:
    for split, name in (("train", "Training"), ("val", "Validation")):
        measured = numbers.get(split) or {}
        for key, space in SPACES:
            found = measured.get(key) if key else measured
            if found:
                ratios = (decimal(as_number(found.get(ratio))) for ratio in ("silhouette", "knn_accuracy"))
                n = as_number(found.get("n", measured.get("n")))
                yield Cell(name), Cell(space), Cell(count(n)), *map(Cell, ratios)


def _shift(per_class: Mapping[str, Mapping[str, Any]]) -> tuple[Block, ...]:
    if not per_class:
        return ()
    keys = {
        "train_n": count, "val_n": count, "dimensions": count, "cross_entropy": decimal, "entropy": decimal,
        "divergence": decimal, "chance": decimal,
    }  # fmt: skip
    headings = ("Training samples", "Validation samples", "Dimensions", "Cross-entropy", "Entropy", "Divergence",
                "Chance")  # fmt: skip
    table = Table(
        "Gaussian shift",
        (Column("Class", numeric=False), *map(Column, headings)),
        tuple(
            (Cell(name), *(Cell(show(as_number(row.get(key)))) for key, show in keys.items()))
            for name, row in per_class.items()
        ),
    )
    return (Text(SHIFT), *_shift_figure(per_class), table)


def _shift_figure(per_class: Mapping[str, Mapping[str, Any]]) -> Iterator[Gallery]:
    values = {key: [as_number(row.get(key)) for row in per_class.values()] for key in ("divergence", "chance")}
    if len(per_class) > LARGEST or all(value is None for value in values["divergence"]):
        return
    png = paired_bars(list(per_class), values, "divergence (nats per dimension)")
    caption = "Gaussian shift of the features from training to validation by class, beside what chance gives"
    yield Gallery((Figure("feature_shift", png, caption),))
