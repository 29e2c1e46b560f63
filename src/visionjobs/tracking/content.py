"""What of a run goes to wandb, and under which key: a pure function of what its folder holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from visionjobs.report.build import TASKS
from visionjobs.report.summary import Row, RunSummary, as_number
from visionjobs.runs import Run
from visionjobs.spec import JobSpec, flatten
from visionjobs.tracking.messages import Chart, Final, Picture, Table

FIGURES = "report/figures"
"""Where a run keeps the figures of its report."""


def config(run: Run, spec: JobSpec) -> dict[str, Any]:
    """The resolved spec, with the version of the dataset and that of the newest attempt's code beside it."""
    codes = [claim.info["code"] for claim in run.claims() if "code" in claim.info]
    dataset = run.dataset() or {}
    return spec.model_dump(mode="json") | {
        "dataset_version": dataset.get("version", spec.data.version),
        "code": codes[-1] if codes else None,
    }


def epoch_row(row: Row) -> dict[str, float]:
    """The numbers of a history row; `epoch` from 1, as in the report. What does not exist is left out."""
    numbers = {key: as_number(value) for key, value in row.items()}
    return {key: value for key, value in numbers.items() if value is not None} | {"epoch": row["epoch"] + 1}


def read_figures(run: Run) -> dict[str, bytes]:
    """The figures of the run's report: `report/<name>` -> PNG."""
    paths = [PurePosixPath(entry.key) for entry in run.store.entries(FIGURES)]
    return {f"report/{path.stem}": run.store.read(str(path)) for path in paths if path.suffix == ".png"}


def final(run: RunSummary, figures: Mapping[str, bytes]) -> Final:
    """All that a complete run ends with; a part that the run does not have is left out."""
    metrics = {key: as_number(value) for key, value in flatten(dict(run.values)).items()}
    pictures = {"misclassified": tuple(_misclassified(run)), "augmented": tuple(_augmented(run))}
    return Final(
        metrics={key: value for key, value in metrics.items() if value is not None},
        tables={"results": _results(run)} | _class_table(run),
        charts={chart.title.replace(" ", "_"): chart for chart in (*_confusion(run), *_distributions(run))},
        pictures={key: shown for key, shown in pictures.items() if shown},
        figures=dict(figures),
    )


def _results(run: RunSummary) -> Table:
    """Ours beside the published figures. low, high: ends of the confidence interval; difference: ours less theirs."""
    task = TASKS.get(str(run.spec.get("task")))
    titles = {metric.key: metric.title for metric in task.metrics} if task else {}
    titles |= {key: key for key in run.published if key not in titles}
    rows = []
    for key, title in titles.items():
        ours, published = run.value(key), run.published.get(key, {})
        theirs = as_number(published.get("value"))
        low, high = run.interval(key) or (None, None)
        difference = None if ours is None or theirs is None else ours - theirs
        rows.append((title, ours, low, high, theirs, difference, published.get("source")))
    return Table(("metric", "ours", "low", "high", "published", "difference", "source"), tuple(rows))


def _confusion(run: RunSummary) -> Iterator[Chart]:
    names, matrix = list(run.values.get("per_class") or ()), run.values.get("confusion_matrix")
    if names and matrix:
        columns = ("Actual", "Predicted", "nPredictions")  # the preset's own names
        cells = ((name, other, n) for name, row in zip(names, matrix, strict=True)
                 for other, n in zip(names, row, strict=True))  # fmt: skip
        fields = {column: column for column in columns}
        yield Chart("confusion matrix", "wandb/confusion_matrix/v1", Table(columns, tuple(cells)), fields)


def _counts(run: RunSummary) -> dict[str, dict[str, int]]:
    """Split -> class -> number of images; "full" is all splits together."""
    counts: dict[str, dict[str, int]] = dict(run.dataset.get("counts") or {})
    names = run.dataset.get("classes") or ()
    return counts | {"full": {name: sum(split[name] for split in counts.values()) for name in names}} if counts else {}


def _class_table(run: RunSummary) -> dict[str, Table]:
    counts = _counts(run)
    rows = ((name, *(split[name] for split in counts.values())) for name in run.dataset.get("classes") or ())
    return {"class_distribution": Table(("class", *counts), tuple(rows))} if counts else {}


def _distributions(run: RunSummary) -> Iterator[Chart]:
    for split, counts in _counts(run).items():
        table = Table(("class", "images"), tuple(counts.items()))
        yield Chart(f"class distribution {split}", "wandb/bar/v0", table, {"label": "class", "value": "images"})


def _misclassified(run: RunSummary) -> Iterator[Picture]:
    """The mistakes whose images were kept, each with its true and predicted class."""
    predictions, samples = run.predictions, run.samples
    if predictions is None or samples is None:
        return
    names = predictions.classes
    for row, image in zip(samples.index, samples.images, strict=True):
        if not predictions.correct[row]:
            true, predicted = names[predictions.labels[row]], names[predictions.predicted[row]]
            yield Picture(image, f"{true} -> {predicted} ({predictions.confidence[row]:.2f})")


def _augmented(run: RunSummary) -> Iterator[Picture]:
    """Training images, each followed by its augmented copies."""
    if run.samples is None:
        return
    names = run.dataset.get("classes")
    samples = run.samples
    for original, label, copies in zip(samples.originals, samples.original_labels, samples.augmented, strict=True):
        name = names[label] if names else f"class {label}"
        yield Picture(original, f"{name}: original")
        yield from (Picture(copy, f"{name}: augmented copy {number}") for number, copy in enumerate(copies, 1))
