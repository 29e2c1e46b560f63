"""Segmentation metrics against scikit-learn, over workers, and at their edges."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.metrics.segmentation import (
    IGNORED,
    Counts,
    SegmentationResult,
    class_scores,
    confusion,
    image_nll,
    new_counts,
    occurrences,
    update,
)

ABS = 1e-9


def names(k: int) -> list[str]:
    return [f"class {i}" for i in range(k)]


def count(logits: torch.Tensor, masks: torch.Tensor, targets: torch.Tensor, batch: int = 3) -> Counts:
    counts = new_counts(logits.shape[1], "cpu")
    for start in range(0, len(masks), batch):
        part = slice(start, start + batch)
        update(counts, logits[part], masks[part], targets[part])
    return counts


def result_of(
    logits: torch.Tensor, masks: torch.Tensor, targets: torch.Tensor | None = None, workers: int = 1
) -> SegmentationResult:
    """The result as `workers` workers make it: each counts its own images (rank, rank + workers, ...)."""
    targets = masks.long() if targets is None else targets
    parts = [count(logits[rank::workers], masks[rank::workers], targets[rank::workers]) for rank in range(workers)]
    summed = {key: torch.stack([part[key] for part in parts]).sum(0) for key in parts[0]}
    return SegmentationResult.from_counts(summed, names(logits.shape[1]))


def one_hot(predicted: torch.Tensor, k: int) -> torch.Tensor:
    """Logits [b, K, H, W] of 4 for the predicted class and 0 for the others."""
    return torch.nn.functional.one_hot(predicted.long(), k).permute(0, 3, 1, 2).float() * 4


@st.composite
def images(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [n, k, h, w] and masks uint8 [n, h, w], in which classes are often absent or never predicted."""
    k, n = draw(st.integers(2, 9)), draw(st.integers(1, 7))
    h, w, seed = draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(0, 2**31 - 1))
    generator = torch.Generator().manual_seed(seed)
    present = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k, unique=True))
    masks = torch.tensor(present)[torch.randint(len(present), (n, h, w), generator=generator)]
    logits = torch.randn((n, k, h, w), generator=generator) * draw(st.sampled_from([0.1, 1.0, 8.0]))
    logits += one_hot(masks, k) * draw(st.sampled_from([0.0, 0.5, 5.0]))
    logits = logits.round() if draw(st.booleans()) else logits  # equal logits
    return logits.clamp(-16, 16), masks.to(torch.uint8)


