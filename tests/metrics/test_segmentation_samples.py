"""What a run's metrics hold beside the counts: boundary scores and intervals, from the predictions of images."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.metrics.boundary import boundary_counts, boundary_scores, tolerance
from visionjobs.metrics.image_bootstrap import confusion_intervals
from visionjobs.metrics.segmentation import SegmentationResult, confusion, image_nll, new_counts, update
from visionjobs.metrics.segmentation_samples import sample_metrics

SIZE = (24, 32)
PIXELS = tolerance(*SIZE) * 5


def predictions(classes: tuple[str, ...], n: int = 9) -> tuple[MaskPredictions, SegmentationResult]:
    """Of random images, image by image; and the result of their counts."""
    generator, k = torch.Generator().manual_seed(0), len(classes)
    masks = torch.randint(k, (n, 4, 4), generator=generator).to(torch.uint8)
    masks = masks.repeat_interleave(6, dim=1).repeat_interleave(8, dim=2)
    logits = torch.randn((n, k, *SIZE), generator=generator)
    logits.scatter_add_(1, masks.long()[:, None], torch.full((n, 1, *SIZE), 2.0))
    counts = new_counts(k, "cpu")
    update(counts, logits, masks, masks.long())
    predicted = logits.argmax(1).to(torch.uint8)
    sums, pixels = image_nll(logits, masks.long())
    given = MaskPredictions(
        "test", classes, tuple(f"{i}.png" for i in range(n)), confusion(masks, predicted, k).numpy(), sums.numpy(),
        pixels.numpy(), boundary_counts(masks, predicted, k, PIXELS).numpy(), predicted.numpy(),
    )  # fmt: skip
    return given, SegmentationResult.from_counts(counts, classes)


def test_keys_and_values_of_any_classes() -> None:
    given, result = predictions(("a", "b", "c"))
    found = sample_metrics(given, SIZE, resamples=200)
    assert list(found) == ["boundary", "intervals"]
    assert found["boundary"] == {
        "tolerance": tolerance(*SIZE), **boundary_scores(given.boundaries.sum(axis=0), given.classes),
    }  # fmt: skip
    intervals = found["intervals"]
    assert list(intervals) == ["method", "level", "resamples", "seed", "miou", "pixel_accuracy", "fwiou", "loss"]
    assert (intervals["level"], intervals["resamples"], intervals["seed"]) == (0.95, 200, 0)
    metrics = result.to_dict()
    for key in ("miou", "pixel_accuracy", "fwiou", "loss"):
        low, high = intervals[key]
        assert low < metrics[key] < high
        assert high - low < 0.2
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_camvid_has_intervals_of_its_folded_classes_too() -> None:
    given, result = predictions(tuple(CAMVID), 20)
    intervals, metrics = sample_metrics(given, SIZE, resamples=100)["intervals"], result.to_dict()
    for folding in ("camvid11", "camvid31"):
        for key in ("miou", "pixel_accuracy", "fwiou"):
            low, high = intervals[f"{folding}.{key}"]
            # a resample lacks some images, and so some of the 32 classes: the interval of a mean over the classes that
            # are there need not be around the value
            assert 0 <= low < high <= 1
            assert abs((low + high) / 2 - metrics[folding][key]) < 0.2
    assert intervals["camvid31.miou"] != intervals["miou"]
    assert intervals["miou"] == list(confusion_intervals(given.confusions, resamples=100)["miou"] or ())


def test_the_matrices_of_the_images_add_up_to_that_of_the_counts() -> None:
    given, result = predictions(("a", "b", "c", "d"))
    assert np.array_equal(given.confusions.sum(axis=0), result.matrix)
    assert given.nll_sums.sum() / given.nll_pixels.sum() == pytest.approx(result.loss, rel=1e-12)


def test_a_loss_that_is_not_finite_has_no_interval() -> None:
    given, _ = predictions(("a", "b"))
    given.nll_sums[0] = math.nan
    found = sample_metrics(given, SIZE, resamples=50)["intervals"]
    assert found["loss"] is None
    assert found["miou"] is not None


def test_one_image_of_one_class_without_boundary() -> None:
    mask = np.zeros((1, 4, 4), np.uint8)
    matrix = np.array([[[16, 0], [0, 0]]])
    given = MaskPredictions("test", ("a", "b"), ("0.png",), matrix, np.array([1.6]), np.array([16]),
                            np.zeros((1, 2, 4), np.int64), mask)  # fmt: skip
    found = sample_metrics(given, (4, 4), resamples=10)
    assert found["boundary"]["f"] is None
    assert found["intervals"]["miou"] is None, "one image says nothing of how images differ"
    assert found["intervals"]["loss"] is None
