"""The report of a detection run: its numbers at each floor, what is n/a, and what it does without parts of the run."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection_summaries import detection_run, drawn_truth, run_of
from parsed_page import ParsedPage, figures_of, page_of, row_of, section_page

from visionjobs.boxes import Detections
from visionjobs.report.box_gallery import label_errors
from visionjobs.report.build import build_page
from visionjobs.report.class_aps import class_aps
from visionjobs.report.confidences import confidences
from visionjobs.report.detection import METRICS, REPORT, remarks, tiles
from visionjobs.report.detection_results import detection_results
from visionjobs.report.html import render
from visionjobs.report.object_sizes import object_sizes
from visionjobs.report.page import Page
from visionjobs.report.provenance import provenance
from visionjobs.report.summary import RunSummary
from visionjobs.report.tide_errors import tide_errors
from visionjobs.report.training import training

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def run() -> RunSummary:
    return detection_run()


@pytest.fixture(scope="module")
def built(run: RunSummary) -> Page:
    return build_page(run)


@pytest.fixture(scope="module")
def page(built: Page) -> ParsedPage:
    return ParsedPage(render(built))


def nothing_found() -> Detections:
    none = np.empty(0, np.int64)
    return Detections(none, none, np.empty((0, 4)), np.empty(0))


def with_values(run: RunSummary, **values: Any) -> RunSummary:
    return replace(run, metrics={**run.metrics, "metrics": {**run.values, **values}})


def anchors(page: ParsedPage) -> list[str]:
    return [value for _, key, value in page.attributes if key == "id"]


def test_every_section_is_there_in_order(page: ParsedPage) -> None:
    assert anchors(page) == [
        "notes", "results", "classes", "curves", "tide", "sizes", "calibration", "confidences", "worst", "labels",
        "provenance",
    ]  # fmt: skip


def test_every_figure_has_a_name_of_its_own(built: Page) -> None:
    names = [figure.name for figure in built.figures()]
    assert len(names) == len(set(names))
    assert {"class_ap_1", "pr_mean_50", "pr_classes_0.25_75", "tide_0.001", "tide_ignore_0.25", "tide_shares_0.25",
            "reliability_small_0.001", "confidences_0.25", "worst_1", "label_1"} <= set(names)  # fmt: skip


def test_results_hold_both_floors_the_published_and_the_difference(page: ParsedPage, run: RunSummary) -> None:
    low, high = run.value("floors.0.001.coco.AP"), run.value("floors.0.25.coco.AP")
    assert low
    assert high
    assert low > high
    table = "COCO's twelve numbers"
    assert page.tables[table][0] == ["Metric", "At 0.001", "At 0.25", "Published, 0.25", "Difference, 0.25"]
    row = page.row("AP", table)
    assert row[1:4] == [f"{low:.4f}", f"{high:.4f}", "0.4800"]
    assert row[4] == f"{high - 0.48:+.4f}".replace("-", MINUS)
    difference = row_of(detection_results(run), table, "AP")[4]
    assert difference.details == (difference.tone,) == ("better" if high > 0.48 else "worse",)
    assert page.row("AP75", table)[3:] == ["n/a", "n/a"]
    assert len([row for row in page.tables[table] if len(row) == 5]) == 13, "twelve numbers and their heading"
    assert "Published: part 1 (b)." in page.text


def test_tide_is_told_in_points_and_less_is_better(page: ParsedPage, run: RunSummary) -> None:
    value = run.value("floors.0.25.tide.small.Miss") or 0.0
    row = page.row("Miss, small", "TIDE's errors")
    assert row[2:4] == [f"{value:.2f}", "36.31"]
    assert row_of(detection_results(run), "TIDE's errors", "Miss, small")[4].tone == "better"
    assert value < 36.31
    # nothing is published of errors of the other floor, nor of D-ECE
    assert len(page.tables["TIDE's errors"][0]) == 5
    assert page.row("D-ECE", "Calibration errors")[3:] == ["n/a", "n/a"]


def test_a_table_without_published_figures_has_no_columns_for_them(run: RunSummary) -> None:
    bare = section_page(detection_results(replace(run, spec={**run.spec, "published": {}})))
    assert bare.tables["COCO's twelve numbers"][0] == ["Metric", "At 0.001", "At 0.25"]


def test_a_published_key_that_is_no_metric_shows(run: RunSummary) -> None:
    published = {"floors.0.5.coco.AP": {"value": 0.3, "source": "elsewhere"}}
    shown = section_page(detection_results(replace(run, spec={**run.spec, "published": published})))
    assert shown.row("floors.0.5.coco.AP", "Others") == ["floors.0.5.coco.AP", "n/a", "0.3000", "n/a"]


def test_each_metric_of_the_task_has_a_value_and_a_definition(run: RunSummary) -> None:
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.definition
        assert run.value(metric.key) is not None, metric.key


def test_tiles_tell_the_headline_at_both_floors(run: RunSummary) -> None:
    shown = {tile.label: tile for tile in tiles(run)}
    assert list(shown) == [
        "AP at 0.001", "AP50 at 0.001", "AP at 0.25", "AP50 at 0.25", "D-ECE at 0.25", "Detections at 0.25",
    ]  # fmt: skip
    assert "published 0.4800" in shown["AP at 0.25"].detail
    floors = run.values["floors"]
    assert shown["Detections at 0.25"].value == str(floors["0.25"]["detections"])
    assert shown["Detections at 0.25"].more == (f"{floors['0.001']['detections']} at 0.001",)


def test_a_run_that_trains_nothing_says_so(page: ParsedPage) -> None:
    assert "with the weights as they were given, without training, on the 12 images of the split val" in page.text
    for words in ("end of training", "Best epoch", "No epoch was completed", "Training time", "Over-fitting"):
        assert words not in page.text
    assert page.row("Weights", "Run")[1].startswith("yolov8n.pt")


def test_a_fine_tuned_run_has_curves_and_a_best_epoch() -> None:
    tuned = detection_run(n=3, epochs=3)
    told = training(tuned, REPORT)
    shown = section_page(told)
    assert "with the weights at the end of training on the 3 images" in section_page(detection_results(tuned)).text
    assert shown.tables["Epochs"][0][1:7] == [
        "Training loss", "Box term", "Class term", "Edge term", "Validation mAP50", "Validation mAP",
    ]  # fmt: skip
    assert "ultralytics' own" in shown.text
    assert [figure.name for figure in figures_of(told)] == ["loss", "loss_terms", "map", "learning_rate", "throughput"]
    assert next(tile for tile in tiles(tuned) if tile.label == "Best epoch").value == "3"


def test_boxes_of_a_file_are_no_run(run: RunSummary) -> None:
    told = replace(run, record={})
    assert told.of_file
    assert not run.of_file
    assert "Run" not in section_page(provenance(told)).tables
    assert "Ours: measured on the 12 images" in section_page(detection_results(told)).text
    assert run.run not in " ".join(build_page(replace(told, metrics={}, curves=None, box_scenes=None)).subtitle)


@pytest.mark.parametrize("floors", [(0.5,), (0.001, 0.05, 0.25, 0.5)])
def test_one_floor_or_four(floors: tuple[float, ...]) -> None:
    told = detection_run(n=3, floors=floors)
    assert len(section_page(class_aps(told)).tables["Classes"][0]) == 3 + 4 * len(floors)
    assert len(figures_of(tide_errors(told))) == 3 * len(floors)
    assert len(figures_of(confidences(told))) == len(floors)
    results = section_page(detection_results(told))
    published = 2 if 0.25 in floors else 0
    assert len(results.tables["TIDE's errors"][0]) == 1 + len(floors) + published
    assert ("Others" in results.tables) == (0.25 not in floors)
    assert tiles(told)[-1].label == f"Detections at {floors[-1]}"
    assert len(section_page(object_sizes(told)).tables) == len(floors)


def test_a_class_without_boxes_is_not_available(page: ParsedPage, run: RunSummary) -> None:
    row = page.row("train", "Classes")
    assert row[1:7] == ["n/a"] * 6
    assert row[7:9] == ["0", "0"]
    assert 'Without boxes in this split: the class "train".' in page.text
    assert page.tables["Classes"][-1][0] == "train", "what has no AP stands last"
    aps = [float(row[2]) for row in page.tables["Classes"][1:-1]]
    assert aps == sorted(aps, reverse=True)
    assert "train" not in [row[0] for row in page.tables["Calibration by class"]]


def test_notes_tell_crowds_and_what_the_import_changed(run: RunSummary) -> None:
    told = list(remarks(run))
    assert "1 crowd region beside 59 true boxes: such a region is neither" in " ".join(told)
    assert "2 boxes reached out of the image, cut when the dataset was imported." in told
    assert "1 box without an area, left out when the dataset was imported." in told


def test_a_detector_that_finds_nothing_has_a_page() -> None:
    told = run_of(drawn_truth(3), nothing_found())
    shown = page_of(told)
    assert shown.row("AP", "COCO's twelve numbers")[1:3] == ["0.0000", "0.0000"]
    assert shown.row("D-ECE", "Calibration errors")[1:3] == ["n/a", "n/a"]
    assert "Nothing was predicted, even at a confidence of 0.001." in shown.text
    assert "calibration" not in anchors(shown)
    assert "confidences" not in anchors(shown)
    assert "labels" not in anchors(shown)
    assert "nan" not in shown.text.split()


def test_images_without_boxes_have_a_page() -> None:
    truth = drawn_truth(3)
    told = run_of(truth.where(np.zeros(len(truth), np.bool_)), nothing_found())
    shown = page_of(told)
    assert shown.row("AP", "COCO's twelve numbers")[1:3] == ["n/a", "n/a"]
    assert shown.row("AP50 in points", "TIDE's errors")[1:3] == ["n/a", "n/a"]
    assert "curves" not in anchors(shown)
    assert "worst" not in anchors(shown)


def test_a_run_that_was_not_evaluated_has_a_page(run: RunSummary) -> None:
    told = replace(run, metrics={}, curves=None, box_scenes=None)
    shown = page_of(told)
    assert anchors(shown) == ["notes", "results", "provenance"]
    assert "The run was not evaluated yet." in shown.text
    assert shown.row("AP", "COCO's twelve numbers")[1:4] == ["n/a", "n/a", "0.4800"]


def test_names_are_escaped(run: RunSummary) -> None:
    evil = '<script>alert("x")</script>'
    floors = {
        key: floor | {"per_class": {evil if name == "dog" else name: of for name, of in floor["per_class"].items()}}
        for key, floor in run.values["floors"].items()
    }
    named = with_values(replace(run, dataset={**run.dataset, "classes": [evil] * 4}), floors=floors)
    for section in (class_aps(named), label_errors(named)):
        shown = section_page(section)
        assert evil in shown.text
        assert not [tag for tag, _, _ in shown.attributes if tag == "script"]


def test_a_section_is_the_same_each_time(run: RunSummary) -> None:
    assert figures_of(confidences(run)) == figures_of(confidences(run))
    assert figures_of(label_errors(run)) == figures_of(label_errors(run))


def test_a_report_needs_no_torch(tmp_path: Path) -> None:
    """A page is drawn from plain values: neither torch, ray, ultralytics nor cv2 is imported."""
    told = tmp_path / "run.pkl"
    told.write_bytes(pickle.dumps(detection_run(n=1, floors=(0.5,))))
    code = (
        "import pickle, sys\n"
        "from visionjobs.report.build import build_report\n"
        "build_report(pickle.load(open(sys.argv[1], 'rb')))\n"
        "print(sorted({'torch', 'ray', 'ultralytics', 'cv2', 'faster_coco_eval'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