@pytest.mark.parametrize("workers", [1, 2, 5])
@settings(max_examples=40)
@given(data=images())
def test_agrees_with_scikit_learn(workers: int, data: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, masks = data
    k, truth, predicted = logits.shape[1], masks.numpy().ravel(), logits.numpy().argmax(1).ravel()
    present = sorted(set(truth.tolist()))
    result = result_of(logits, masks, workers=workers)
    found = result.to_dict()

    assert np.array_equal(result.matrix, sk.confusion_matrix(truth, predicted, labels=range(k)))
    assert found["images"] == len(masks)
    assert found["pixels"] == len(truth)
    assert found["pixel_accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted), abs=ABS)
    for key, average in (("miou", "macro"), ("fwiou", "weighted")):
        expected = sk.jaccard_score(truth, predicted, labels=present, average=average, zero_division=0)
        assert found[key] == pytest.approx(expected, abs=ABS), key
    expected = sk.recall_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert found["mean_accuracy"] == pytest.approx(expected, abs=ABS)
    expected = sk.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert found["mean_dice"] == pytest.approx(expected, abs=ABS)

    scores = sk.precision_recall_fscore_support(truth, predicted, labels=range(k), zero_division=0)
    jaccard = sk.jaccard_score(truth, predicted, labels=range(k), average=None, zero_division=0)
    for i, (precision, recall, f1, support) in enumerate(zip(*scores, strict=True)):
        ours = found["per_class"][f"class {i}"]
        if i not in present:
            assert ours == dict.fromkeys(["accuracy", "iou", "dice", "precision", "recall"]) | {"pixels": 0}
            continue
        expected = {"accuracy": recall, "iou": jaccard[i], "dice": f1, "recall": recall, "pixels": support}
        assert {key: ours[key] for key in expected} == pytest.approx(expected, abs=ABS)
        if i in predicted:
            assert ours["precision"] == pytest.approx(precision, abs=ABS)
        else:
            assert ours["precision"] is None

    probabilities = torch.softmax(logits.double(), 1).permute(0, 2, 3, 1).reshape(-1, k).numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    assert found["loss"] == pytest.approx(sk.log_loss(truth, probabilities, labels=range(k)), abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("workers", [2, 5, 50])
def test_any_number_of_workers_gives_the_same_numbers(workers: int) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn((11, 6, 5, 4), generator=generator)
    masks = torch.randint(5, (11, 5, 4), generator=generator).to(torch.uint8)
    one, many = result_of(logits, masks), result_of(logits, masks, workers=workers)
    assert many.loss == pytest.approx(one.loss, rel=1e-12)
    assert {**many.to_dict(), "loss": 0} == {**one.to_dict(), "loss": 0}


def test_a_hand_worked_case() -> None:
    # truth a a a / b b c, predicted a a b / b c c; a fourth class is never there and never predicted
    masks = torch.tensor([[[0, 0, 0], [1, 1, 2]]], dtype=torch.uint8)
    found = result_of(one_hot(torch.tensor([[[0, 0, 1], [1, 2, 2]]]), 4), masks).to_dict()
    assert found["confusion_matrix"] == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    iou = [2 / 3, 1 / 3, 1 / 2]
    assert [found["per_class"][f"class {i}"]["iou"] for i in range(4)] == pytest.approx([*iou, None], abs=ABS)
    assert found["miou"] == pytest.approx(sum(iou) / 3, abs=ABS)
    assert found["fwiou"] == pytest.approx((3 * iou[0] + 2 * iou[1] + iou[2]) / 6, abs=ABS)
    assert found["pixel_accuracy"] == pytest.approx(4 / 6, abs=ABS)
    assert found["mean_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, abs=ABS)
    assert found["mean_dice"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3, abs=ABS)
    assert found["per_class"]["class 1"] == pytest.approx(
        {"accuracy": 0.5, "iou": 1 / 3, "dice": 0.5, "precision": 0.5, "recall": 0.5, "pixels": 2}, abs=ABS
    )
    assert found["per_class"]["class 3"]["pixels"] == 0
    hit = math.log(math.exp(4) + 3) - 4
    assert found["loss"] == pytest.approx((4 * hit + 2 * (hit + 4)) / 6, rel=1e-6)


def test_a_class_without_pixels_is_none_even_when_predicted() -> None:
    masks = torch.zeros((1, 2, 2), dtype=torch.uint8)
    found = result_of(one_hot(torch.tensor([[[0, 0], [0, 2]]]), 3), masks).to_dict()
    assert set(found["per_class"]["class 2"].values()) == {None, 0}
    assert found["miou"] == pytest.approx(3 / 4)
    assert found["confusion_matrix"][0] == [3, 0, 1]


def test_a_class_that_is_never_predicted_has_no_precision_and_an_iou_of_zero() -> None:
    masks = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    scores = result_of(one_hot(torch.zeros((1, 1, 2)), 2), masks).to_dict()["per_class"]["class 1"]
    assert scores == {"accuracy": 0.0, "iou": 0.0, "dice": 0.0, "precision": None, "recall": 0.0, "pixels": 1}


def test_ignored_classes_are_left_out_of_the_loss_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn((4, 3, 5, 6), generator=generator)
    masks = torch.randint(3, (4, 5, 6), generator=generator).to(torch.uint8)
    targets = torch.where(masks == 1, IGNORED, masks.long())
    found, whole = result_of(logits, masks, targets), result_of(logits, masks)
    assert np.array_equal(found.matrix, whole.matrix)
    log_probabilities = torch.log_softmax(logits.double(), 1)
    terms = [
        -float(log_probabilities[i, int(masks[i, y, x]), y, x])
        for i, y, x in np.ndindex(4, 5, 6)
        if masks[i, y, x] != 1
    ]  # fmt: skip
    assert found.loss == pytest.approx(sum(terms) / len(terms), rel=1e-6)
    sums, pixels = image_nll(logits, targets)
    assert sums.dtype == torch.float64
    assert pixels.tolist() == [(masks[i] != 1).sum().item() for i in range(4)]
    assert float(sums.sum() / pixels.sum()) == pytest.approx(found.loss, rel=1e-12)


def test_only_ignored_pixels_give_no_loss_but_the_other_numbers() -> None:
    masks = torch.zeros((2, 3, 3), dtype=torch.uint8)
    found = result_of(one_hot(masks, 2), masks, torch.full((2, 3, 3), IGNORED)).to_dict()
    assert found["loss"] is None
    assert found["miou"] == 1.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_any_floating_dtype_gives_the_numbers_of_those_very_logits(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((3, 5, 8, 9), generator=generator).to(dtype)
    masks = torch.randint(5, (3, 8, 9), generator=generator).to(torch.uint8)
    found = result_of(logits, masks)
    expected = torch.nn.functional.cross_entropy(logits.double(), masks.long()).item()
    assert found.loss == pytest.approx(expected, abs=1e-6)
    predicted = logits.double().numpy().argmax(1).ravel()
    assert np.array_equal(found.matrix, sk.confusion_matrix(masks.numpy().ravel(), predicted, labels=range(5)))


def test_of_equal_logits_the_first_class_is_the_prediction() -> None:
    assert result_of(torch.zeros((1, 4, 6, 6)), torch.full((1, 6, 6), 2, dtype=torch.uint8)).matrix[2, 0] == 36


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_counted_but_have_no_loss(wrong: float) -> None:
    logits = one_hot(torch.tensor([[[0, 1], [1, 0]]]), 2)
    logits[0, 1, 0, 0] = wrong  # the largest logit is the first that is not a number
    result = result_of(logits, torch.tensor([[[0, 1], [1, 0]]], dtype=torch.uint8))
    assert result.loss is None
    assert result.to_dict()["pixel_accuracy"] == 0.75
    json.dumps(result.to_dict(), allow_nan=False)


def test_no_images_at_all() -> None:
    found = SegmentationResult.from_counts(new_counts(2, "cpu"), ["a", "b"]).to_dict()
    assert [found[key] for key in ("loss", "pixel_accuracy", "mean_accuracy", "miou", "mean_dice", "fwiou")] == [
        None
    ] * 6
    assert (found["pixels"], found["images"]) == (0, 0)
    assert all(one["classes"] == 0 and one["precision"] is None for one in found["iou_bins"])


def test_the_dict_has_the_documented_keys_and_is_strict_json() -> None:
    masks = torch.zeros((1, 2, 2), dtype=torch.uint8)
    logits, means = one_hot(masks, 32), ["pixel_accuracy", "mean_accuracy", "miou", "mean_dice", "fwiou", "pixels"]
    found = SegmentationResult.from_counts(count(logits, masks, masks.long()), list(CAMVID)).to_dict()
    assert list(found) == [
        "loss", *means, "per_class", "images", "iou_bins", "camvid11", "camvid31", "confusion_matrix",
    ]  # fmt: skip
    assert list(found["camvid11"]) == list(found["camvid31"]) == [*means, "per_class"]
    assert (len(found["camvid11"]["per_class"]), len(found["camvid31"]["per_class"])) == (11, 31)
    assert list(found["per_class"]["Void"]) == ["accuracy", "iou", "dice", "precision", "recall", "pixels"]
    assert list(found["iou_bins"][0]) == ["low", "high", "classes", "precision", "recall"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert not {"camvid11", "camvid31"} & result_of(logits, masks).to_dict().keys()


@pytest.mark.parametrize("number", [2, 33, 200, 256])
def test_counts_are_those_of_the_uint8_masks_whatever_the_number_of_classes(number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    masks, predicted = (torch.randint(number, (3, 20, 20), generator=generator).to(torch.uint8) for _ in range(2))
    found = confusion(masks, predicted, number)
    assert (found.dtype, found.shape) == (torch.int64, (3, number, number))
    for i in range(3):
        expected = sk.confusion_matrix(masks[i].ravel(), predicted[i].ravel(), labels=range(number))
        assert np.array_equal(found[i], expected)


def test_counts_go_on_where_int32_and_float32_would_stop() -> None:
    counts = new_counts(2, "cpu")
    counts["confusion"][0, 0] += 2**40
    counts["nll_sum"] += 2.0**24
    update(counts, torch.zeros(1, 2, 1, 1), torch.zeros((1, 1, 1), dtype=torch.uint8), torch.zeros((1, 1, 1)).long())
    assert int(counts["confusion"][0, 0]) == 2**40 + 1
    assert float(counts["nll_sum"]) - 2**24 == pytest.approx(math.log(2), abs=1e-6)
    matrix = np.array([[2**61, 2**60], [2**60, 2**61]])
    assert class_scores(matrix)[0].iou == pytest.approx(1 / 2, abs=ABS)


def test_a_class_number_that_is_none_of_the_models_raises() -> None:
    masks = torch.full((2, 2, 2), 3, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="out of bounds"):
        confusion(masks, torch.zeros_like(masks), 3)
    with pytest.raises(RuntimeError, match="out of bounds"):
        occurrences(torch.tensor([[0, -1], [0, 0]]), 3)
    with pytest.raises(IndexError):
        update(new_counts(3, "cpu"), torch.zeros(2, 3, 2, 2), masks, masks.long())


def test_logits_that_require_grad_leave_no_graph() -> None:
    counts, masks = new_counts(2, "cpu"), torch.zeros((1, 2, 2), dtype=torch.uint8)
    update(counts, torch.zeros((1, 2, 2, 2), requires_grad=True), masks, masks.long())
    assert not counts["nll_sum"].requires_grad


@pytest.mark.parametrize("wrong", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_class_names_must_fit(wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="different class names"):
        SegmentationResult.from_counts(new_counts(2, "cpu"), wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_update_never_makes_the_host_wait() -> None:
    counts = new_counts(32, "cuda")
    logits = torch.randn((2, 32, 60, 80), device="cuda", dtype=torch.bfloat16)
    masks = torch.randint(32, (2, 60, 80), device="cuda", dtype=torch.uint8)
    update(counts, logits, masks, masks.long())  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        update(counts, logits, masks, masks.long())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(counts["confusion"].sum()) == 2 * 2 * 60 * 80
