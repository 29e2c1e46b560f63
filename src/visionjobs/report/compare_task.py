"""What differs between tasks where runs are compared, besides what their TaskReport (task.py) tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from visionjobs.report.compare_box_pairs import BOXES, check_same_boxes, compare_boxes
from visionjobs.report.compare_image_pairs import TEST
from visionjobs.report.compare_mask_pairs import MASKS, check_same_images, compare_masks
from visionjobs.report.compare_pairs import AnyPair, check_same_samples, compare_pairs, pair_values, pairs_section
from visionjobs.report.detection_metrics import GROUPS, Group
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
class ScoreGap:
    """score, title: `train_<score>` and `val_<score>` of the history have a gap, and its name; loss: how the loss of
    the other gap is defined."""

    score: str
    title: str
    loss: str


@dataclass(frozen=True)
class TaskComparison:
    """headline: keys of the metrics of the first tiles, the first of them is drawn as bars; gap: between training and
    validation, None where the history does not tell it; groups: tables of the results, with a row a metric at each
    confidence floor, where metrics are by floor; () for one table with a column a metric."""

    headline: tuple[str, ...]
    classes: ClassScore
    test: PairTest
    gap: ScoreGap | None = None
    groups: tuple[Group, ...] = ()


COMPARISONS = {
    "classification": TaskComparison(
        headline=("accuracy", "balanced_accuracy", "f1_macro"),
        gap=ScoreGap("accuracy", "Accuracy", "without label smoothing"),
        classes=ClassScore("f1", "F1", "the harmonic mean of precision and recall", "support", "Samples"),
        test=PairTest(
            "McNemar's test with Holm's correction, 5 %", check_same_samples, compare_pairs, pairs_section, pair_values
        ),
    ),
    "segmentation": TaskComparison(
        headline=("miou", "pixel_accuracy", "loss"),
        gap=ScoreGap("miou", "mIoU", "plain cross-entropy"),
        classes=ClassScore(
            "iou", "IoU", "pixels of the class that were found, of all that are or were said to be of it", "pixels",
            "Pixels",
        ),
        test=PairTest(TEST, check_same_images, compare_masks, MASKS.section, MASKS.values),
    ),
    "detection": TaskComparison(
        headline=("coco.AP", "coco.AP50", "calibration.all.d_ece"),
        classes=ClassScore(
            "AP", "AP", "area under the precision-recall curve, averaged over the IoU .50, .55, ..., .95", "boxes",
            "Boxes",
        ),
        test=PairTest(TEST, check_same_boxes, compare_boxes, BOXES.section, BOXES.values),
        groups=GROUPS,
    ),
}  # fmt: skip
