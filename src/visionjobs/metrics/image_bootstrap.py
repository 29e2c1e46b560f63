"""Confidence intervals of segmentation metrics: the percentile bootstrap over images. Numpy alone.

Images are what is drawn at random, not pixels: neighbouring pixels tell the same thing many times over.
Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from visionjobs.metrics.bootstrap import LEVEL, RESAMPLES, Difference, Interval

CHUNK_BYTES = 64 * 2**20
"""Memory for the resamples that are drawn and summed at once."""

Confusions = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NAMES = ("miou", "pixel_accuracy", "fwiou")


def confusion_intervals(
    confusions: Confusions, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval | None]:
    """Intervals of miou, pixel_accuracy and fwiou, from int64 [n, J, J] or [n, J, J + 1] of each image.

    The metrics of a resample are those of its summed matrix (metrics/segmentation.py); the mean IoU runs over the
    classes that have pixels in it. All are None without pixels, and for fewer than 2 images, which say nothing of how
    images differ.
    """
    if len(confusions) < 2 or not confusions.sum():
        return dict.fromkeys(NAMES)
    found = np.concatenate([_metrics(matrices) for matrices in _resampled(confusions, resamples, seed)])
    found = found[~np.isnan(found).any(axis=1)]  # a resample may draw nothing but images without labelled pixels
    return {name: _percentiles(values, level) for name, values in zip(NAMES, found.T, strict=True)}


def loss_interval(
    sums: Floats, pixels: npt.NDArray[np.int64], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Interval of the mean loss over pixels, from each image's sum, float64 [n], and pixels, int64 [n].

    None for fewer than 2 images, without pixels, and where a sum is not finite.
    """
    if len(sums) < 2 or not pixels.sum() or not np.isfinite(sums).all():
        return None
    both = np.column_stack([sums, pixels])
    drawn = np.concatenate(list(_resampled(both, resamples, seed)))
    drawn = drawn[drawn[:, 1] > 0]  # a resample may draw nothing but images without such pixels
    return _percentiles(drawn[:, 0] / drawn[:, 1], level)


def paired_miou_difference(
    a: Confusions, b: Confusions, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Difference | None:
    """mIoU of the first model less that of the second, on the same images in the same order, int64 [n, K, K] each.

    The same images are drawn for both. None without pixels. Raises ValueError (different numbers of images or classes).
    """
    if a.shape != b.shape:
        raise ValueError(f"expected the same images twice, got {list(a.shape)} and {list(b.shape)}")
    if not a.sum():
        return None
    both = zip(_resampled(a, resamples, seed), _resampled(b, resamples, seed), strict=True)
    drawn = np.concatenate([_metrics(first)[:, 0] - _metrics(second)[:, 0] for first, second in both])
    whole = _metrics(a.sum(axis=0, keepdims=True))[0, 0] - _metrics(b.sum(axis=0, keepdims=True))[0, 0]
    return Difference(float(whole), *_percentiles(drawn[~np.isnan(drawn)], level))


def _resampled(of_images: Confusions | Floats, resamples: int, seed: int) -> Iterator[Floats]:
    """Sums over the images [n, ...] of each resample, float64 [r, ...] for r resamples at a time.

    The same images are drawn whoever asks, and whatever CHUNK_BYTES is. Counts are exact up to 2^53.
    """
    n, *shape = of_images.shape
    flat = of_images.reshape(n, -1).astype(np.float64)
    generator, shares = np.random.default_rng(seed), np.full(n, 1 / n)
    rows = max(1, CHUNK_BYTES // (8 * (2 * n + flat.shape[1])))
    for start in range(0, resamples, rows):
        times = generator.multinomial(n, shares, size=min(rows, resamples - start))  # each image is in each resample
        yield (times.astype(np.float64) @ flat).reshape(-1, *shape)


def _metrics(matrices: Floats) -> Floats:
    """float64 [r, 3]: miou, pixel_accuracy and fwiou of each matrix [r, J, J or J + 1]; NaN without pixels."""
    classes = matrices.shape[1]
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    truth, predicted = matrices.sum(axis=2), matrices.sum(axis=1)[:, :classes]
    present, pixels = truth > 0, truth.sum(axis=1)
    iou = np.where(present, hits / np.maximum(truth + predicted - hits, 1), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.column_stack(
            [iou.sum(axis=1) / present.sum(axis=1), hits.sum(axis=1) / pixels, (iou * truth).sum(axis=1) / pixels]
        )


def _percentiles(values: Floats, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
