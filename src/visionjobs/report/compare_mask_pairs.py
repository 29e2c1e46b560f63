"""Each pair of segmentation runs on the same images: the difference in mIoU, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from visionjobs.errors import UserError
from visionjobs.mask_predictions import KEY, MaskPredictions
from visionjobs.metrics.bootstrap import LEVEL as INTERVAL_LEVEL
from visionjobs.metrics.bootstrap import RESAMPLES
from visionjobs.metrics.image_bootstrap import paired_miou_difference
from visionjobs.report.compare_pairs import LEVEL, NO_BREAK, breakable, interval_line, summary
from visionjobs.report.formatting import MINUS, NOT_AVAILABLE, count, signed
from visionjobs.report.page import Cell, Column, Section, Table, Text
from visionjobs.report.summary import RunSummary
from visionjobs.scenes import image_ious

RESAMPLES_A_PAIR = 400
"""Where more pairs are compared, their wider intervals need more resamples: so many for each pair, RESAMPLES at
least, leave ten beyond either end."""

TEST = "paired bootstrap over images, 5 % over all pairs"

METHOD = (
    "Difference: mIoU of the first run less that of the second, with its percentile bootstrap interval: images are "
    "drawn with replacement, the same ones for both runs, and the pixels of each draw are counted together (Efron and "
    "Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). Images are drawn and not pixels, since "
    "neighbouring pixels tell the same thing. A difference is called one where the interval over all pairs leaves out "
    "0: its level is 1 less 5 % divided by the number of pairs (Bonferroni), so that the chance of calling any pair "
    "different when none is stays below about 5 % over all of them together. With few images the intervals are too "
    "narrow. They do not tell how another training of the same jobs, with other random draws, would have come out. "
    "Better: by the mean IoU of the classes that an image holds."
)

FEWEST_IMAGES = 6
"""Of fewer, resamples are nearly all alike, and intervals far too short: no exact sign test reaches 5 % either."""


@dataclass(frozen=True)
class MaskPair:
    """first, second: places in the list of runs. difference: mIoU of the first less that of the second; better: images
    on which the first, the second and neither has the higher mIoU; interval: at 95 %; adjusted: at `level`, for all
    pairs together. All are None where no test could be made; `reason` says why."""

    first: int
    second: int
    difference: float | None = None
    better: tuple[int, int, int] | None = None
    interval: tuple[float, float] | None = None
    adjusted: tuple[float, float] | None = None
    level: float | None = None
    reason: str = ""

    @property
    def tested(self) -> bool:
        """Whether a test could be made."""
        return self.adjusted is not None

    @property
    def differs(self) -> bool:
        """Whether a difference is shown, at LEVEL over all pairs."""
        return self.adjusted is not None and not self.adjusted[0] <= 0 <= self.adjusted[1]


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


def compare_masks(runs: Sequence[RunSummary]) -> list[MaskPair]:
    """Every pair, in the order of the runs."""
    compared = [_compare(runs, first, second) for first, second in combinations(range(len(runs)), 2)]
    tests = sum(pair.difference is not None for pair in compared)
    return [pair if pair.difference is None else _tested(runs, pair, tests) for pair in compared]


def _compare(runs: Sequence[RunSummary], first: int, second: int) -> MaskPair:
    a, b = runs[first].masks, runs[second].masks
    if a is None or b is None:
        lacking = [run.run for run in (runs[first], runs[second]) if run.masks is None]
        key = KEY.format(split=runs[first].metrics.get("split"))
        verb = "holds" if len(lacking) == 1 else "hold"
        return MaskPair(first, second, reason=f"{' and '.join(lacking)} {verb} no {key}: it was deleted")
    if len(a) < FEWEST_IMAGES:
        return MaskPair(first, second, reason=f"it needs {FEWEST_IMAGES} images at least, and the split has {len(a)}")
    found = paired_miou_difference(a.confusions, b.confusions)
    if found is None:
        return MaskPair(first, second, reason="the split holds no labelled pixels")
    return MaskPair(first, second, found.difference, _better(a, b), (found.low, found.high))


def _tested(runs: Sequence[RunSummary], pair: MaskPair, tests: int) -> MaskPair:
    """With the interval for `tests` pairs together."""
    a, b, level = runs[pair.first].masks, runs[pair.second].masks, 1 - LEVEL / tests
    if tests == 1 or a is None or b is None:
        return replace(pair, adjusted=pair.interval, level=INTERVAL_LEVEL)
    resamples = max(RESAMPLES, RESAMPLES_A_PAIR * tests)
    found = paired_miou_difference(a.confusions, b.confusions, level=level, resamples=resamples)
    return replace(pair, adjusted=None if found is None else (found.low, found.high), level=level)


def _better(a: MaskPredictions, b: MaskPredictions) -> tuple[int, int, int]:
    first, second = image_ious(a), image_ious(b)
    higher, lower = int(np.count_nonzero(first > second)), int(np.count_nonzero(first < second))
    return higher, lower, len(first) - higher - lower


def sentence(pair: MaskPair, labels: Sequence[str]) -> str:
    """What the test says of the pair, in plain words."""
    a, b = labels[pair.first], labels[pair.second]
    if pair.better is None:
        return f"No test could be made: {pair.reason}."
    verdict = f"{'a difference' if pair.differs else 'no difference is shown'} at the 5{NO_BREAK}% level"
    images = f"{count(pair.better[0])} {'image' if pair.better[0] == 1 else 'images'}"
    return (
        f"{a} has the higher mIoU on {images} and {b} on {count(pair.better[1])}; over all pairs the interval "
        f"{'leaves out' if pair.differs else 'holds'} 0: {verdict}."
    )


def mask_pairs_section(pairs: Sequence[MaskPair], labels: Sequence[str]) -> Section:
    """A row and a sentence a pair, and how it was tested."""
    level = next((pair.level for pair in pairs if pair.level is not None), None)
    all_pairs = "All pairs together" if level is None else f"{100 * level:.4g} %, for all pairs together"
    columns = ("First better", "Second better", "Alike", "Difference", f"{100 * INTERVAL_LEVEL:.6g} %", all_pairs)
    table = Table(
        "Pairs",
        (Column("First and second", numeric=False), *map(Column, columns)),
        tuple(tuple(_cells(pair, labels)) for pair in pairs),
    )
    return Section("pairs", "Pair by pair", (Text(summary(pairs, labels, "mIoU")), table, Text(METHOD)))


def _cells(pair: MaskPair, labels: Sequence[str]) -> Iterator[Cell]:
    yield Cell(f"{breakable(labels[pair.first])} {MINUS} {breakable(labels[pair.second])}", (sentence(pair, labels),))
    for number in pair.better or (None, None, None):
        yield Cell(count(number))
    yield Cell(signed(pair.difference))
    yield Cell(_ends(pair.interval))
    yield Cell(_ends(pair.adjusted), ("different",) if pair.differs else ())


def _ends(ends: tuple[float, float] | None) -> str:
    return next(iter(interval_line(ends, signed)), NOT_AVAILABLE)


def mask_pair_values(pair: MaskPair, runs: Sequence[RunSummary]) -> dict[str, Any]:
    """The pair as plain values, for compare.json."""
    first, second, neither = pair.better or (None, None, None)
    return {
        "first": runs[pair.first].run,
        "second": runs[pair.second].run,
        "images_first_better": first,
        "images_second_better": second,
        "images_alike": neither,
        "miou_difference": pair.difference,
        "interval": None if pair.interval is None else list(pair.interval),
        "level_over_all_pairs": pair.level,
        "interval_over_all_pairs": None if pair.adjusted is None else list(pair.adjusted),
        "differs": pair.differs if pair.tested else None,
        "reason": pair.reason or None,
    }
