"""Classification metrics against scikit-learn, split over workers, and at their edges."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from visionjobs.metrics.calibration import bin_numbers, reliability
from visionjobs.metrics.classification import ClassificationResult, Counts, _bin_numbers, new_counts, update


def names(k: int) -> list[str]:
    return [f"class {i}" for i in range(k)]


def count(logits: torch.Tensor, labels: torch.Tensor, batch: int = 7) -> Counts:
    counts = new_counts(logits.shape[1], "cpu")
    for start in range(0, len(labels), batch):
        update(counts, logits[start : start + batch], labels[start : start + batch])
    return counts


def add(parts: list[Counts]) -> Counts:
    return {key: torch.stack([part[key] for part in parts]).sum(0) for key in parts[0]}


def result_of(logits: torch.Tensor, labels: torch.Tensor, workers: int = 1) -> ClassificationResult:
    """The result as `workers` workers make it: each counts its own samples (rank, rank + workers, ...)."""
    parts = [count(logits[rank::workers], labels[rank::workers]) for rank in range(workers)]
    return ClassificationResult.from_counts(add(parts), names(logits.shape[1]))


def on_an_edge(confidence: np.ndarray) -> bool:
    """Where rounding alone decides between two bins, we and scikit-learn may differ."""
    return bool((abs(confidence * 15 - (confidence * 15).round()) < 1e-9).any())


def close(found: ClassificationResult, expected: ClassificationResult) -> None:
    """The same, but for the rounding of the sums of floats."""
    assert found.nll == pytest.approx(expected.nll, rel=1e-12)
    assert found.ece == pytest.approx(expected.ece, abs=1e-12)
    for one, other in zip(found.reliability, expected.reliability, strict=True):
        assert one.to_dict() == pytest.approx(other.to_dict(), abs=1e-12)
    floats = {"nll": 0, "ece": 0, "calibration": 0}
    assert {**found.to_dict(), **floats} == {**expected.to_dict(), **floats}


def one_hot_logits(predictions: list[int], k: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predictions), k).float() * 4


@st.composite
def samples(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [n, k] and labels [n]; small n and skewed labels, so that classes are often absent or never predicted."""
    k, n, seed = draw(st.integers(2, 8)), draw(st.integers(1, 60)), draw(st.integers(0, 2**31 - 1))
    generator = torch.Generator().manual_seed(seed)
    present = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k, unique=True))
    labels = torch.tensor(present)[torch.randint(len(present), (n,), generator=generator)]
    logits = torch.randn((n, k), generator=generator) * draw(st.sampled_from([0.1, 1.0, 8.0]))
    skill = draw(st.sampled_from([0.0, 2.0, 20.0]))
    logits = logits + skill * torch.nn.functional.one_hot(labels, k)
    logits = logits.round() if draw(st.booleans()) else logits  # equal logits, equal confidences
    return logits.clamp(-16, 16), labels  # scikit-learn's log_loss cuts probabilities off at 2e-16, ours does not


@pytest.mark.parametrize("workers", [1, 2, 5])
@settings(max_examples=60)
@given(data=samples())
def test_agrees_with_scikit_learn(workers: int, data: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = data
    k, truth, predicted = logits.shape[1], labels.numpy(), logits.argmax(1).numpy()
    present = sorted(set(truth.tolist()))
    ours = result_of(logits, labels, workers)

    assert ours.accuracy == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "y_pred contains classes not in y_true"
        assert ours.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(truth, predicted), abs=1e-6)
    for average, value in (("macro", ours.f1_macro), ("weighted", ours.f1_weighted)):
        expected = sk.f1_score(truth, predicted, labels=present, average=average, zero_division=0)
        assert value == pytest.approx(expected, abs=1e-6), average
    probabilities = torch.softmax(logits.double(), 1).numpy()
    probabilities /= probabilities.sum(1, keepdims=True)
    assert ours.nll == pytest.approx(sk.log_loss(truth, probabilities, labels=range(k)), abs=1e-6, rel=1e-6)
    assert np.array_equal(ours.confusion_matrix, sk.confusion_matrix(truth, predicted, labels=range(k)))

    confidence = probabilities.max(1).clip(0, 1)
    accuracy, mean = calibration_curve(truth == predicted, confidence, n_bins=15, strategy="uniform")
    filled = [one for one in ours.reliability if one.n]
    if not on_an_edge(confidence):
        assert [one.accuracy for one in filled] == pytest.approx(accuracy, abs=1e-6)
        assert [one.confidence for one in filled] == pytest.approx(mean, abs=1e-6)
        assert ours.ece == pytest.approx(np.average(abs(accuracy - mean), weights=[one.n for one in filled]), abs=1e-6)

    precision, recall, f1, support = sk.precision_recall_fscore_support(
        truth, predicted, labels=range(k), zero_division=0
    )
    for i, name in enumerate(names(k)):
        scores = ours.per_class[name]
        assert scores.support == support[i]
        if i not in present:
            assert (scores.precision, scores.recall, scores.f1) == (None, None, None)
            continue
        assert scores.recall == pytest.approx(recall[i], abs=1e-6)
        assert scores.f1 == pytest.approx(f1[i], abs=1e-6)
        if i in predicted:
            assert scores.precision == pytest.approx(precision[i], abs=1e-6)
        else:
            assert scores.precision is None


