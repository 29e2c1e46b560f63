"""Calibration of detections: worked by hand, against plain Python, and a simulation that tells D-ECE from counting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from detection_cases import genuine, random_case
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_box_matching import Box, cases, detections_of, plain_match, truth_of

from visionjobs.boxes import SIZES, Detections, Truth
from visionjobs.metrics.confidence_bins import bin_sums
from visionjobs.metrics.detection_calibration import confidence_histogram, detection_calibration, expected_by_chance

OF_CLASSES = ("d_ece", "la_ece0", "adaptive_ece", "count_ece")
NUMBERS = (*OF_CLASSES, "d_ece_filtered")
FILTERED = ("count_ece", "d_ece_filtered")

Sample = tuple[float, float]  # confidence and target


def plain_ece(samples: list[Sample], bins: int) -> float | None:
    """By asking each bin for each sample."""
    total = 0.0
    for m in range(bins):
        held = [
            (confidence, target)
            for confidence, target in samples
            if (m == 0 or confidence > m / bins + 1e-12) and (m == bins - 1 or confidence <= (m + 1) / bins + 1e-12)
        ]
        total += abs(sum(target for _, target in held) - sum(confidence for confidence, _ in held))
    return total / len(samples) if samples else None


def plain_adaptive(samples: list[Sample]) -> float | None:
    """10 parts of the samples by confidence; all with the same confidence are right to the same degree."""
    ordered = sorted(samples)
    degrees = []
    for confidence, _ in ordered:
        tied = [target for other, target in ordered if other == confidence]
        degrees.append((confidence, sum(tied) / len(tied)))
    total, parts = 0.0, min(10, len(ordered))
    for part in np.array_split(np.arange(len(ordered)), parts) if parts else []:
        total += abs(sum(degrees[k][1] - degrees[k][0] for k in part))
    return total / len(ordered) if ordered else None


def plain_counts(truth: Truth, detections: Detections, max_dets: int) -> list[tuple[int, Sample]]:
    """Class, confidence and whether it is among the first N, of the top detections of each image."""
    counts = []
    top = [d for d, found in enumerate(plain_match(truth, detections, 0.5, max_dets)) if found.evaluated]
    for image in range(len(truth.image_ids)):
        for k in range(len(truth.classes)):
            wanted = int((~truth.crowd & (truth.images == image) & (truth.categories == k)).sum())
            members = [d for d in top if detections.images[d] == image and detections.categories[d] == k]
            members.sort(key=lambda d: -detections.scores[d])
            counts += [(k, (float(detections.scores[d]), float(m < wanted))) for m, d in enumerate(members)]
    return counts


def plain_samples(truth: Truth, detections: Detections, iou: float, max_dets: int) -> list[tuple[int, Sample, float]]:
    """Class; confidence and whether it is right (of IoU 0: the overlap); area: of the detections that count."""
    return [
        (
            int(detections.categories[d]),
            (float(detections.scores[d]), float(f.truth >= 0) if iou else f.iou),
            float(area),
        )
        for d, (f, area) in enumerate(zip(plain_match(truth, detections, iou, max_dets), detections.areas, strict=True))
        if f.evaluated and not f.ignored
    ]


def of_this_size(truth: Truth, detections: Detections, size: str) -> tuple[Truth, Detections]:
    """As if no boxes of other sizes had ever been there."""
    low, high = SIZES[size]
    return (
        truth.where(np.array([low <= area < high for area in truth.areas], bool)),
        detections.where(np.array([low <= area < high for area in detections.areas], bool)),
    )


def plain_numbers(truth: Truth, detections: Detections, size: str, max_dets: int) -> dict[str, float | None]:
    """The five numbers of a size, from their definitions."""
    low, high = SIZES[size]
    samples = [s for _, s, area in plain_samples(truth, detections, 0.5, max_dets) if low <= area < high]
    touching = [(k, s) for k, s, area in plain_samples(truth, detections, 0.0, max_dets) if low <= area < high]
    known = set(truth.categories[~truth.crowd].tolist())
    errors = [error for k in known if (error := plain_ece([s for of, s in touching if of == k], 25)) is not None]
    alone = of_this_size(truth, detections, size)
    return {
        "d_ece": plain_ece(samples, 10),
        "la_ece0": sum(errors) / len(errors) if errors else None,
        "adaptive_ece": plain_adaptive(samples),
        "count_ece": plain_ece([s for _, s in plain_counts(*alone, max_dets)], 10),
        "d_ece_filtered": plain_ece([s for _, s, _ in plain_samples(*alone, 0.5, max_dets)], 10),
    }


def plain_of_class(truth: Truth, detections: Detections, k: int, max_dets: int) -> dict[str, float | None]:
    """The numbers of a class, from their definitions."""
    samples = [s for of, s, _ in plain_samples(truth, detections, 0.5, max_dets) if of == k]
    found: dict[str, float | None] = dict.fromkeys(OF_CLASSES)
    if ((truth.categories == k) & ~truth.crowd).any():
        found = {
            "d_ece": plain_ece(samples, 10),
            "la_ece0": plain_ece([s for of, s, _ in plain_samples(truth, detections, 0.0, max_dets) if of == k], 25),
            "adaptive_ece": plain_adaptive(samples),
            "count_ece": plain_ece([s for of, s in plain_counts(truth, detections, max_dets) if of == k], 10),
        }
    return {**found, "n": len(samples)}


def assert_plain(truth: Truth, detections: Detections, max_dets: int) -> None:
    found = detection_calibration(truth, detections, 0.0, max_dets=max_dets)
    cases = [(found[size], plain_numbers(truth, detections, size, max_dets), size) for size in SIZES]
    for k, name in enumerate(truth.classes):
        cases.append((found["per_class"][name], plain_of_class(truth, detections, k, max_dets), name))
    for ours, expected, what in cases:
        for name, value in expected.items():
            assert (ours[name] is None) == (value is None), (what, name)
            if value is not None:
                assert ours[name] == pytest.approx(value, abs=1e-10), (what, name)


@settings(max_examples=150)
@given(cases(), st.sampled_from([1, 2, 3, 100]))
def test_the_definitions_in_plain_python(case: tuple[Truth, Detections], max_dets: int) -> None:
    assert_plain(*case, max_dets)


def test_genuine_detections_in_plain_python(test_data: Path) -> None:
    truth, detections = genuine(test_data)
    some = truth.images < 30
    assert_plain(truth.where(some), detections.where((detections.images < 30) & (detections.scores >= 0.1)), 100)


def assert_filtered_first(truth: Truth, detections: Detections, max_dets: int) -> None:
    """What is filtered first by size is what the boxes of this size alone have without sizes."""
    found = detection_calibration(truth, detections, 0.0, max_dets=max_dets)
    for size in SIZES:
        alone = detection_calibration(*of_this_size(truth, detections, size), 0.0, max_dets=max_dets)["all"]
        for name in FILTERED:
            assert found[size][name] == pytest.approx(alone[name], abs=1e-12), (size, name)
            assert found[size]["of"][name] == alone["of"][name], (size, name)


@pytest.mark.parametrize("seed", range(8))
def test_filtered_first_is_as_if_other_sizes_were_not_there(seed: int) -> None:
    truth, detections = random_case(seed, detections=150)
    per_image = np.bincount(detections.images)
    assert (per_image > 10).any()
    for max_dets in (1, 3, 10):
        assert_filtered_first(truth, detections, max_dets)
        assert_plain(truth, detections, max_dets)


def test_filtered_first_on_genuine_detections(test_data: Path) -> None:
    truth, detections = genuine(test_data)
    for max_dets in (5, 100):
        assert_filtered_first(truth, detections, max_dets)


def test_the_most_confident_of_a_size_are_taken_after_the_others_are_dropped() -> None:
    truth = truth_of([(0, 0, 10, 10), (100, 100, 50, 50)])
    detections = detections_of([(100, 100, 50, 50), (200, 200, 50, 50), (0, 0, 10, 10)], [0.9, 0.8, 0.7])
    found = detection_calibration(truth, detections, 0.0, max_dets=2)
    # over all sizes the small one is the third, and not evaluated; of the small ones it is the first
    assert (found["small"]["d_ece"], found["small"]["of"]["d_ece"]["n"]) == (None, 0)
    assert found["small"]["d_ece_filtered"] == found["small"]["count_ece"] == pytest.approx(0.3)
    assert found["all"]["of"]["count_ece"]["n"] == found["all"]["of"]["d_ece_filtered"]["n"] == 2


def worked() -> tuple[Truth, Detections]:
    """Two images, two classes with true boxes (squares of 10 and 40 pixels), a crowd region, a class without boxes."""
    truth = truth_of(
        [(0, 0, 10, 10), (100, 0, 40, 40), (0, 0, 10, 10), (300, 300, 100, 100)],
        images=[0, 0, 1, 1],
        categories=[0, 0, 1, 1],
        crowd=[False, False, False, True],
    )
    detections = detections_of(
        [
            (0, 0, 10, 10),  # 0: right, IoU 1
            (100, 0, 40, 40),  # 1: right, IoU 1
            (100, 0, 40, 20),  # 2: IoU .5, but the box is taken
            (0, 0, 10, 5),  # 3: right, IoU .5
            (0, 5, 10, 10),  # 4: IoU 1/3, but the box is taken
            (310, 310, 20, 20),  # 5: in the crowd
            (0, 0, 10, 10),  # 6: of a class without boxes
        ],
        [0.95, 0.9, 0.85, 0.6, 0.3, 0.99, 0.55],
        images=[0, 0, 0, 1, 1, 1, 0],
        categories=[0, 0, 0, 1, 1, 1, 2],
    )
    return truth, detections


def test_d_ece_worked_by_hand() -> None:
    found = detection_calibration(*worked(), 0.25)
    # 6 count. (.9, 1]: .95, right. (.8, .9]: .9 right, .85 wrong: 1 against 1.75. (.5, .6]: .6 right, .55 wrong: 1
    # against 1.15. (.2, .3]: .3, wrong. Together .05 + .75 + .15 + .3.
    assert found["all"]["d_ece"] == pytest.approx(1.25 / 6)
    assert found["all"]["of"]["d_ece"] == {"n": 6, "bins": 10, "floor": 0.25, "max_dets": 100}
    bins = found["all"]["reliability"]
    assert [one["n"] for one in bins] == [0, 0, 1, 0, 0, 2, 0, 0, 2, 1]
    assert bins[8] == {
        "low": 0.8, "high": 0.9, "n": 2, "confidence": pytest.approx(0.875), "precision": pytest.approx(0.5),
    }  # fmt: skip
    assert (bins[0]["confidence"], bins[0]["precision"]) == (None, None)


def test_classes_worked_by_hand() -> None:
    found = detection_calibration(*worked(), 0.25)["per_class"]
    diagrams = {name: one.pop("reliability") for name, one in found.items()}
    assert found == {
        # .95 right; .9 right and .85 wrong, in one of 10 bins and in two of 25 or of equal mass. 2 boxes: as counted
        "class 0": {
            "d_ece": pytest.approx((0.05 + 0.75) / 3), "la_ece0": pytest.approx((0.05 + 0.1 + 0.85) / 3),
            "adaptive_ece": pytest.approx((0.05 + 0.1 + 0.85) / 3), "count_ece": pytest.approx((0.05 + 0.75) / 3),
            "n": 3,
        },
        # .6 right with an IoU of .5, .3 wrong. 1 box, for .99 in the crowd
        "class 1": {
            "d_ece": pytest.approx((0.4 + 0.3) / 2), "la_ece0": pytest.approx((0.1 + 0.3) / 2),
            "adaptive_ece": pytest.approx((0.4 + 0.3) / 2), "count_ece": pytest.approx((0.01 + 0.6 + 0.3) / 3),
            "n": 2,
        },
        "class 2": {**dict.fromkeys(OF_CLASSES), "n": 1},  # no true box
    }  # fmt: skip
    assert [one["n"] for one in diagrams["class 0"]] == [0, 0, 0, 0, 0, 0, 0, 0, 2, 1]
    assert diagrams["class 1"][5] == {
        "low": 0.5, "high": 0.6, "n": 1, "confidence": pytest.approx(0.6), "precision": 1,
    }  # fmt: skip
    assert diagrams["class 1"][0] == {"low": 0, "high": 0.1, "n": 0, "confidence": None, "precision": None}
    assert diagrams["class 2"] is None


def test_a_class_never_predicted_has_no_number_and_an_empty_diagram() -> None:
    truth = truth_of([(0, 0, 10, 10), (0, 0, 10, 10)], categories=[0, 1])
    found = detection_calibration(truth, detections_of([(0, 0, 10, 10)], [0.8]), 0.0)["per_class"]["class 1"]
    assert {found[name] for name in OF_CLASSES} == {None}
    assert [one["n"] for one in found["reliability"]] == [0] * 10
    assert found["n"] == 0


def test_the_other_errors_worked_by_hand() -> None:
    found = detection_calibration(*worked(), 0.25)["all"]
    # by image and class: 2 boxes for .95, .9, .85; 1 (the crowd is none) for .99, .6, .3; 0 for .55. Right are .95, .9
    # and .99. (.9, 1]: 2 against 1.94; (.8, .9]: 1 against 1.75; (.5, .6]: 0 against 1.15; (.2, .3]: 0 against .3
    assert found["count_ece"] == pytest.approx((0.06 + 0.75 + 1.15 + 0.3) / 7)
    assert found["of"]["count_ece"]["n"] == 7
    # 25 bins: each its own but .9 and .85: (.88, .92] and (.84, .88]. Class 0: |1 - .95|, |1 - .9|, |0 - .85|; class 1:
    # the target of .6 is .5, of .3 is 0
    assert found["la_ece0"] == pytest.approx(((0.05 + 0.1 + 0.85) / 3 + (0.1 + 0.3) / 2) / 2)
    assert found["of"]["la_ece0"] == {"n": 5, "bins": 25, "floor": 0.25, "max_dets": 100}
    # of equal mass: 6 samples, a bin each
    assert found["adaptive_ece"] == pytest.approx((0.05 + 0.1 + 0.85 + 0.4 + 0.55 + 0.3) / 6)
    assert found["d_ece_filtered"] == found["d_ece"]


def test_a_size_is_split_after_matching_and_filtered_before() -> None:
    # the annotation says 900 square pixels (small), the boxes have 1600 (medium): found, unless filtered first
    truth = truth_of([(0, 0, 40, 40)], areas=[900])
    found = detection_calibration(truth, detections_of([(0, 0, 40, 40)], [0.8]), 0.25)
    assert found["medium"]["d_ece"] == pytest.approx(0.2)
    assert found["medium"]["d_ece_filtered"] == found["medium"]["count_ece"] == pytest.approx(0.8)
    assert {found[size][name] for size in ("small", "large") for name in NUMBERS} == {None}
    assert found["all"]["d_ece_filtered"] == pytest.approx(0.2)


def test_a_crowd_region_of_another_size_is_gone_where_sizes_are_filtered_first() -> None:
    truth = truth_of([(0, 0, 100, 100)], crowd=[True])
    found = detection_calibration(truth, detections_of([(5, 5, 20, 20)], [0.8]), 0.25)["small"]
    assert (found["d_ece"], found["d_ece_filtered"]) == (None, pytest.approx(0.8))


def test_one_set_of_detections_stands_under_every_number() -> None:
    truth = truth_of([(0, 0, 10, 10)])
    boxes: list[Box] = [(0, 0, 10, 10), *[(100.0 * k, 0, 10, 10) for k in range(1, 150)]]
    detections = detections_of(boxes, [0.999 - k / 200 for k in range(150)], categories=[k % 3 for k in range(150)])
    found = detection_calibration(truth, detections, 0.0)
    assert {found["all"]["of"][name]["n"] for name in NUMBERS if name != "la_ece0"} == {100}
    assert found["all"]["of"]["la_ece0"]["n"] == 34  # those of the class with a true box
    assert sum(one["right"] + one["wrong"] for one in confidence_histogram(truth, detections)) == 100


def test_without_detections_or_truth_there_is_no_number() -> None:
    truth, detections = worked()
    for case in (
        (truth, detections_of([], [])),
        (truth_of([]), detections_of([], [])),
        (truth, detections_of([(300, 300, 100, 100)], [0.5], images=[1], categories=[1])),  # in the crowd
    ):
        found = detection_calibration(*case, 0.25)
        for size in SIZES:
            assert {found[size][name] for name in NUMBERS if name != "count_ece"} == {None}
            assert found[size]["expected"] == {"mean": None, "high": None}
    unknown = detection_calibration(truth_of([]), detections, 0.25)["all"]
    assert unknown["d_ece"] == pytest.approx(sum(detections.scores) / 7)
    assert unknown["la_ece0"] is None


def test_the_object_of_metrics_json(test_data: Path) -> None:
    truth, detections = genuine(test_data)
    found = detection_calibration(truth, detections, 0.05)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {*SIZES, "per_class", "recalibrated"}
    for size in SIZES:
        assert set(found[size]) == {*NUMBERS, "of", "expected", "reliability"}
        assert set(found[size]["of"]) == set(NUMBERS)
    n = {size: found[size]["of"]["d_ece"]["n"] for size in SIZES}
    assert n["all"] == n["small"] + n["medium"] + n["large"] == sum(one["n"] for one in found["per_class"].values())
    known = set(np.array(truth.classes)[truth.categories[~truth.crowd]])
    for name, one in found["per_class"].items():
        assert set(one) == {*OF_CLASSES, "n", "reliability"}
        assert (one["reliability"] is not None) == (name in known)
        assert {(one[key] is not None) for key in ("d_ece", "adaptive_ece")} == {name in known and one["n"] > 0}
    terms = [one["la_ece0"] for one in found["per_class"].values() if one["la_ece0"] is not None]
    assert sum(terms) / len(terms) == pytest.approx(found["all"]["la_ece0"])
    assert found["recalibrated"]["fitted_on"] + found["recalibrated"]["shown_on"] == 158


def test_histogram(test_data: Path) -> None:
    truth, detections = worked()
    found = confidence_histogram(truth, detections)
    assert len(found) == 20
    assert found[17] == {"low": 0.85, "high": 0.9, "right": 1, "wrong": 0}
    assert found[16] == {"low": 0.8, "high": 0.85, "right": 0, "wrong": 1}
    assert found[19] == {"low": 0.95, "high": 1.0, "right": 0, "wrong": 0}  # .99 is in the crowd
    truth, detections = genuine(test_data)
    halves = confidence_histogram(truth, detections)
    for m, one in enumerate(detection_calibration(truth, detections, 0.05)["all"]["reliability"]):
        pair = halves[2 * m : 2 * m + 2]
        assert sum(half["right"] + half["wrong"] for half in pair) == one["n"]
        if one["n"]:
            assert sum(half["right"] for half in pair) / one["n"] == pytest.approx(one["precision"])


def perfect_and_overconfident() -> tuple[Truth, Detections, Detections]:
    """The same images, categories and scores twice, N = 35,000; in A each detection is right with probability = score,
    in B with score - .2. Only the predicted boxes differ: right ones lie on a true box, the others on none."""
    random = np.random.default_rng(20_26)
    number, images, classes = 35_000, 700, 5
    scores, luck = random.uniform(0.25, 1, number), random.random(number)
    of_images, categories = np.arange(number) % images, random.integers(0, classes, number)
    places = np.c_[np.arange(number) // images * 40.0, np.zeros(number), np.full((number, 2), 35.0)]
    elsewhere = places + np.array([0, 500, 0, 0])
    right = luck < scores
    truth = truth_of(
        [tuple(box) for box in places[right]], of_images[right], categories[right], number=images, classes=classes
    )
    a, b = (
        Detections(of_images, categories, np.where(chosen[:, None], places, elsewhere), scores)
        for chosen in (right, luck < scores - 0.2)
    )
    return truth, a, b


def test_d_ece_tells_a_calibrated_detector_from_an_overconfident_one_and_counting_does_not() -> None:
    truth, a, b = perfect_and_overconfident()
    assert len(a) >= 34_600
    of_a, of_b = (detection_calibration(truth, detections, 0.25)["all"] for detections in (a, b))
    assert of_a["d_ece"] < 0.01
    assert of_b["d_ece"] > 0.15
    assert of_a["count_ece"] == pytest.approx(of_b["count_ece"], abs=1e-12)
    assert of_a["count_ece"] > 0.05  # and it does not find A to be calibrated
    assert of_a["of"]["d_ece"]["n"] == of_b["of"]["count_ece"]["n"] == len(a)
    assert of_a["d_ece"] < of_a["expected"]["high"] < of_b["d_ece"] / 10
    assert of_a["expected"] == of_b["expected"]


@pytest.mark.parametrize(("number", "mean"), [(1_000, 0.030), (10_000, 0.0095), (34_600, 0.0052)])
def test_what_chance_alone_gives(number: int, mean: float) -> None:
    scores = np.random.default_rng(number).uniform(0.25, 1, number)
    found = expected_by_chance(bin_sums(scores, np.zeros(number), 10))
    assert found["mean"] == pytest.approx(mean, rel=0.04)
    if number == 34_600:
        assert found["high"] == pytest.approx(0.0077, rel=0.04)


@pytest.mark.parametrize("low_ones", [False, True])
def test_chance_by_bin_is_chance_by_detection(low_ones: bool) -> None:
    random = np.random.default_rng(7)
    scores = random.beta(0.15, 2, 3_000).clip(0.001, 1) if low_ones else random.uniform(0, 1, 300)
    errors = [bin_sums(scores, random.random(len(scores)) < scores, 10).ece()[0] for _ in range(2_000)]
    found = expected_by_chance(bin_sums(scores, np.zeros(len(scores)), 10))
    assert found["mean"] == pytest.approx(np.mean(errors), rel=0.04)
    assert found["high"] == pytest.approx(np.quantile(errors, 0.95), rel=0.06)


def test_certain_detections_cannot_be_off_by_chance() -> None:
    assert expected_by_chance(bin_sums(np.array([1.0, 0.0]), np.array([0, 1]), 10)) == {"mean": 0, "high": 0}
