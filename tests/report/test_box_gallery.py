"""The images of a detection run's report: what is drawn in them, and what their captions say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from detection_summaries import detection_run
from parsed_page import figures_of, section_page

from visionjobs.box_scenes import KEY, LABEL_ERROR, WORST, BoxScenes
from visionjobs.detection_curves import KEY as CURVES
from visionjobs.errors import UserError
from visionjobs.metrics.tide import ERRORS
from visionjobs.report.box_gallery import label_errors, worst_images
from visionjobs.report.load import read_kept
from visionjobs.report.summary import RunSummary


@pytest.fixture(scope="module")
def run() -> RunSummary:
    return detection_run(n=4)


def scenes_of(run: RunSummary) -> BoxScenes:
    assert run.box_scenes is not None
    return run.box_scenes


def one_scene(run: RunSummary, kind: str = WORST, **arrays: Any) -> RunSummary:
    """One image of 240x320 px with no boxes but those given."""
    jpeg = np.frombuffer(scenes_of(run).jpeg(0), np.uint8)
    none, no_boxes = np.empty(0, np.int64), np.empty((0, 4))
    given = {
        "kinds": np.array([kind]), "paths": np.array(["street/1.jpg"]), "sizes": np.array([[240, 320]]), "jpegs": jpeg,
        "ends": np.array([len(jpeg)]), "truth_scenes": none, "truth_boxes": no_boxes, "truth_categories": none,
        "truth_missed": none.astype(bool), "truth_crowd": none.astype(bool), "scenes": none, "boxes": no_boxes,
        "categories": none, "scores": np.empty(0), "errors": none.astype(np.uint8), "suspect": none.astype(bool),
    }  # fmt: skip
    return replace(run, box_scenes=BoxScenes(**(given | arrays)))


def found(*boxes: list[float], categories: list[int], errors: list[str], scores: list[float]) -> dict[str, Any]:
    return {
        "scenes": np.zeros(len(boxes), np.int64), "boxes": np.array(boxes, np.float64),
        "categories": np.array(categories), "scores": np.array(scores),
        "errors": np.array([ERRORS.index(error) if error in ERRORS else 255 for error in errors], np.uint8),
        "suspect": np.array([True, *[False] * (len(boxes) - 1)]),
    }  # fmt: skip


def true(*boxes: list[float], categories: list[int], missed: list[bool], crowd: bool = False) -> dict[str, Any]:
    return {
        "truth_scenes": np.zeros(len(boxes), np.int64), "truth_boxes": np.array(boxes, np.float64),
        "truth_categories": np.array(categories), "truth_missed": np.array(missed),
        "truth_crowd": np.full(len(boxes), crowd),
    }  # fmt: skip


def captions(section: Any, name: str) -> list[str]:
    return [figure.caption for figure in figures_of(section) if figure.name.startswith(f"{name}_")]


def test_the_images_are_those_of_the_run(run: RunSummary) -> None:
    kinds = scenes_of(run).kinds.tolist()
    assert [figure.name for figure in figures_of(worst_images(run))] == [
        "boxes_legend", *(f"worst_{number + 1}" for number in range(kinds.count(WORST)))
    ]  # fmt: skip
    assert "at a confidence of at least 0.25" in section_page(worst_images(run)).text


def test_a_caption_counts_each_kind(run: RunSummary) -> None:
    box = [10.0, 10, 50, 50]
    told = one_scene(
        run,
        **found(box, box, box, box, box, categories=[0, 0, 2, 2, 0], errors=["none", "Cls", "Loc", "Loc", "?"],
                scores=[0.9, 0.8, 0.7, 0.6, 0.5]),
        **true(box, box, categories=[0, 3], missed=[False, True]),
    )  # fmt: skip
    assert captions(worst_images(told), "worst") == [
        "1: street/1.jpg. 1 wrong class, 2 badly placed and 1 missed; 1 right detection"
    ]


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ([10.0, 10, 50, 50], "but labelled dog (IoU 1.00)"),
        ([40.0, 10, 50, 50], "but nothing is annotated there; the nearest is dog (IoU 0.25)"),
        ([200.0, 100, 50, 50], "but nothing is annotated there"),
    ],
)
def test_a_caption_says_what_is_suspected(run: RunSummary, truth: list[float], said: str) -> None:
    boxes = found([10.0, 10, 50, 50], [150.0, 10, 50, 50], categories=[0, 2], errors=["Cls", "Bkg"], scores=[0.93, 0.6])
    told = one_scene(run, LABEL_ERROR, **boxes, **true(truth, categories=[3], missed=[True]))
    assert captions(label_errors(told), "label") == [f"1: street/1.jpg. Detected as person with 0.93, {said}"]
    assert worst_images(told) is None


def test_a_crowd_is_no_label_that_a_detection_contradicts(run: RunSummary) -> None:
    box = [10.0, 10, 50, 50]
    boxes = found(box, categories=[0], errors=["Bkg"], scores=[0.93])
    told = one_scene(run, LABEL_ERROR, **boxes, **true(box, categories=[3], missed=[False], crowd=True))
    assert captions(label_errors(told), "label")[0].endswith("but nothing is annotated there")


def test_an_image_without_any_box_is_drawn(run: RunSummary) -> None:
    assert captions(worst_images(one_scene(run)), "worst") == ["1: street/1.jpg. nothing wrong; 0 right detections"]


def test_without_images_there_are_no_sections(run: RunSummary) -> None:
    bare = replace(run, box_scenes=None)
    assert worst_images(bare) is None
    assert label_errors(bare) is None


def test_what_is_not_kept_is_empty() -> None:
    kept = read_kept("detection", "val", lambda _: None, "storage")
    assert kept["curves"] is None
    assert kept["box_scenes"] is None
    assert kept["masks"] is None
    assert kept["embeddings"] == {}


def test_kept_files_come_back(run: RunSummary) -> None:
    assert run.curves is not None
    files = {KEY: scenes_of(run).to_npz(), CURVES: run.curves.to_npz()}
    kept = read_kept("detection", "val", files.get, "storage")
    np.testing.assert_array_equal(kept["box_scenes"].scores, scenes_of(run).scores)
    np.testing.assert_array_equal(kept["curves"].precisions, run.curves.precisions)


def test_a_damaged_file_is_named() -> None:
    with pytest.raises(UserError, match=r"storage/predictions/curves\.npz"):
        read_kept("detection", "val", {CURVES: b"no arrays"}.get, "storage")
