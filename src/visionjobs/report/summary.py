"""RunSummary: everything a report is made of, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any

import numpy.typing as npt

from visionjobs.box_scenes import BoxScenes
from visionjobs.boxes import Detections, Truth
from visionjobs.detection_curves import DetectionCurves
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.predictions import Predictions
from visionjobs.sample_images import SampleImages
from visionjobs.scenes import Scenes
from visionjobs.spec import flatten

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RunSummary:
    """One run, as its folder tells it. A key that is missing anywhere is shown as n/a.

    run, job: the run's id and the job's name.
    spec: the resolved job file (spec.yaml), with what was changed when the run was continued.
    record: provenance (record.json). What it says of `attempts` (a list), `changes` (key -> [old, new]), `warnings`
        and `notes` (lists of sentences) has a place of its own; any other entry is shown under its key.
    history: a row an epoch, in order: epoch (from 0; shown from 1), images_per_second, data_wait_share (0..1),
        gpu_utilisation (0..1, None on a CPU), peak_memory_bytes, seconds, diagnosis (None or a sentence), and the
        task's own columns, for classification train_loss, train_ce, train_uniform, train_accuracy, val_loss,
        val_accuracy; for segmentation train_loss, train_ce, train_miou, train_pixel_accuracy, val_loss, val_miou,
        val_pixel_accuracy; lr of the epoch's last step; for detection lr, train_loss, train_box, train_cls, train_dfl,
        val_map50, val_map. Empty where nothing was trained: see `trains`.
    metrics: metrics.json, {} while there is none; its "data" names the dataset where that is not the run's own.
    dataset: the manifest of the dataset (dataset.json: classes, size, counts by split and class, ...), {} without.
    predictions, samples: of the validation split, and the images to show; None without.
    embeddings: "train_2d" float32 [n, 2], "val_2d" [m, 2], "val_3d" [m, 3] (t-SNE of the features), with
        "train_labels" int64 [n] and "val_labels" [m]; {} where the model has no features to show.
    masks, scenes: in place of predictions and samples, where the task is segmentation; of the measured split.
    curves, box_scenes: the same where the task is detection. Of such a run that is compared also truth and detections:
        its true boxes, and its own at the highest floor; load_summary leaves them None, as reading them takes seconds.
    """

    run: str
    job: str
    spec: Mapping[str, Any]
    record: Mapping[str, Any]
    history: Sequence[Row]
    metrics: Mapping[str, Any]
    dataset: Mapping[str, Any] = field(default_factory=dict)
    predictions: Predictions | None = None
    samples: SampleImages | None = None
    embeddings: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    masks: MaskPredictions | None = None
    scenes: Scenes | None = None
    curves: DetectionCurves | None = None
    box_scenes: BoxScenes | None = None
    truth: Truth | None = None
    detections: Detections | None = None

    @property
    def task(self) -> str:
        """The name of the run's task."""
        return str(self.metrics.get("task") or self.spec.get("task"))

    @property
    def values(self) -> Mapping[str, Any]:
        """The `metrics` object of metrics.json."""
        return self.metrics.get("metrics") or {}

    def value(self, key: str) -> float | None:
        """The metric with this dotted key, None where there is none."""
        return as_number(self._flat.get(key))

    @cached_property
    def _flat(self) -> Mapping[str, Any]:
        """`values` by dotted keys: of a detector with 80 classes some 2,000."""
        return flatten(dict(self.values))

    def interval(self, key: str) -> tuple[float, float] | None:
        """The metric's confidence interval, None where there is none."""
        ends = (self.values.get("intervals") or {}).get(key)
        low, high = map(as_number, ends) if isinstance(ends, list | tuple) and len(ends) == 2 else (None, None)
        return None if low is None or high is None else (low, high)

    def setting(self, key: str) -> Any:
        """The spec's value under this dotted key, None where there is none."""
        return flatten(dict(self.spec)).get(key)

    @property
    def measured_on(self) -> tuple[str, str]:
        """Name and version of the dataset that `metrics` are of: the run's own, unless they say otherwise."""
        data = self.metrics.get("data") or {}
        own = (self.setting("data.name"), self.setting("data.version"))
        return str(data.get("name", own[0])), str(data.get("version", own[1]))

    @property
    def published(self) -> Mapping[str, Mapping[str, Any]]:
        """Metric key -> {"value", "source"}, from the job file."""
        return self.spec.get("published") or {}

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """What the record says of each attempt, oldest first."""
        return self.record.get("attempts") or []

    @property
    def trains(self) -> bool:
        """Whether the job trains at all, and does not evaluate weights as they are."""
        return bool(self.setting("train.epochs") != 0)

    @property
    def of_file(self) -> bool:
        """Whether it is of boxes that some detector has written to a file (training/evaluate_files.py): no run's."""
        return not self.record and not self.trains

    def images(self, split: str) -> int | None:
        """Images of a split of the run's dataset, None where its manifest does not tell."""
        sizes, counts = self.dataset.get("sizes") or {}, self.dataset.get("counts") or {}
        if sizes:  # the counts of a segmentation dataset are of images that hold a class: they overlap
            return sizes.get(split)
        return sum(counts[split].values()) if split in counts else None

    def best_epoch(self, score: str) -> int | None:
        """The epoch, from 1, with the highest `score`; of equal ones the earliest, as for the best checkpoint."""
        measured = [row for row in self.history if as_number(row.get(score)) is not None]
        return max(measured, key=lambda row: float(row[score]))["epoch"] + 1 if measured else None


def as_number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    return float(value) if isinstance(value, int | float) and type(value) is not bool and isfinite(value) else None
