"""The greedy match: worked by hand, against the rules in plain Python, and against pycocotools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detection_cases import genuine, random_case
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_box_matching import cases, detections_of, plain_match, truth_of
from test_coco import pycocotools_eval

from visionjobs.boxes import Detections, Truth
from visionjobs.metrics.box_matching import Matches, match, overlaps, ranks


def assert_plain(found: Matches, truth: Truth, detections: Detections, iou: float, max_dets: int) -> None:
    expected = plain_match(truth, detections, iou, max_dets)
    assert found.truth.tolist() == [one.truth for one in expected]
    assert found.iou.tolist() == pytest.approx([one.iou for one in expected], abs=1e-12)
    assert found.ignored.tolist() == [one.ignored for one in expected]
    assert found.evaluated.tolist() == [one.evaluated for one in expected]


def assert_pycocotools(truth: Truth, detections: Detections) -> None:
    """At IoU .5, for area range "all"; no class may have more than COCOeval's 100 detections in an image."""
    found = match(truth, detections, max_dets=len(detections))
    evaluation = pycocotools_eval(truth, detections)
    seen = 0
    for one in evaluation.evalImgs:
        if one is None or one["aRng"] != evaluation.params.areaRng[0]:
            continue
        ids = np.array(one["dtIds"], int) - 1  # its ids are our indices + 1
        seen += len(ids)
        ignored, taken = one["dtIgnore"][0].astype(bool), one["dtMatches"][0].astype(int) - 1
        assert found.ignored[ids].tolist() == ignored.tolist()
        assert found.truth[ids].tolist() == np.where(ignored, -1, taken).tolist()
    assert seen == len(detections)


def test_worked_by_hand() -> None:
    truth = truth_of([(0, 0, 10, 10), (4, 0, 10, 10), (100, 0, 10, 10)])
    found = match(
        truth,
        detections_of(
            [
                (1, 0, 10, 10),  # box 0: 90 / 110; box 1: 70 / 130
                (2, 0, 10, 10),  # 80 / 120 with both
                (0, 0, 10, 10),  # box 0: 1, but taken by a more confident one; box 1: 60 / 140
                (100, 5, 10, 10),  # box 2: 50 / 150 is not enough
            ],
            [0.8, 0.9, 0.95, 0.7],
        ),
    )
    # .95 takes box 0. .9 has box 1 left, and takes it. .8 has none left.
    assert found.truth.tolist() == [-1, 1, 0, -1]
    assert found.iou.tolist() == pytest.approx([0, 2 / 3, 1, 0])
    assert found.right.tolist() == [False, True, True, False]
    assert found.counted.all()


def test_of_two_boxes_equally_near_the_last_is_taken_as_cocoeval_does() -> None:
    truth = truth_of([(0, 0, 10, 10), (4, 0, 10, 10)])
    detections = detections_of([(2, 0, 10, 10)], [0.5])
    assert match(truth, detections).truth.tolist() == [1]
    assert_pycocotools(truth, detections)


def test_each_that_loses_its_box_takes_the_next_one_from_the_less_confident() -> None:
    # boxes 2 pixels apart; detection k lies on box k + 1, so each likes the box best that the next one lies nearer to
    number = 60
    truth = truth_of([(2.0 * g, 0, 20, 20) for g in range(number)])
    detections = detections_of(
        [(2.0 * g + 0.9, 0, 20, 20) for g in range(number)], [1 - g / 100 for g in range(number)]
    )
    twice = detections_of(
        [*detections.boxes.tolist(), *detections.boxes.tolist()], [*detections.scores, *(detections.scores - 0.001)]
    )
    for found in (detections, twice):
        assert_plain(match(truth, found), truth, found, 0.5, 100)
        assert_plain(match(truth, found, iou=0), truth, found, 0, 100)


def test_one_in_a_crowd_is_ignored_only_where_it_finds_nothing() -> None:
    truth = truth_of(
        [(0, 0, 100, 100), (0, 0, 10, 10), (0, 0, 100, 100)], crowd=[True, False, True], categories=[0, 0, 1]
    )
    detections = detections_of(
        [(0, 0, 10, 10), (0, 0, 10, 10), (95, 0, 10, 10), (94, 0, 10, 10), (50, 50, 10, 10), (50, 50, 10, 10)],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
        categories=[0, 0, 0, 0, 1, 2],
    )
    found = match(truth, detections)
    # the second finds the box taken, and is in the crowd; of the third 5 of 10 columns are inside; class 2 has no crowd
    assert found.truth.tolist() == [1, -1, -1, -1, -1, -1]
    assert found.ignored.tolist() == [False, True, True, True, True, False]
    assert found.counted.tolist() == [True, False, False, False, False, True]
    outside = match(truth, detections_of([(96, 0, 10, 10)], [0.9]))  # 4 of 10 columns
    assert outside.ignored.tolist() == [False]


