"""What differs between tasks where runs are compared, besides what their TaskReport (task.py) tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from visionjobs.report.compare_mask_pairs import (
    TEST,
    check_same_images,
    compare_masks,
    mask_pair_values,
    mask_pairs_section,
)
from visionjobs.report.compare_pairs import AnyPair, check_same_samples, compare_pairs, pair_values, pairs_section
from visionjobs.report.page import Section
from visionjobs.report.summary import RunSummary


@dataclass(frozen=True)
class ClassScore:
    """The score of each class that is compared: its key in per_class, name and definition; number: the key of what a
    class was measured on, and its heading."""

    key: str
    title: str
    definition: str
    number: str
    counted: str


@dataclass(frozen=True)
class PairTest:
    """How two runs are told apart. name: of the test; check: raises UserError where it cannot be made; compare: every
    pair, in the order of the runs; section, values: the pairs on the page and in compare.json."""

    name: str
    check: Callable[[Sequence[RunSummary]], None]
    compare: Callable[[Sequence[RunSummary]], Sequence[AnyPair]]
    section: Callable[[Sequence[Any], Sequence[str]], Section]
    values: Callable[[Any, Sequence[RunSummary]], dict[str, Any]]


@dataclass(frozen=True)
class TaskComparison:
    """headline: keys of the metrics of the first tiles, the first of them is drawn as bars; score, score_title:
    `train_<score>` and `val_<score>` of the history have a gap, and its name; loss: how the loss of the gap is
    defined."""

    headline: tuple[str, ...]
    score: str
    score_title: str
    loss: str
    classes: ClassScore
    test: PairTest


COMPARISONS = {
    "classification": TaskComparison(
        headline=("accuracy", "balanced_accuracy", "f1_macro"),
        score="accuracy",
        score_title="Accuracy",
        loss="without label smoothing",
        classes=ClassScore("f1", "F1", "the harmonic mean of precision and recall", "support", "Samples"),
        test=PairTest(
            "McNemar's test with Holm's correction, 5 %", check_same_samples, compare_pairs, pairs_section, pair_values
        ),
    ),
    "segmentation": TaskComparison(
        headline=("miou", "pixel_accuracy", "loss"),
        score="miou",
        score_title="mIoU",
        loss="plain cross-entropy",
        classes=ClassScore(
            "iou", "IoU", "pixels of the class that were found, of all that are or were said to be of it", "pixels",
            "Pixels",
        ),
        test=PairTest(TEST, check_same_images, compare_masks, mask_pairs_section, mask_pair_values),
    ),
}  # fmt: skip
