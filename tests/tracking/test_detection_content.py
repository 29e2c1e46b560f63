"""What of a detection run goes to wandb."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from detection_summaries import CLASSES, detection_run

from visionjobs.boxes import SIZES
from visionjobs.detection_curves import RECALLS
from visionjobs.report.figures_boxes import LOOKS
from visionjobs.report.summary import RunSummary
from visionjobs.tracking.content import final
from visionjobs.tracking.messages import Final


@pytest.fixture(scope="module")
def run() -> RunSummary:
    return detection_run()


@pytest.fixture(scope="module")
def content(run: RunSummary) -> Final:
    return final(run, {})


def test_errors_of_each_size_in_both_readings(run: RunSummary, content: Final) -> None:
    table = content.tables["tide"]
    rows = {row[:3]: dict(zip(table.columns[3:], row[3:], strict=True)) for row in table.rows}
    assert len(rows) == len(table.rows) == 2 * (4 + 3)
    for floor, found in run.values["floors"].items():
        assert rows[floor, "all", None] == found["tide"]["all"]
        for size in ("small", "medium", "large"):
            assert rows[floor, size, "filtered"] == found["tide"][size]
            assert rows[floor, size, "ignored"] == found["tide_ignore"][size]


def test_calibration_of_each_size(run: RunSummary, content: Final) -> None:
    tables = content.tables
    table = tables["calibration"]
    rows = {row[:2]: dict(zip(table.columns[2:], row[2:], strict=True)) for row in table.rows}
    assert set(rows) == {(floor, size) for floor in ("0.001", "0.25") for size in SIZES}
    for (floor, size), row in rows.items():
        found = run.values["floors"][floor]["calibration"][size]
        assert {key: row[key] for key in ("d_ece", "la_ece0", "adaptive_ece", "count_ece", "d_ece_filtered")} == {
            key: found[key] for key in ("d_ece", "la_ece0", "adaptive_ece", "count_ece", "d_ece_filtered")
        }
        assert (row["by chance"], row["detections"]) == (found["expected"]["mean"], found["of"]["d_ece"]["n"])
    bins = [row for row in tables["reliability"].rows if row[:2] == ("0.25", "all")]
    assert len(bins) == 10
    assert sum(row[4] for row in bins) == run.value("floors.0.25.calibration.all.of.d_ece.n")


def test_a_class_without_boxes_has_none_and_no_bar(content: Final) -> None:
    row = next(row for row in content.tables["per_class"].rows if row[0] == "train")
    scores = dict(zip(content.tables["per_class"].columns, row, strict=True))
    assert (scores["boxes"], scores["AP 0.25"], scores["d_ece 0.25"]) == (0, None, None)
    assert {name for name, _ in content.charts["class_AP_0.25"].table.rows} == set(CLASSES) - {"train"}


def test_curves_are_means_over_the_classes_that_have_boxes(run: RunSummary, content: Final) -> None:
    points = content.charts["precision_recall_0.001"].table.rows
    expected = np.nanmean(run.curves.precisions[0], axis=1)
    for number, iou in enumerate(("0.5", "0.75")):
        curve = [point for point in points if point[2] == iou]
        assert [point[0] for point in curve] == pytest.approx(RECALLS)
        assert [point[1] for point in curve] == pytest.approx(expected[number])


def test_reliability_has_no_empty_bins(content: Final) -> None:
    rows = content.charts["reliability_0.25"].table.rows
    assert rows
    assert all(None not in row for row in rows)
    assert {row[2] for row in rows} <= set(SIZES)
    assert min(row[0] for row in rows) >= 0.25


def test_pictures_are_those_of_the_report(run: RunSummary, content: Final) -> None:
    found = content.pictures
    kinds = run.box_scenes.kinds.tolist()
    for key, kind in (("worst_images", "worst"), ("label_errors", "label error")):
        legend, *shown = found[key]
        assert legend.caption == "How boxes are drawn"
        assert len(shown) == kinds.count(kind) > 0
        for picture, path in zip(shown, run.box_scenes.paths[run.box_scenes.kinds == kind], strict=True):
            assert str(path) in picture.caption
            assert picture.pixels.dtype == np.uint8
    worst = found["worst_images"][1].pixels
    assert (worst == LOOKS["right"].colour).all(axis=2).any(), "boxes are drawn"


def test_what_a_run_does_not_have_is_left_out(run: RunSummary) -> None:
    bare = final(replace(run, metrics={}, dataset={}, curves=None, box_scenes=None), {})
    assert (list(bare.tables), bare.charts, bare.pictures) == (["results"], {}, {})
    without = final(replace(run, curves=None), {})
    assert not [key for key in without.charts if key.startswith("precision")]


def test_other_floors_have_titles_too() -> None:
    rows = final(detection_run(floors=(0.5,)), {}).tables["results"].rows
    titles = [row[0] for row in rows]
    assert "AP50, at 0.5" in titles
    assert not [title for title in titles if title.endswith("at 0.001")]
