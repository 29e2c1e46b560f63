"""Confidences in bins of equal width: what is summed up in each bin, and the calibration error from these sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.boxes import Floats, Ints
from visionjobs.metrics.calibration import bin_numbers


@dataclass(frozen=True)
class BinSums:
    """Of each group and bin: n, how many (int64); confidence and target, sums (float64); each [groups, bins].

    A target is 1 for right and 0 for wrong, or a degree between them. Sums of several parts of the data add up.
    """

    n: Ints
    confidence: Floats
    target: Floats

    def together(self) -> BinSums:
        """All groups as one."""
        return BinSums(*(part.sum(axis=0, keepdims=True) for part in (self.n, self.confidence, self.target)))

    def ece(self) -> Floats:
        """Expected calibration error of each group, float64 [groups]: the sum over its bins of n/N * |mean target -
        mean confidence|; NaN for a group without members. Guo et al., ICML 2017, equation 3."""
        total = self.n.sum(axis=1)
        gaps = abs(self.target - self.confidence).sum(axis=1)
        return np.asarray(np.divide(gaps, total, out=np.full(len(total), np.nan), where=total > 0))


def bin_sums(
    confidence: Floats, target: npt.NDArray[np.generic], bins: int, groups: Ints | None = None, number: int = 1
) -> BinSums:
    """confidence: float64 [n], 0..1; target: [n], bool or float; groups: int64 [n], from 0 to below `number`; all are
    of one group without."""
    cells = bin_numbers(confidence, bins)
    if groups is not None:
        cells = groups * bins + cells
    shape, least = (number, bins), number * bins
    return BinSums(
        n=np.bincount(cells, minlength=least).reshape(shape),
        confidence=np.bincount(cells, confidence, least).astype(np.float64).reshape(shape),
        target=np.bincount(cells, target, least).astype(np.float64).reshape(shape),
    )
