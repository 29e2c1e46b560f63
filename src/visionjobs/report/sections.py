"""The sections that every task's report has: notes, published figures, training, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from visionjobs.report import figures
from visionjobs.report.formatting import (
    NOT_AVAILABLE,
    count,
    decimal,
    duration,
    memory,
    percent,
    plain,
    signed,
)
from visionjobs.report.page import Block, Bullets, Cell, Code, Column, Figure, Gallery, Section, Table, Text, Tone
from visionjobs.report.summary import Row, RunSummary


@dataclass(frozen=True)
class Metric:
    """A metric's place in metrics.json, its name and its definition in a sentence or two."""

    key: str
    title: str
    definition: str
    higher_is_better: bool = True


def notes(run: RunSummary, more: Sequence[str] = ()) -> Section | None:
    """Warnings and notes of the record, and `more`; None where there are none."""
    warnings, remarks = tuple(run.record.get("warnings") or ()), (*(run.record.get("notes") or ()), *more)
    blocks: list[Block] = []
    if warnings:
        blocks.append(Bullets(tuple(map(str, warnings)), warning=True))
    if remarks:
        blocks.append(Bullets(tuple(map(str, remarks))))
    return Section("notes", "Notes", tuple(blocks)) if blocks else None


def results(run: RunSummary, metrics: Sequence[Metric]) -> Section:
    """Each metric with its definition, ours, the published figure and the difference.

    A published figure whose key is none of `metrics` gets a row too, so that a misspelt key shows.
    """
    known = {metric.key for metric in metrics}
    others = [Metric(key, key, "") for key in run.published if key not in known]
    table = Table(
        "Results",
        (Column("Metric", numeric=False), Column("Ours"), Column("Published"), Column("Difference")),
        tuple(_result_row(run, metric) for metric in (*metrics, *others)),
    )
    return Section("results", "Results", (Text("Difference: ours less the published figure."), table))


def _result_row(run: RunSummary, metric: Metric) -> tuple[Cell, ...]:
    ours, published = _number(run.value(metric.key)), run.published.get(metric.key, {})
    theirs = _number(published.get("value"))
    source = (f"Published: {published['source']}",) if published.get("source") else ()
    definition = (metric.definition,) if metric.definition else ()
    difference = None if ours is None or theirs is None else ours - theirs
    return (
        Cell(metric.title, (*definition, *source)),
        Cell(decimal(ours)),
        Cell(decimal(theirs)),
        difference_cell(difference, metric.higher_is_better),
    )


def difference_cell(difference: float | None, higher_is_better: bool) -> Cell:
    """Signed, and in words whether that is better: colour alone does not reach everybody."""
    text = signed(difference)
    if difference is None or not text.startswith(("+", "\N{MINUS SIGN}")):
        return Cell(text)
    tone: Tone = "better" if (difference > 0) == higher_is_better else "worse"
    return Cell(text, (tone,), tone)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def training(run: RunSummary) -> Section:
    """Curves of loss, accuracy and throughput, and the table of epochs."""
    if not run.history:
        return Section("training", "Training", (Text("No epoch was completed."),))
    gallery = Gallery(tuple(_curves(run)))
    diagnoses = tuple(f"Epoch {row['epoch']}: {row['diagnosis']}" for row in run.history if row.get("diagnosis"))
    blocks: list[Block] = [gallery] if gallery.figures else []
    return Section(
        "training",
        "Training",
        (*blocks, _epochs(run.history), Text(EPOCHS_EXPLAINED), *([Bullets(diagnoses)] if diagnoses else [])),
    )


