"""Bootstrap intervals over images: against a slow loop, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from visionjobs.metrics import image_bootstrap
from visionjobs.metrics.class_mappings import ClassMapping
from visionjobs.metrics.image_bootstrap import confusion_intervals, loss_interval, paired_miou_difference
from visionjobs.metrics.segmentation import folded, summary

PRIORS = np.array([0.4, 0.3, 0.2, 0.1])
CONFUSION = np.array([[0.85, 0.05, 0.05, 0.05], [0.1, 0.8, 0.05, 0.05], [0.1, 0.1, 0.7, 0.1], [0.05, 0.1, 0.15, 0.7]])
"""P(predicted | truth)."""

PIXELS = 400


def draw(generator: np.random.Generator, n: int, confusion: np.ndarray = CONFUSION) -> np.ndarray:
    """int64 [n, 4, 4]: images with shares of the classes of their own, whose pixels are PRIORS on average."""
    shares = generator.dirichlet(8 * PRIORS, size=n)
    return generator.multinomial(PIXELS, (shares[:, :, None] * confusion).reshape(n, 16)).reshape(n, 4, 4)


def expected(confusion: np.ndarray) -> dict[str, float]:
    """Of infinitely many images."""
    joint = PRIORS[:, None] * confusion
    iou = joint.diagonal() / (joint.sum(axis=0) + joint.sum(axis=1) - joint.diagonal())
    return {"miou": iou.mean(), "pixel_accuracy": joint.trace(), "fwiou": PRIORS @ iou}


def slow(matrices: np.ndarray, weights: np.ndarray, key: str) -> list[float]:
    names = [str(k) for k in range(matrices.shape[1])]
    summed = [sum(int(times) * matrix for times, matrix in zip(row, matrices, strict=True)) for row in weights]
    found = [summary(matrix, names)[key] for matrix in summed]
    return [value for value in found if value is not None]


@pytest.mark.parametrize("kind", ["square", "folded", "with empty images"])
def test_agrees_with_a_slow_loop_over_the_same_draws(kind: str) -> None:
    generator = np.random.default_rng(5)
    matrices = draw(generator, 12)
    matrices[1:, 3] = 0  # a class in one image alone, which many resamples lack
    if kind == "folded":
        matrices = folded(matrices, ClassMapping(("a", "b", "c"), (0, 1, None, 2)))
    if kind == "with empty images":
        matrices = np.concatenate([matrices[:2], np.zeros((3, 4, 4), np.int64)])
    weights = np.random.default_rng(3).multinomial(len(matrices), np.full(len(matrices), 1 / len(matrices)), size=200)
    found = confusion_intervals(matrices, level=0.9, resamples=200, seed=3)
    assert list(found) == ["miou", "pixel_accuracy", "fwiou"]
    for key, interval in found.items():
        low, high = np.quantile(slow(matrices, weights, key), [0.05, 0.95])
        assert interval == pytest.approx((low, high), abs=1e-9)


def test_the_loss_agrees_with_a_slow_loop_over_the_same_draws() -> None:
    generator = np.random.default_rng(0)
    pixels = np.array([0, 0, 10, 400, 30])
    sums = np.where(pixels > 0, generator.gamma(2, 50, size=5), 0.0)
    weights = np.random.default_rng(7).multinomial(5, np.full(5, 0.2), size=300)
    losses = [float(row @ sums / (row @ pixels)) for row in weights if row @ pixels]
    assert len(losses) < 300
    found = loss_interval(sums, pixels, level=0.8, resamples=300, seed=7)
    assert found == pytest.approx(tuple(np.quantile(losses, [0.1, 0.9])), abs=1e-9)


@pytest.mark.parametrize("chunk_bytes", [1, 5000, 123_456])
def test_memory_is_bounded_and_the_size_of_a_chunk_changes_nothing(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices, other = draw(np.random.default_rng(1), 20), draw(np.random.default_rng(2), 20)
    sums = matrices.sum(axis=(1, 2)) * 0.3

    def found() -> tuple[object, ...]:
        return (
            confusion_intervals(matrices, resamples=300),
            loss_interval(sums, matrices.sum(axis=(1, 2)), resamples=300),
            paired_miou_difference(matrices, other, resamples=300),
        )

    whole = found()
    monkeypatch.setattr(image_bootstrap, "CHUNK_BYTES", chunk_bytes)
    assert found() == whole
    for part in image_bootstrap._resampled(matrices, 300, 0):
        assert len(part) == 1 or len(part) * 8 * (2 * 20 + 16) <= chunk_bytes


def test_counts_of_many_large_images_stay_exact() -> None:
    matrices = np.full((3, 2, 2), 2**48 + 1)
    (part,) = image_bootstrap._resampled(matrices, 10, 0)
    assert (part == 3 * (2**48 + 1)).all()  # whichever images are drawn


def test_the_interval_holds_the_truth_in_about_95_of_100_sets() -> None:
    truth = expected(CONFUSION)
    generator, held, sets = np.random.default_rng(11), dict.fromkeys([*truth, "loss"], 0), 300
    for number in range(sets):
        matrices = draw(generator, 60)
        intervals = confusion_intervals(matrices, resamples=300, seed=number)
        sums = generator.gamma(4.0, 0.5, size=60) * PIXELS  # mean 2 a pixel
        intervals["loss"] = loss_interval(sums, np.full(60, PIXELS), resamples=300, seed=number)
        for name, interval in intervals.items():
            assert interval is not None
            held[name] += interval[0] <= (truth | {"loss": 2.0})[name] <= interval[1]
    assert all(0.90 <= times / sets <= 0.985 for times in held.values()), held


def test_pixels_of_one_image_are_not_taken_for_independent() -> None:
    # all the same images: drawing them again changes nothing, while 4,000 independent pixels would vary
    matrices = np.repeat(draw(np.random.default_rng(0), 1), 10, axis=0)
    found = confusion_intervals(matrices, resamples=50)
    value = summary(matrices.sum(axis=0), ["a", "b", "c", "d"])
    for key, interval in found.items():
        assert interval == pytest.approx((value[key], value[key]), abs=1e-12)


def test_the_difference_of_two_models_holds_the_truth_and_knows_of_the_pairs() -> None:
    better = 0.5 * CONFUSION + 0.5 * np.eye(4)
    truth, generator, held = expected(better)["miou"] - expected(CONFUSION)["miou"], np.random.default_rng(2), 0
    for number in range(200):
        shares = generator.dirichlet(8 * PRIORS, size=60)
        pixels = np.stack([generator.multinomial(PIXELS, row) for row in shares])  # the truth of both
        a, b = (np.stack([[generator.multinomial(c, p) for c, p in zip(row, rows, strict=True)] for row in pixels])
                for rows in (better, CONFUSION))  # fmt: skip
        found = paired_miou_difference(a, b, resamples=200, seed=number)
        assert found is not None
        names = list("abcd")
        whole = summary(a.sum(axis=0), names)["miou"] - summary(b.sum(axis=0), names)["miou"]
        assert found.difference == pytest.approx(whole, abs=1e-12)
        assert found.low <= found.difference <= found.high
        held += found.low <= truth <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_a_model_does_not_differ_from_itself_and_the_sign_follows_the_order() -> None:
    a, b = draw(np.random.default_rng(0), 30), draw(np.random.default_rng(1), 30)
    assert paired_miou_difference(a, a, resamples=100) == (0.0, 0.0, 0.0)
    one, other = paired_miou_difference(a, b, resamples=100), paired_miou_difference(b, a, resamples=100)
    assert one is not None
    assert other is not None
    assert one == pytest.approx((-other.difference, -other.high, -other.low), abs=1e-12)


def test_what_does_not_exist_is_none() -> None:
    nothing, empty = np.zeros((0, 3, 3), np.int64), np.zeros((4, 3, 4), np.int64)
    for matrices in (nothing, empty):
        assert confusion_intervals(matrices) == dict.fromkeys(["miou", "pixel_accuracy", "fwiou"])
        assert paired_miou_difference(matrices, matrices) is None
    assert loss_interval(np.zeros(0), np.zeros(0, np.int64)) is None
    assert loss_interval(np.zeros(3), np.zeros(3, np.int64)) is None
    for wrong in (math.nan, math.inf):
        assert loss_interval(np.array([1.0, wrong]), np.array([4, 4])) is None


def test_a_single_image_has_no_interval() -> None:
    """It says nothing of how images differ."""
    matrix = draw(np.random.default_rng(0), 2)
    assert confusion_intervals(matrix[:1], resamples=50) == dict.fromkeys(["miou", "pixel_accuracy", "fwiou"])
    assert None not in confusion_intervals(matrix, resamples=50).values()
    assert loss_interval(np.array([3.0]), np.array([6]), resamples=50) is None
    assert loss_interval(np.array([3.0, 3.0]), np.array([6, 6]), resamples=50) == (0.5, 0.5)


def test_images_that_do_not_fit_raise() -> None:
    with pytest.raises(ValueError, match="the same images twice"):
        paired_miou_difference(np.ones((2, 3, 3), np.int64), np.ones((3, 3, 3), np.int64))
