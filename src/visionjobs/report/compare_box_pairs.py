"""Each pair of detection runs on the same images: the difference in AP50, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np

from visionjobs.boxes import Detections, Truth
from visionjobs.coco_json import RESULTS
from visionjobs.errors import UserError
from visionjobs.metrics.bootstrap import LEVEL as INTERVAL_LEVEL
from visionjobs.metrics.bootstrap import RESAMPLES
from visionjobs.metrics.detection_bootstrap import AveragePrecision, matched, paired_difference, resampled_ap50
from visionjobs.report.compare_image_pairs import (
    METHOD,
    RESAMPLES_A_PAIR,
    ImagePair,
    ImageTest,
    better,
    deleted,
    too_few,
)
from visionjobs.report.compare_pairs import LEVEL
from visionjobs.report.summary import RunSummary

BOXES = ImageTest(
    score="AP50",
    key="ap50_difference",
    verb="has fewer wrong and missing boxes",
    method="Boxes above the highest confidence floor that all runs have. "
    + METHOD.format(
        score="AP50",
        parts="boxes",
        why="those of one image stand and fall together",
        better="by the number of wrong and missing boxes in an image",
    ),
)


def check_same_boxes(runs: Sequence[RunSummary]) -> None:
    """Raise UserError where two runs' predictions are not of the same images and true boxes."""
    kept = [(run, found[0]) for run in runs if (found := _boxes(run))]
    for (one, first), (other, second) in pairwise(kept):
        if not _same(first, second):
            raise UserError(
                f"run {one.run} and run {other.run} name the same dataset, but their predictions are not of the same "
                f"{len(first.image_ids):,} and {len(second.image_ids):,} images, or are measured on other boxes: the "
                "predictions of one of them were changed; predict or evaluate it again"
            )


def _same(a: Truth, b: Truth) -> bool:
    names = ("image_ids", "category_ids", "images", "categories", "boxes", "areas", "crowd")
    return a.classes == b.classes and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def compare_boxes(runs: Sequence[RunSummary]) -> list[ImagePair]:
    """Every pair, in the order of the runs."""
    floor = common_floor(runs)
    pairs = [
        ImagePair(first, second, reason=_reason([runs[first], runs[second]], floor))
        for first, second in combinations(range(len(runs)), 2)
    ]
    tested = [pair for pair in pairs if not pair.reason]
    if floor is None or not tested:
        return pairs
    resamples = max(RESAMPLES, RESAMPLES_A_PAIR * len(tested))
    scores = {
        place: _Scores(*boxes, floor, resamples)
        for place in {place for pair in tested for place in (pair.first, pair.second)}
        if (boxes := _boxes(runs[place]))
    }
    level = 1 - LEVEL / len(tested)
    return [pair if pair.reason else _tested(pair, scores[pair.first], scores[pair.second], level) for pair in pairs]


def common_floor(runs: Sequence[RunSummary]) -> float | None:
    """The highest confidence floor at which all runs were evaluated; None where there is none."""
    of_runs = [set(run.values.get("floors") or ()) for run in runs]
    return max(map(float, set.intersection(*of_runs)), default=None)


def _boxes(run: RunSummary) -> tuple[Truth, Detections] | None:
    return None if run.truth is None or run.detections is None else (run.truth, run.detections)


def _reason(runs: Sequence[RunSummary], floor: float | None) -> str:
    """Why these two cannot be tested, "" where they can."""
    if lacking := [run.run for run in runs if _boxes(run) is None]:
        return deleted(lacking, RESULTS)
    if floor is None:
        return "the runs have no confidence floor (detect.floors) in common"
    truth = next(boxes[0] for run in runs if (boxes := _boxes(run)))
    return too_few(len(truth.image_ids)) or ("" if not truth.crowd.all() else "the split holds no true boxes")


class _Scores:
    """What is asked of one run: AP50, that of each resample, and the errors on each image."""

    def __init__(self, truth: Truth, detections: Detections, floor: float, resamples: int) -> None:
        boxes = matched(truth, detections.above(floor))
        self.ap50 = AveragePrecision(boxes)()
        self.drawn = resampled_ap50(boxes, resamples=resamples)
        self.errors = boxes.errors


def _tested(pair: ImagePair, a: _Scores, b: _Scores, level: float) -> ImagePair:
    """With its difference and intervals; `level`: of that for all pairs together."""
    single = paired_difference(a.ap50, b.ap50, a.drawn, b.drawn, level=INTERVAL_LEVEL)
    family = paired_difference(a.ap50, b.ap50, a.drawn, b.drawn, level=level)
    if single is None or family is None:
        return replace(pair, reason="no resample holds true boxes")
    return replace(
        pair,
        difference=single.difference,
        better=better(b.errors, a.errors),
        interval=(single.low, single.high),
        adjusted=(family.low, family.high),
        level=level,
    )
