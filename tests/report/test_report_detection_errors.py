"""What a detection run's report says of kinds of errors, sizes and calibration."""

from __future__ import annotations

from typing import Any

import pytest
from detection_summaries import detection_run
from parsed_page import row_of, section_page

from visionjobs.report.box_calibration import box_calibration, gap
from visionjobs.report.object_sizes import object_sizes, sentences
from visionjobs.report.summary import RunSummary
from visionjobs.report.tide_errors import tide_errors


@pytest.fixture(scope="module")
def run() -> RunSummary:
    return detection_run()


def test_each_size_has_its_row_and_sentences_are_true(run: RunSummary) -> None:
    floor = run.values["floors"]["0.25"]
    shown = section_page(object_sizes(run))
    table = shown.tables["Sizes at 0.25"]
    assert [row[0] for row in table] == ["Objects", "All", "Small", "Medium", "Large"]
    assert shown.row("Small", "Sizes at 0.25")[1:4] == [
        f"{floor['coco']['APs']:.4f}", f"{floor['tide']['small']['ap50']:.2f}", f"{floor['tide']['small']['Miss']:.2f}"
    ]  # fmt: skip
    misses = {size: floor["tide"][size]["Miss"] for size in ("small", "medium", "large")}
    most = max(misses, key=lambda size: misses[size])
    assert f"Missing objects costs most for {most} objects ({misses[most]:.2f} points)" in shown.text


def calibrated(value: float, confidence: float, precision: float, high: float) -> dict[str, Any]:
    bins = [{"low": 0.0, "high": 1.0, "n": 10, "confidence": confidence, "precision": precision}]
    return {"d_ece": value, "expected": {"mean": high / 2, "high": high}, "reliability": bins}


def test_sentences_follow_the_numbers() -> None:
    floor = {
        "coco": {"APs": 0.9, "APm": 0.2, "APl": None},
        "tide": {"small": {"Miss": 3.0}, "medium": {"Miss": 3.0}, "large": {"Miss": None}},
        "calibration": {
            "small": calibrated(0.3, 0.8, 0.5, 0.1),
            "medium": calibrated(0.3, 0.5, 0.8, 0.1),
            "large": calibrated(0.05, 0.5, 0.55, 0.1),
        },
    }
    assert list(sentences(floor)) == [
        "AP is highest for small objects (AP 0.9000), and lowest for medium ones (AP 0.2000).",
        "D-ECE is largest for small objects (0.3000), and smallest for large ones (0.0500).",
        "Small detections are over-confident on average, by 0.3000.",
        "Medium detections are under-confident on average, by 0.3000.",
        "Large detections: their D-ECE, 0.0500, is within what chance explains.",
    ]
    nothing = {"d_ece": None, "expected": {"mean": None, "high": None}, "reliability": []}
    bare = {"calibration": {"small": nothing, "medium": nothing, "large": nothing}}
    assert list(sentences(bare)) == [
        f"There are no {size} detections, and so no calibration of them." for size in ("small", "medium", "large")
    ]


def test_tide_has_both_readings(run: RunSummary) -> None:
    shown = section_page(tide_errors(run))
    rows = [row[0] for row in shown.tables["TIDE at 0.25"]]
    assert rows[1:] == [
        "All", "Small, others dropped", "Medium, others dropped", "Large, others dropped", "Small, others ignored",
        "Medium, others ignored", "Large, others ignored",
    ]  # fmt: skip
    found = run.values["floors"]["0.25"]["tide_ignore"]["large"]
    assert shown.row("Large, others ignored", "TIDE at 0.25")[1:] == [
        f"{found[key]:.2f}" for key in ("ap50", "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FP", "FN")
    ]
    assert "which is nearer to what COCO" in shown.text


def test_calibration_states_what_each_number_is_of(run: RunSummary) -> None:
    section = box_calibration(run)
    shown = section_page(section)
    measured = run.values["floors"]["0.25"]["calibration"]
    row = shown.row("LaECE, IoU 0", "Calibration")
    assert row[:2] == ["LaECE, IoU 0", "All"]
    assert row[3] == f"{measured['all']['la_ece0']:.4f}"
    assert row[5:] == [str(measured["all"]["of"]["la_ece0"]["n"]), "25", "100"]
    chance, below = measured["all"]["expected"], row_of(section, "Calibration", "D-ECE")[3].details
    assert [line.replace("\N{NO-BREAK SPACE}", " ") for line in below] == [
        f"by chance {chance['mean']:.4f}", f"95 % below {chance['high']:.4f}"
    ]  # fmt: skip
    assert "it never looks at a box, so a perfect detector and one with random boxes have the same value" in shown.text
    scaled = measured["recalibrated"]
    assert shown.row("at least 0.25", "Recalibration")[1:] == [
        f"{scaled['temperature'][key]:.4f}" for key in ("parameter", "d_ece_before", "d_ece_after")
    ] + [f"{scaled['isotonic']['d_ece_after']:.4f}"]
    apart = gap(measured, "all")
    assert apart is not None
    assert ("over-confident" if apart > 0 else "under-confident") in shown.text
