"""Each pair of runs on the same images: the difference in a score, and whether it may be chance, told and tabulated.

The score is one of all images together, so that its interval comes from a bootstrap over images: compare_mask_pairs.py,
compare_box_pairs.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visionjobs.metrics.bootstrap import LEVEL as INTERVAL_LEVEL
from visionjobs.report.compare_pairs import NO_BREAK, breakable, interval_line, summary
from visionjobs.report.formatting import MINUS, NOT_AVAILABLE, count, signed
from visionjobs.report.page import Cell, Column, Section, Table, Text
from visionjobs.report.summary import RunSummary

TEST = "paired bootstrap over images, 5 % over all pairs"

METHOD = (
    "Difference: {score} of the first run less that of the second, with its percentile bootstrap interval: images are "
    "drawn with replacement, the same ones for both runs, and the {parts} of each draw are counted together (Efron and "
    "Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). Images are drawn and not {parts}, since {why}. A "
    "difference is called one where the interval over all pairs leaves out 0: its level is 1 less 5 % divided by the "
    "number of pairs (Bonferroni), so that the chance of calling any pair different when none is stays below about 5 % "
    "over all of them together. With few images the intervals are too narrow. They do not tell how another training of "
    "the same jobs, with other random draws, would have come out. Better: {better}."
)

RESAMPLES_A_PAIR = 400
"""Where more pairs are compared, their wider intervals need more resamples: so many for each pair, RESAMPLES at
least, leave ten beyond either end."""

FEWEST_IMAGES = 6
"""Of fewer, resamples are nearly all alike, and intervals far too short: no exact sign test reaches 5 % either."""


@dataclass(frozen=True)
class ImagePair:
    """first, second: places in the list of runs. difference: score of the first less that of the second; better: images
    on which the first, the second and neither is better; interval: at 95 %; adjusted: at `level`, for all pairs
    together. All are None where no test could be made; `reason` says why."""

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


@dataclass(frozen=True)
class ImageTest:
    """score: what the difference is of; key: its name in compare.json; verb: what the better run does on an image, as
    "has the higher mIoU"; method: how it was tested, in sentences."""

    score: str
    key: str
    verb: str
    method: str

    def section(self, pairs: Sequence[ImagePair], labels: Sequence[str]) -> Section:
        """A row and a sentence a pair, and how it was tested."""
        level = next((pair.level for pair in pairs if pair.level is not None), None)
        all_pairs = "All pairs together" if level is None else f"{100 * level:.4g} %, for all pairs together"
        numbers = ("First better", "Second better", "Alike", "Difference", f"{100 * INTERVAL_LEVEL:.6g} %", all_pairs)
        table = Table(
            "Pairs",
            (Column("First and second", numeric=False), *map(Column, numbers)),
            tuple(tuple(self._cells(pair, labels)) for pair in pairs),
        )
        return Section("pairs", "Pair by pair", (Text(summary(pairs, labels, self.score)), table, Text(self.method)))

    def sentence(self, pair: ImagePair, labels: Sequence[str]) -> str:
        """What the test says of the pair, in plain words."""
        a, b = labels[pair.first], labels[pair.second]
        if pair.better is None:
            return f"No test could be made: {pair.reason}."
        verdict = f"{'a difference' if pair.differs else 'no difference is shown'} at the 5{NO_BREAK}% level"
        images = f"{count(pair.better[0])} {'image' if pair.better[0] == 1 else 'images'}"
        return (
            f"{a} {self.verb} on {images} and {b} on {count(pair.better[1])}; over all pairs the interval "
            f"{'leaves out' if pair.differs else 'holds'} 0: {verdict}."
        )

    def _cells(self, pair: ImagePair, labels: Sequence[str]) -> Iterator[Cell]:
        names = f"{breakable(labels[pair.first])} {MINUS} {breakable(labels[pair.second])}"
        yield Cell(names, (self.sentence(pair, labels),))
        for number in pair.better or (None, None, None):
            yield Cell(count(number))
        yield Cell(signed(pair.difference))
        yield Cell(_ends(pair.interval))
        yield Cell(_ends(pair.adjusted), ("different",) if pair.differs else ())

    def values(self, pair: ImagePair, runs: Sequence[RunSummary]) -> dict[str, Any]:
        """The pair as plain values, for compare.json."""
        first, second, neither = pair.better or (None, None, None)
        return {
            "first": runs[pair.first].run,
            "second": runs[pair.second].run,
            "images_first_better": first,
            "images_second_better": second,
            "images_alike": neither,
            self.key: pair.difference,
            "interval": None if pair.interval is None else list(pair.interval),
            "level_over_all_pairs": pair.level,
            "interval_over_all_pairs": None if pair.adjusted is None else list(pair.adjusted),
            "differs": pair.differs if pair.tested else None,
            "reason": pair.reason or None,
        }


def _ends(ends: tuple[float, float] | None) -> str:
    return next(iter(interval_line(ends, signed)), NOT_AVAILABLE)


def too_few(images: int) -> str:
    """Why so many images cannot be tested, "" where they can."""
    return f"it needs {FEWEST_IMAGES} images at least, and the split has {images}" if images < FEWEST_IMAGES else ""


def deleted(lacking: Sequence[str], key: str) -> str:
    """Why runs that lack this file cannot be tested."""
    return f"{' and '.join(lacking)} {'holds' if len(lacking) == 1 else 'hold'} no {key}: it was deleted"


def better(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> tuple[int, int, int]:
    """Images on which the first score is the higher one, the second, and neither; of scores [images]."""
    higher, lower = int(np.count_nonzero(first > second)), int(np.count_nonzero(first < second))
    return higher, lower, len(first) - higher - lower
