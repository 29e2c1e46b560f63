"""The offline run of a detection run, read back: its epochs, tables, charts and pictures."""

from __future__ import annotations

import numpy as np
import pytest
from detection_summaries import CLASSES, detection_run
from offline_run import OfflineRun, written_offline

from visionjobs.report.summary import RunSummary
from visionjobs.tracking.content_detection import pictures

COLUMNS = ("train_loss", "train_box", "train_cls", "train_dfl", "val_map50", "val_map", "lr")


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return detection_run(epochs=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, summary: RunSummary) -> OfflineRun:
    return written_offline(tmp_path_factory.mktemp("offline"), summary)


def test_each_epoch_is_there_once(written: OfflineRun, summary: RunSummary) -> None:
    epochs = [row for row in written.history if "epoch" in row]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    for key in COLUMNS:
        assert [row[key] for row in epochs] == [row[key] for row in summary.history], key
    assert len(written.history) == 4, "and one row for what the run ended with"
    assert written.exit_code == 0


def test_summary_has_the_final_metrics(written: OfflineRun, summary: RunSummary) -> None:
    keys = ("images", "floors.0.001.coco.AP", "floors.0.25.tide.small.Miss", "floors.0.25.calibration.all.d_ece",
            "floors.0.25.per_class.dog.AP50")  # fmt: skip
    for key in keys:
        assert written.summary[key] == summary.value(key), key
    assert "floors.0.25.per_class.train.AP" not in written.summary


def test_tables_and_charts(written: OfflineRun, summary: RunSummary) -> None:
    at = summary.values["floors"]["0.25"]
    heads, first, *rest = written.table("coco")
    assert heads == ["metric", "confidence 0.001", "confidence 0.25"]
    assert (first[0], first[2], len(rest)) == ("AP", at["coco"]["AP"], 11)
    heads, *rows = written.table("per_class")
    assert sorted(row[0] for row in rows) == sorted(CLASSES)
    assert {row[0]: row[heads.index("AP 0.25")] for row in rows} == {
        name: at["per_class"][name]["AP"] for name in CLASSES
    }
    heads, *rows = written.table("tide")
    (row,) = [row for row in rows if row[:3] == ["0.25", "small", "ignored"]]
    assert dict(zip(heads[3:], row[3:], strict=True)) == at["tide_ignore"]["small"]
    heads, *rows = written.table("results")
    assert next(row for row in rows if row[4] == 36.31)[1] == at["tide"]["small"]["Miss"]
    assert written.table("class_distribution")[1][0] == summary.dataset["classes"][0]
    heads, *points = written.table("precision_recall_0.25_table")
    assert heads == ["recall", "precision", "IoU"]
    assert len(points) == 202
    assert len(written.table("class_AP_0.001_table")) == 4, "three classes have boxes"


def test_pictures_pixel_by_pixel(written: OfflineRun, summary: RunSummary) -> None:
    expected = pictures(summary)
    assert set(expected) == {"worst_images", "label_errors"}
    for key, shown in expected.items():
        for picture, found in zip(shown, written.images(key), strict=True):
            assert np.array_equal(found, picture.pixels), picture.caption