@pytest.mark.parametrize("workers", [2, 3, 5, 50])
def test_any_number_of_workers_gives_the_same_numbers(workers: int) -> None:
    generator = torch.Generator().manual_seed(3)
    logits, labels = torch.randn((41, 6), generator=generator), torch.randint(6, (41,), generator=generator)
    close(result_of(logits, labels, workers), result_of(logits, labels))


def test_a_hand_worked_case() -> None:
    # truth a a a b b c; predicted a a b b c c, and a fourth class without samples
    result = result_of(one_hot_logits([0, 0, 1, 1, 2, 2], 4), torch.tensor([0, 0, 0, 1, 1, 2]))
    assert result.confusion_matrix == ((2, 1, 0, 0), (0, 1, 1, 0), (0, 0, 1, 0), (0, 0, 0, 0))
    assert result.accuracy == pytest.approx(4 / 6)
    assert result.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    f1 = [4 / 5, 1 / 2, 2 / 3]
    assert [result.per_class[f"class {i}"].f1 for i in range(3)] == pytest.approx(f1)
    assert result.f1_macro == pytest.approx(sum(f1) / 3)
    assert result.f1_weighted == pytest.approx((3 * f1[0] + 2 * f1[1] + f1[2]) / 6)
    hit = math.log(math.exp(4) + 3) - 4
    assert result.nll == pytest.approx((4 * hit + 2 * (hit + 4)) / 6, rel=1e-6)
    # every confidence is e^4 / (e^4 + 3) = .948, in the last bin, where 4 of 6 are correct
    assert result.reliability[14].n == 6
    assert result.ece == pytest.approx(math.exp(4) / (math.exp(4) + 3) - 4 / 6, abs=1e-12)


def test_a_class_without_samples_is_none_even_when_predicted() -> None:
    result = result_of(one_hot_logits([0, 2], 3), torch.tensor([0, 0]))
    assert result.to_dict()["per_class"]["class 2"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert result.f1_macro == pytest.approx(2 / 3)  # of class 0 alone
    assert result.confusion_matrix[0] == (1, 0, 1)


def test_a_present_class_never_predicted_has_no_precision_but_f1_zero() -> None:
    scores = result_of(one_hot_logits([0, 0], 2), torch.tensor([0, 1])).per_class["class 1"]
    assert (scores.precision, scores.recall, scores.f1, scores.support) == (None, 0.0, 0.0, 1)


def test_no_samples_at_all() -> None:
    found = ClassificationResult.from_counts(new_counts(2, "cpu"), ["a", "b"]).to_dict()
    assert all(found[key] is None for key in ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "nll", "ece"))
    assert found["calibration"]["n"] == 0
    assert found["confusion_matrix"] == [[0, 0], [0, 0]]