def _curves(run: RunSummary) -> Iterator[Figure]:
    epochs = [int(row["epoch"]) for row in run.history]
    best = None if run.best is None else int(run.best["epoch"])
    wanted = (
        ("loss", "Loss by epoch", "loss", {"training": "train_loss", "validation": "val_loss"}, (None, None)),
        ("accuracy", "Accuracy by epoch", "accuracy",
         {"training": "train_accuracy", "validation": "val_accuracy"}, (0.0, 1.0)),
        ("throughput", "Training throughput by epoch", "images per second", {"all workers": "images_per_second"},
         (0.0, None)),
    )  # fmt: skip
    for name, caption, ylabel, keys, limits in wanted:
        lines = {label: [_number(row.get(key)) for row in run.history] for label, key in keys.items()}
        lines = {label: values for label, values in lines.items() if any(value is not None for value in values)}
        if not lines:
            continue
        marked = None if name == "throughput" else best
        told = "" if marked is None else f"; best epoch (highest validation accuracy): {marked}"
        yield Figure(name, figures.curves(epochs, lines, ylabel, marked, limits), f"{caption}{told}")


EPOCHS_EXPLAINED = (
    "The training loss is the sum of its two label-smoothing terms, cross-entropy and uniform. Loss and accuracy in "
    "training are measured while the weights change, those in validation at the end of the epoch. Waiting: the share "
    "of the training time in which no batch was ready. Peak memory: of the device or, on a CPU, of the process."
)


def _epochs(history: Sequence[Row]) -> Table:
    columns = (
        ("Epoch", "epoch", plain), ("Training loss", "train_loss", decimal),
        ("Cross-entropy term", "train_ce", decimal), ("Uniform term", "train_uniform", decimal),
        ("Validation loss", "val_loss", decimal),
        ("Training accuracy", "train_accuracy", decimal), ("Validation accuracy", "val_accuracy", decimal),
        ("Images/s", "images_per_second", _rate), ("Waiting", "data_wait_share", percent),
        ("GPU use", "gpu_utilisation", percent), ("Peak memory", "peak_memory_bytes", memory),
        ("Time", "seconds", duration),
    )  # fmt: skip
    return Table(
        "Epochs",
        tuple(Column(title) for title, _, _ in columns),
        tuple(tuple(Cell(show(row.get(key))) for _, key, show in columns) for row in history),
    )


def _rate(value: float | None) -> str:
    return decimal(value, 1) if value is not None and value < 100 else count(value)


LABELS = {
    "code_version": "Code version", "dataset_version": "Dataset version", "gpu_hours": "GPU-hours", "image": "Image",
    "hardware": "Hardware", "workers": "Workers", "threads": "Threads a worker", "attempts": "Attempts",
    "outcome": "Outcome", "started": "Started", "finished": "Finished", "precision": "Precision", "device": "Device",
}  # fmt: skip
ALWAYS_SHOWN = ("dataset_version", "code_version", "hardware", "workers", "threads", "gpu_hours", "attempts", "outcome")
ELSEWHERE = ("warnings", "notes")


def provenance(run: RunSummary) -> Section:
    """What ran where, on which data, by which code: the record key by key, and the spec as resolved."""
    record: dict[str, Any] = {key: run.record.get(key) for key in ALWAYS_SHOWN}
    record |= {key: value for key, value in sorted(run.record.items()) if key not in (*ALWAYS_SHOWN, *ELSEWHERE)}
    rows = [("Run", run.run), *_record_rows(record)]
    table = Table(
        "Provenance",
        (Column("What", numeric=False), Column("Value", numeric=False)),
        tuple((Cell(label), Cell(text)) for label, text in rows),
    )
    blocks: list[Block] = [table]
    if run.spec:
        text = yaml.safe_dump(dict(run.spec), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
        blocks += [Text("The job as it was resolved, with every default written out:"), Code(text.rstrip())]
    return Section("provenance", "Provenance", tuple(blocks))


def _record_rows(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """A nested record as (label, text): one row a value, lists of single values on one."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            label = LABELS.get(key, str(key)) if not path else f"{path}: {key}"
            yield from _record_rows(inner, label)
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _record_rows(item, f"{path} {number}")
    elif isinstance(value, list | tuple):
        yield path, ", ".join(map(plain, value)) or NOT_AVAILABLE
    else:
        yield path, plain(value or None if isinstance(value, Mapping) else value)
