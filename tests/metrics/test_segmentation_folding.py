"""IoU bins and folded classes: against the published tables, and a loop over pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import published_tables as published
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.metrics.class_mappings import ClassMapping, mappings_for
from visionjobs.metrics.segmentation import SegmentationResult, class_scores, folded, iou_bins, mean, summary

ABS = 1e-9


@pytest.mark.parametrize(
    ("table", "miou", "bins"),
    [
        (published.SEGNET, 0.2409, published.SEGNET_BINS),
        (published.DEEPLAB, 0.4151, published.DEEPLAB_BINS),
    ],
    ids=["segnet", "deeplab"],
)
def test_the_published_tables_give_the_published_means_and_bins(
    table: dict[str, published.Column], miou: float, bins: published.Bins
) -> None:
    # the tables and the means are rounded to 4 digits each, so that a mean can be off by one in the last
    found = mean(table["iou"])
    assert found is not None
    assert round(found, 4) == miou
    ours = iou_bins(published.per_class(table))
    assert [one["classes"] for one in ours] == [one[0] for one in bins]
    for key, at in (("precision", 1), ("recall", 2)):
        for one, expected in zip(ours, bins, strict=True):
            assert one[key] == (None if expected[at] is None else pytest.approx(expected[at], abs=6e-5))


@pytest.mark.parametrize(("hits", "union", "bin_number"), [
    (0, 7, 0), (1, 10, 1), (99, 1000, 0), (3, 10, 3), (2999, 10_000, 2), (6, 20, 3), (7, 10, 7), (21, 30, 7), (1, 1, 9),
    (9, 10, 9), (899, 1000, 8), (123_456 * 3, 1_234_560, 3),
])  # fmt: skip
def test_a_bin_holds_its_lower_bound(hits: int, union: int, bin_number: int) -> None:
    matrix = np.array([[hits, union - hits], [0, 5]])
    per_class = summary(matrix, ["a", "b"])["per_class"]
    found = iou_bins({"a": per_class["a"]})
    assert [one["classes"] for one in found] == [int(k == bin_number) for k in range(10)]
    assert found[bin_number]["recall"] == pytest.approx(hits / union, abs=ABS)
    assert (found[bin_number]["low"], found[bin_number]["high"]) == (bin_number / 10, (bin_number + 1) / 10)


def test_values_that_do_not_exist_are_left_out_of_a_bins_means() -> None:
    classes: dict[str, dict[str, Any]] = {
        "never predicted": {"iou": 0.0, "precision": None, "recall": 0.0},
        "poor": {"iou": 0.05, "precision": 0.4, "recall": 0.1},
        "absent": {"iou": None, "precision": None, "recall": None},
        "alone": {"iou": 0.2, "precision": None, "recall": 0.2},
    }
    found = iou_bins(classes)
    assert (found[0]["classes"], found[0]["precision"], found[0]["recall"]) == (2, 0.4, pytest.approx(0.05))
    assert (found[2]["classes"], found[2]["precision"], found[2]["recall"]) == (1, None, 0.2)
    assert sum(one["classes"] for one in found) == 3


def slow_summary(truth: np.ndarray, predicted: np.ndarray, mapping: ClassMapping) -> dict[str, Any]:
    """IoU, precision and recall of the classes of a mapping, pixel by pixel."""
    pairs = [(mapping.numbers[t], mapping.numbers[p]) for t, p in zip(truth.ravel(), predicted.ravel(), strict=True)]
    pairs = [pair for pair in pairs if pair[0] is not None]
    scores = {}
    for j, name in enumerate(mapping.names):
        hits = sum(t == j and p == j for t, p in pairs)
        false_positives = sum(t != j and p == j for t, p in pairs)
        misses = sum(t == j and p != j for t, p in pairs)
        there = hits + misses
        scores[name] = {
            "iou": hits / (hits + false_positives + misses) if there else None,
            "precision": hits / (hits + false_positives) if there and hits + false_positives else None,
            "recall": hits / there if there else None,
            "pixels": there,
        }
    return {"pixel_accuracy": sum(t == p for t, p in pairs) / len(pairs) if pairs else None, "per_class": scores}


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31 - 1), skill=st.sampled_from([0.0, 0.5, 0.9]), kinds=st.integers(1, 32))
def test_folding_agrees_with_a_loop_over_pixels(seed: int, skill: float, kinds: int) -> None:
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(32)[:kinds]
    truth = chosen[generator.integers(kinds, size=(9, 11))]
    predicted = np.where(generator.random((9, 11)) < skill, truth, generator.integers(32, size=(9, 11)))
    matrix = np.bincount((truth * 32 + predicted).ravel(), minlength=1024).reshape(32, 32)
    for mapping in mappings_for(list(CAMVID)).values():
        expected = slow_summary(truth, predicted, mapping)
        found = summary(folded(matrix, mapping), mapping.names)
        assert found["pixel_accuracy"] == pytest.approx(expected["pixel_accuracy"], abs=ABS)
        for name, scores in expected["per_class"].items():
            assert {key: found["per_class"][name][key] for key in scores} == pytest.approx(scores, abs=ABS)
        assert found["miou"] == mean([scores["iou"] for scores in found["per_class"].values()])


def test_void_truth_is_ignored_and_a_void_prediction_is_a_miss() -> None:
    mapping = ClassMapping(("a", "b"), (0, 0, 1, None))  # two classes folded into a, one into b, the last ignored
    matrix = np.array([[5, 2, 1, 4], [1, 3, 0, 0], [0, 2, 6, 2], [50, 60, 70, 80]])
    found = folded(matrix, mapping)
    assert found.tolist() == [[11, 1, 4], [2, 6, 2]]
    a, b = class_scores(found)
    assert (a.pixels, b.pixels) == (16, 10)
    assert (a.recall, b.recall) == (11 / 16, 6 / 10)
    assert (a.precision, b.precision) == (11 / 13, 6 / 7)  # what was said of ignored pixels is no false positive
    assert (a.iou, b.iou) == (11 / (16 + 2), 6 / (10 + 1))
    assert summary(found, mapping.names)["pixel_accuracy"] == 17 / 26


def test_the_matrix_is_folded_before_anything_is_divided() -> None:
    # confusing classes of one group costs nothing there
    matrix = np.zeros((32, 32), np.int64)
    car, truck = list(CAMVID).index("Car"), list(CAMVID).index("Truck_Bus")
    matrix[car, truck], matrix[truck, car] = 10, 20
    result = SegmentationResult(matrix, tuple(CAMVID), None, 1).to_dict()
    assert (result["miou"], result["camvid31"]["miou"], result["camvid11"]["miou"]) == (0.0, 0.0, 1.0)
    assert result["camvid11"]["per_class"]["Car"]["pixels"] == 30


def test_many_matrices_are_folded_at_once() -> None:
    matrices = np.random.default_rng(0).integers(1000, size=(4, 32, 32))
    for mapping in mappings_for(list(CAMVID)).values():
        found = folded(matrices, mapping)
        assert found.dtype == np.int64
        assert np.array_equal(found, [folded(matrix, mapping) for matrix in matrices])
        assert np.array_equal(found.sum(axis=0), folded(matrices.sum(axis=0), mapping))
