"""Boundary F-score: against distance transforms, by hand, and at the edges of images and of tolerances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from visionjobs.metrics.boundary import BITS, PREDICTED, TRUE, boundary_counts, boundary_scores, tolerance

CROSS = ndimage.generate_binary_structure(2, 1)


def tensor(mask: np.ndarray | list[list[int]]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(mask, np.uint8))[None]


def edges(of_class: np.ndarray) -> np.ndarray:
    """bool [H, W]: those pixels of the class that its erosion takes away; beyond the image the class goes on."""
    return of_class & ~ndimage.binary_erosion(of_class, CROSS, border_value=1)


def near(some: np.ndarray, others: np.ndarray, pixels: float) -> int:
    """How many of some are within so many pixels of one of the others."""
    if not others.any():
        return 0
    return int((some & (ndimage.distance_transform_edt(~others) <= pixels)).sum())


def slow_counts(truth: np.ndarray, predicted: np.ndarray, num_classes: int, pixels: float) -> np.ndarray:
    """As boundary_counts, of one image, class by class."""
    rows = []
    for k in range(num_classes):
        said, true = edges(predicted == k), edges(truth == k)
        rows.append([said.sum(), near(said, true, pixels), true.sum(), near(true, said, pixels)])
    return np.array(rows, np.int64)


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Truths and predictions uint8 [b, h, w] of blocks or single pixels, and the number of classes."""
    generator = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    number, block = draw(st.sampled_from([1, 2, 5, 31, 32, 33, 64, 70, 256])), draw(st.sampled_from([1, 4, 9]))
    b, h, w = draw(st.integers(1, 3)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    kinds = generator.permutation(number)[: draw(st.integers(1, 6))]
    coarse = kinds[generator.integers(len(kinds), size=(b, h // block + 1, w // block + 1))]
    truth = coarse.repeat(block, axis=1).repeat(block, axis=2)[:, :h, :w]
    moved = np.roll(truth, draw(st.integers(0, 3)), axis=draw(st.sampled_from([1, 2])))
    wrong = generator.random((b, h, w)) < draw(st.sampled_from([0.0, 0.02, 0.5]))
    predicted = np.where(wrong, generator.integers(number, size=(b, h, w)), moved)
    return truth.astype(np.uint8), predicted.astype(np.uint8), number


@settings(max_examples=60)
@given(data=masks(), pixels=st.sampled_from([0.0, 0.9, 1.0, math.sqrt(2), 2.0, math.sqrt(13), 4.5, 5.0]))
def test_agrees_with_distance_transforms(data: tuple[np.ndarray, np.ndarray, int], pixels: float) -> None:
    truth, predicted, number = data
    found = boundary_counts(torch.from_numpy(truth), torch.from_numpy(predicted), number, pixels)
    assert (found.dtype, found.shape) == (torch.int64, (len(truth), number, 4))
    for i in range(len(truth)):
        assert np.array_equal(found[i], slow_counts(truth[i], predicted[i], number, pixels))


def test_a_hand_worked_case() -> None:
    # an edge between two halves, predicted two columns to the right
    truth, predicted = np.zeros((5, 10), int), np.zeros((5, 10), int)
    truth[:, 4:], predicted[:, 6:] = 1, 1
    # class 0 ends at column 3 and is predicted to end at 5; class 1 begins at 4 and is predicted to begin at 6
    for pixels, hits in ((0, 0), (1, 0), (1.99, 0), (2, 5), (3, 5)):
        assert boundary_counts(tensor(truth), tensor(predicted), 3, pixels).tolist() == [
            [[5, hits, 5, hits], [5, hits, 5, hits], [0, 0, 0, 0]]
        ]


def test_a_single_pixel_and_its_hole() -> None:
    truth = np.zeros((5, 5), int)
    truth[2, 2] = 1
    predicted = np.zeros((5, 5), int)
    predicted[3, 3] = 1  # a diagonal step: 1.41 pixels away
    counts = boundary_counts(tensor(truth), tensor(predicted), 2, 1)
    assert counts[0, 1].tolist() == [1, 0, 1, 0]
    assert counts[0, 0].tolist() == [4, 2, 4, 2]  # the four around the hole; both have two of them
    assert boundary_counts(tensor(truth), tensor(predicted), 2, 1.5)[0, 1].tolist() == [1, 1, 1, 1]


def test_the_border_of_the_image_is_no_boundary() -> None:
    truth = np.zeros((6, 7), int)
    truth[:2] = 1  # touches three borders
    counts = boundary_counts(tensor(truth), tensor(truth), 2, 2)
    assert counts.tolist() == [[[7, 7, 7, 7], [7, 7, 7, 7]]]


def test_boundaries_at_opposite_borders_are_far_apart() -> None:
    truth, predicted = np.zeros((4, 30), int), np.zeros((4, 30), int)
    truth[:, 0], predicted[:, 29] = 1, 1
    counts = boundary_counts(tensor(truth), tensor(predicted), 2, 5)
    assert counts.tolist() == [[[4, 0, 4, 0], [4, 0, 4, 0]]]


def test_a_class_that_fills_the_image_has_no_boundary() -> None:
    full = np.full((4, 4), 1)
    counts = boundary_counts(tensor(full), tensor(full), 2, 3)
    assert int(counts.sum()) == 0
    found = boundary_scores(counts[0].numpy(), ["a", "b"])
    nothing = {"f": None, "precision": None, "recall": None, "pixels": 0}
    assert found == {"f": None, "per_class": {"a": nothing, "b": nothing}}


@pytest.mark.parametrize("pixels", [0, 1.5, 4.5])
@pytest.mark.parametrize("number", [5, BITS, 3 * BITS + 7, 256])
def test_a_prediction_that_is_the_truth_scores_one(number: int, pixels: float) -> None:
    truth = np.random.default_rng(0).integers(number, size=(3, 20, 25)).astype(np.uint8)
    counts = boundary_counts(torch.from_numpy(truth), torch.from_numpy(truth), number, pixels).sum(0).numpy()
    found = boundary_scores(counts, [str(k) for k in range(number)])
    assert found["f"] == 1.0
    assert {scores["f"] for scores in found["per_class"].values()} <= {1.0, None}


def test_a_tolerance_larger_than_the_image_matches_all() -> None:
    truth, predicted = np.array([[0, 1, 1]]), np.array([[1, 1, 0]])
    assert boundary_counts(tensor(truth), tensor(predicted), 2, 9).tolist() == [[[1, 1, 1, 1]] * 2]


def test_images_are_counted_apart_and_add_up() -> None:
    truth = np.random.default_rng(1).integers(4, size=(6, 9, 8)).astype(np.uint8)
    predicted = np.random.default_rng(2).integers(4, size=(6, 9, 8)).astype(np.uint8)
    whole = boundary_counts(torch.from_numpy(truth), torch.from_numpy(predicted), 4, 1)
    alone = [boundary_counts(tensor(truth[i]), tensor(predicted[i]), 4, 1)[0] for i in range(6)]
    assert torch.equal(whole, torch.stack(alone))


def test_truth_and_prediction_change_places() -> None:
    truth = np.random.default_rng(3).integers(3, size=(2, 9, 8)).astype(np.uint8)
    predicted = np.random.default_rng(4).integers(3, size=(2, 9, 8)).astype(np.uint8)
    one = boundary_counts(torch.from_numpy(truth), torch.from_numpy(predicted), 3, 1)
    other = boundary_counts(torch.from_numpy(predicted), torch.from_numpy(truth), 3, 1)
    assert torch.equal(one[..., PREDICTED : PREDICTED + 2], other[..., TRUE : TRUE + 2])


def test_scores_by_hand() -> None:
    # predicted, of them near, true, of them near
    counts = np.array([[10, 8, 20, 10], [0, 0, 5, 0], [4, 0, 0, 0], [6, 0, 3, 0]])
    found = boundary_scores(counts, ["a", "never predicted", "absent", "far"])
    assert found["per_class"]["a"] == pytest.approx(
        {"f": 2 * 0.8 * 0.5 / 1.3, "precision": 0.8, "recall": 0.5, "pixels": 20}
    )
    assert found["per_class"]["never predicted"] == {"f": 0.0, "precision": None, "recall": 0.0, "pixels": 5}
    assert found["per_class"]["absent"] == {"f": None, "precision": None, "recall": None, "pixels": 0}
    assert found["per_class"]["far"] == {"f": 0.0, "precision": 0.0, "recall": 0.0, "pixels": 3}
    assert found["f"] == pytest.approx((2 * 0.8 * 0.5 / 1.3) / 3)


def test_the_tolerance_is_a_share_of_the_diagonal() -> None:
    assert tolerance(360, 480) == pytest.approx(4.5)
    assert tolerance(96, 128) == pytest.approx(1.2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_counts_on_a_gpu_are_those_of_the_cpu_and_never_make_the_host_wait() -> None:
    truth, predicted = (torch.randint(70, (2, 60, 80), dtype=torch.uint8) for _ in range(2))
    there = [masks.cuda() for masks in (truth, predicted)]
    boundary_counts(*there, 70, 3.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = boundary_counts(*there, 70, 3.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found.cpu(), boundary_counts(truth, predicted, 70, 3.0))
