"""Each pair of segmentation runs on the same images: the difference in mIoU, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np

from visionjobs.errors import UserError
from visionjobs.mask_predictions import KEY
from visionjobs.metrics.bootstrap import LEVEL as INTERVAL_LEVEL
from visionjobs.metrics.bootstrap import RESAMPLES
from visionjobs.metrics.image_bootstrap import paired_miou_difference
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
from visionjobs.scenes import image_ious

MASKS = ImageTest(
    score="mIoU",
    key="miou_difference",
    verb="has the higher mIoU",
    method=METHOD.format(
        score="mIoU",
        parts="pixels",
        why="neighbouring pixels tell the same thing",
        better="by the mean IoU of the classes that an image holds",
    ),
)


def check_same_images(runs: Sequence[RunSummary]) -> None:
    """Raise UserError where two runs' predictions are not of the same images and masks, in the same order and size."""
    kept = [(run, run.masks) for run in runs if run.masks is not None]
    for (one, first), (other, second) in pairwise(kept):
        sizes = [f"{masks.masks.shape[1]}x{masks.masks.shape[2]}" for masks in (first, second)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"run {one.run} and run {other.run} cannot be compared, their images are not of the same size: "
                f"{' and '.join(sizes)}. Instead: train both jobs at the same size: --set data.size=[HEIGHT,WIDTH]"
            )
        if (first.split, first.classes, first.paths) != (second.split, second.classes, second.paths) or not (
            np.array_equal(first.confusions.sum(axis=2), second.confusions.sum(axis=2))
        ):
            raise UserError(
                f"run {one.run} and run {other.run} name the same dataset, but their predictions are not of the same "
                f"{len(first):,} and {len(second):,} images, or are measured on other masks: the predictions of one of "
                "them were changed; train or evaluate it again"
            )


def compare_masks(runs: Sequence[RunSummary]) -> list[ImagePair]:
    """Every pair, in the order of the runs."""
    compared = [_compare(runs, first, second) for first, second in combinations(range(len(runs)), 2)]
    tests = sum(pair.difference is not None for pair in compared)
    return [pair if pair.difference is None else _tested(runs, pair, tests) for pair in compared]


def _compare(runs: Sequence[RunSummary], first: int, second: int) -> ImagePair:
    a, b = runs[first].masks, runs[second].masks
    if a is None or b is None:
        lacking = [run.run for run in (runs[first], runs[second]) if run.masks is None]
        key = KEY.format(split=runs[first].metrics.get("split"))
        return ImagePair(first, second, reason=deleted(lacking, key))
    if reason := too_few(len(a)):
        return ImagePair(first, second, reason=reason)
    found = paired_miou_difference(a.confusions, b.confusions)
    if found is None:
        return ImagePair(first, second, reason="the split holds no labelled pixels")
    return ImagePair(first, second, found.difference, better(image_ious(a), image_ious(b)), (found.low, found.high))


def _tested(runs: Sequence[RunSummary], pair: ImagePair, tests: int) -> ImagePair:
    """With the interval for `tests` pairs together."""
    a, b, level = runs[pair.first].masks, runs[pair.second].masks, 1 - LEVEL / tests
    if tests == 1 or a is None or b is None:
        return replace(pair, adjusted=pair.interval, level=INTERVAL_LEVEL)
    resamples = max(RESAMPLES, RESAMPLES_A_PAIR * tests)
    found = paired_miou_difference(a.confusions, b.confusions, level=level, resamples=resamples)
    return replace(pair, adjusted=None if found is None else (found.low, found.high), level=level)
