"""Confidence intervals of classification metrics: the percentile bootstrap over samples. Numpy alone.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
RESAMPLES = 2000
CHUNK_BYTES = 64 * 2**20
"""Memory for the resamples that are drawn and counted at once; one of more than 2 million samples takes more."""

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


class Difference(NamedTuple):
    """Accuracy of the first model minus that of the second, and the interval of this difference."""

    difference: float
    low: float
    high: float


def intervals(
    labels: Indices,
    predicted: Indices,
    nll: Floats,
    num_classes: int,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    chunk_bytes: int = CHUNK_BYTES,
) -> dict[str, Interval | None]:
    """Intervals of accuracy, balanced_accuracy, f1_macro, f1_weighted and nll, from one set of resamples.

    labels and predicted: int64 [n] in 0..num_classes-1; nll: float64 [n], in nats. The metrics of a resample are those
    of `ClassificationResult`: macro means run over the classes that have samples in it. Within numpy's own stability
    of draws, the result depends on the arguments only, not on chunk_bytes.
    All are None without samples, and nll where one is not finite. Raises ValueError (lengths, classes out of range).
    """
    n = len(labels)
    if predicted.shape != (n,) or nll.shape != (n,):
        raise ValueError(f"expected {n} samples, got predicted {list(predicted.shape)} and nll {list(nll.shape)}")
    for codes in (labels, predicted):
        if n and not 0 <= codes.min() <= codes.max() < num_classes:
            raise ValueError(f"expected classes in 0..{num_classes - 1}, got {codes.min()}..{codes.max()}")
    names = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "nll")
    if not n:
        return dict.fromkeys(names)
    # a resample needs its draws, two arrays made from them, and some rows of counts
    rows = max(1, chunk_bytes // (8 * (3 * n + 10 * num_classes)))
    chunks = [
        np.column_stack([_metrics(labels, predicted, num_classes, index), nll[index].mean(axis=1)])
        for index in _draws(n, resamples, rows, seed)
    ]
    found = dict(zip(names, np.concatenate(chunks).T, strict=True))
    return {
        name: _percentiles(values, level) if name != "nll" or np.isfinite(nll).all() else None
        for name, values in found.items()
    }


def paired_difference(
    correct_a: npt.NDArray[np.bool_],
    correct_b: npt.NDArray[np.bool_],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference | None:
    """The difference in accuracy of two models, bool [n] each, on the same samples in the same order.

    Samples are resampled in pairs; only how many are correct in one model alone matters, and these numbers follow a
    multinomial distribution. None without samples. Raises ValueError (different numbers of samples).
    """
    if correct_a.ndim != 1 or correct_a.shape != correct_b.shape:
        raise ValueError(f"expected the same samples twice, got {list(correct_a.shape)} and {list(correct_b.shape)}")
    n = len(correct_a)
    if not n:
        return None
    only_a, only_b = np.count_nonzero(correct_a & ~correct_b), np.count_nonzero(correct_b & ~correct_a)
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    return Difference((only_a - only_b) / n, *_percentiles((drawn[:, 0] - drawn[:, 1]) / n, level))


def _draws(n: int, resamples: int, rows: int, seed: int) -> Iterator[Indices]:
    """Samples of the resamples, int64 [<= rows, n] at a time; one stream of draws whatever `rows` is."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, rows):
        yield generator.integers(n, size=(min(rows, resamples - start), n))


def _metrics(labels: Indices, predicted: Indices, num_classes: int, index: Indices) -> Floats:
    """accuracy, balanced_accuracy, f1_macro and f1_weighted of each resample in index [r, n]: float64 [r, 4]."""
    n = index.shape[1]
    support = _tally(labels, num_classes, index)
    # a wrong prediction counts for a class beyond the last, which is cut off
    hits = _tally(np.where(labels == predicted, labels, num_classes), num_classes + 1, index)[:, :-1]
    # recall and F1 of a class that a resample lacks are 0 here, and it is not among the classes of the means
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + _tally(predicted, num_classes, index), 1)
    of_class = (support > 0).sum(axis=1)
    return np.column_stack(
        [
            hits.sum(axis=1) / n,
            recall.sum(axis=1) / of_class,
            f1.sum(axis=1) / of_class,
            (f1 * support).sum(axis=1) / n,
        ]
    )


def _tally(codes: Indices, width: int, index: Indices) -> Indices:
    """How often each of the codes 0..width-1 occurs in each resample in index [r, n]: int64 [r, width]."""
    cells = codes[index]
    cells += width * np.arange(len(index))[:, None]
    return np.bincount(cells.ravel(), minlength=width * len(index)).reshape(len(index), width)


def _percentiles(values: Floats, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