def test_the_dict_has_the_documented_keys_and_is_strict_json() -> None:
    found = result_of(one_hot_logits([0, 1], 3), torch.tensor([0, 0])).to_dict()
    assert list(found) == [
        "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "nll", "ece", "per_class", "confusion_matrix",
        "calibration",
    ]  # fmt: skip
    assert list(found["calibration"]) == ["n", "bins", "reliability"]
    assert list(found["calibration"]["reliability"][0]) == ["low", "high", "n", "accuracy", "confidence"]
    assert list(found["per_class"]["class 0"]) == ["precision", "recall", "f1", "support"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_any_floating_dtype_gives_the_loss_of_those_very_logits(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn((500, 5), generator=generator).to(dtype), torch.arange(500) % 5
    expected = torch.nn.functional.cross_entropy(logits.double(), labels).item()
    assert result_of(logits, labels).nll == pytest.approx(expected, abs=1e-6)


def test_sums_stay_exact_where_float32_would_stop_counting() -> None:
    counts = new_counts(2, "cpu")
    counts["n"] += 2**24
    counts["nll_sum"] += 2.0**24
    counts["confusion"][0, 0] += 2**24
    update(counts, torch.zeros(1, 2), torch.tensor([0]))
    assert int(counts["n"]) == int(counts["confusion"][0, 0]) == 2**24 + 1
    assert float(counts["nll_sum"]) - 2**24 == pytest.approx(math.log(2), abs=1e-6)


def test_a_loss_that_is_not_finite_is_none() -> None:
    result = result_of(torch.tensor([[0.0, -math.inf]]), torch.tensor([1]))
    assert result.nll is None
    assert result.accuracy == 0.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_counted_but_have_no_loss_and_no_calibration(wrong: float) -> None:
    result = result_of(torch.tensor([[0.0, 4.0], [wrong, 0.0], [4.0, 0.0]]), torch.tensor([1, 0, 1]))
    assert (result.nll, result.ece) == (None, None)
    assert result.accuracy == pytest.approx(2 / 3)  # the largest logit is the first that is not a number
    assert sum(one.n for one in result.reliability) == 3
    json.dumps(result.to_dict(), allow_nan=False)


@settings(max_examples=60)
@given(data=samples(), workers=st.integers(1, 5))
def test_counts_give_the_reliability_of_the_samples(data: tuple[torch.Tensor, torch.Tensor], workers: int) -> None:
    logits, labels = data
    confidence = torch.softmax(logits.double(), 1).amax(1).numpy()
    expected = reliability(confidence, (logits.argmax(1) == labels).numpy())
    for one, other in zip(result_of(logits, labels, workers).reliability, expected, strict=True):
        assert one.to_dict() == pytest.approx(other.to_dict(), abs=1e-12)


def test_torch_and_numpy_put_a_confidence_into_the_same_bin() -> None:
    edges = np.arange(16) / 15
    around = np.concatenate([edges, np.nextafter(edges, 1), np.nextafter(edges, 0), np.linspace(0, 1, 999), [np.nan]])
    assert _bin_numbers(torch.from_numpy(around)).tolist() == bin_numbers(around).tolist()


def test_logits_that_require_grad_leave_no_graph() -> None:
    counts = new_counts(2, "cpu")
    update(counts, torch.zeros((3, 2), requires_grad=True), torch.tensor([0, 1, 1]))
    assert not counts["nll_sum"].requires_grad


@pytest.mark.parametrize("label", [-1, 3, 100])
def test_a_label_out_of_range_raises(label: int) -> None:
    with pytest.raises(IndexError):
        update(new_counts(3, "cpu"), torch.zeros(1, 3), torch.tensor([label]))


@pytest.mark.parametrize(("logits", "labels"), [((2, 4), (2,)), ((2, 3), (3,)), ((3,), (3,)), ((2, 3), (2, 1))])
def test_wrong_shapes_raise(logits: tuple[int, ...], labels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected logits"):
        update(new_counts(3, "cpu"), torch.zeros(logits), torch.zeros(labels, dtype=torch.int64))


@pytest.mark.parametrize("wrong", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_class_names_must_fit(wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="different class names"):
        ClassificationResult.from_counts(new_counts(2, "cpu"), wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_update_never_makes_the_host_wait() -> None:
    counts = new_counts(10, "cuda")
    logits, labels = torch.randn((64, 10), device="cuda", dtype=torch.bfloat16), torch.arange(64, device="cuda") % 10
    update(counts, logits, labels)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        update(counts, logits, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(counts["n"]) == 128
