"""RunSummary: everything a report is made of, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionjobs.spec import flatten

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunSummary:
    """One run, as its folder tells it. A key that is missing anywhere is shown as n/a.

    run, job: the run's id and the job's name.
    spec: the resolved job file (spec.yaml).
    record: free-form provenance (record.json), shown key by key; these keys have a place of their own:
        `dataset_version` in the headline, `warnings` and `notes` (lists of sentences) under "Notes".
    history: a row an epoch, in order: epoch, train_loss, train_ce, train_uniform, train_accuracy, val_loss,
        val_accuracy, images_per_second, data_wait_share (0..1), gpu_utilisation (0..1, None on a CPU),
        peak_memory_bytes, seconds, diagnosis (None or a sentence).
    metrics: metrics.json, {} while there is none.
    """

    run: str
    job: str
    spec: Mapping[str, Any]
    record: Mapping[str, Any]
    history: Sequence[Row]
    metrics: Mapping[str, Any]

    @property
    def values(self) -> Mapping[str, Any]:
        """The `metrics` object of metrics.json."""
        return self.metrics.get("metrics") or {}

    def value(self, key: str) -> Any:
        """The metric with this dotted key, None where there is none."""
        return flatten(dict(self.values)).get(key)

    def setting(self, key: str) -> Any:
        """The spec's value under this dotted key, None where there is none."""
        return flatten(dict(self.spec)).get(key)

    @property
    def published(self) -> Mapping[str, Mapping[str, Any]]:
        """Metric key -> {"value", "source"}, from the job file."""
        return self.spec.get("published") or {}

    @property
    def best(self) -> Row | None:
        """The row of the highest validation accuracy (of equal ones the lowest validation loss, then the earliest)."""
        measured = [row for row in self.history if row.get("val_accuracy") is not None]
        return min(measured, key=_rank, default=None)


def _rank(row: Row) -> tuple[float, float]:
    loss = row.get("val_loss")
    return -float(row["val_accuracy"]), float("inf") if loss is None else float(loss)