def test_any_overlap_is_a_match_at_0_but_none_is_not() -> None:
    truth = truth_of([(0, 0, 10, 10), (0, 0, 0, 0)])
    found = match(truth, detections_of([(10, 0, 5, 5), (9, 9, 10, 10), (0, 0, 0, 0)], [0.9, 0.8, 0.7]), iou=0)
    assert found.truth.tolist() == [-1, 0, -1]
    assert found.iou[1] == pytest.approx(1 / 199)


def test_the_most_confident_of_an_image_over_all_classes_are_evaluated() -> None:
    truth = truth_of([(0, 0, 10, 10)] * 3, images=[0, 0, 1], categories=[0, 1, 0])
    detections = detections_of(
        [(0, 0, 10, 10)] * 5, [0.5, 0.5, 0.9, 0.5, 0.1], images=[0, 0, 0, 0, 1], categories=[0, 1, 2, 2, 0]
    )
    found = match(truth, detections, max_dets=2)
    assert found.evaluated.tolist() == [True, False, True, False, True]  # of equal ones the first
    assert found.truth.tolist() == [0, -1, -1, -1, 2]
    assert found.counted.tolist() == found.evaluated.tolist()


def test_nothing_at_all() -> None:
    nothing, one = detections_of([], []), detections_of([(0, 0, 5, 5)], [0.5])
    assert match(truth_of([(0, 0, 5, 5)]), nothing).truth.tolist() == []
    assert match(truth_of([]), one).truth.tolist() == [-1]
    assert match(truth_of([]), nothing).truth.tolist() == []


def test_ranks() -> None:
    assert ranks(np.array([3, 1, 3, 3, 1]), np.array([0.1, 0.5, 0.9, 0.1, 0.5])).tolist() == [1, 0, 0, 2, 1]
    assert ranks(np.array([], int), np.array([])).tolist() == []


@settings(max_examples=300)
@given(cases(), st.sampled_from([0.0, 0.1, 0.5, 0.75, 1.0]), st.sampled_from([1, 3, 100]))
def test_the_rules_in_plain_python(case: tuple[Truth, Detections], iou: float, max_dets: int) -> None:
    truth, detections = case
    assert_plain(match(truth, detections, iou=iou, max_dets=max_dets), truth, detections, min(iou, 1 - 1e-10), max_dets)


@settings(max_examples=50)
@given(cases(), st.sampled_from([0.2, 0.5]))
def test_one_set_of_overlaps_serves_all_thresholds_and_filters(case: tuple[Truth, Detections], iou: float) -> None:
    truth, detections = case
    found = overlaps(truth, detections, np.ones(len(detections), np.bool_))
    assert_plain(found.match(iou), truth, detections, iou, 100)
    large, wide = truth.areas >= 1000, detections.boxes[:, 2] >= 32
    kept, places = np.flatnonzero(large), np.flatnonzero(wide)
    expected = match(truth.where(large), detections.where(wide), iou=iou)
    filtered = found.among(large, wide).match(iou)
    assert filtered.truth[places].tolist() == [int(kept[g]) if g >= 0 else -1 for g in expected.truth]
    assert filtered.ignored[places].tolist() == expected.ignored.tolist()
    assert filtered.evaluated.tolist() == wide.tolist()
    assert not (filtered.right | filtered.ignored)[~wide].any()


@settings(max_examples=60)
@given(cases())
def test_pycocotools_on_small_cases(case: tuple[Truth, Detections]) -> None:
    truth, detections = case
    if len(detections):
        assert_pycocotools(truth, detections)


@pytest.mark.parametrize("seed", range(12))
def test_pycocotools_on_random_cases(seed: int) -> None:
    assert_pycocotools(*random_case(seed, side=[60, 20, 200][seed % 3], detections=150, crowd=[0.15, 0][seed % 2]))


def test_pycocotools_on_genuine_detections(test_data: Path) -> None:
    truth, detections = genuine(test_data)
    assert truth.crowd.sum() == 16
    assert_pycocotools(truth, detections)
