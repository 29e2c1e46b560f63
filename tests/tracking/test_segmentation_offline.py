"""The offline run of a segmentation run, read back: its curves, tables and pictures."""

from __future__ import annotations

import numpy as np
import pytest
from offline_run import OfflineRun, written_offline
from scene_summaries import CLASSES, COLOURS, scene_run

from visionjobs.inference.overlay import beside, coloured
from visionjobs.report.summary import RunSummary
from visionjobs.scenes import ranked

COLUMNS = ("train_loss", "train_ce", "val_loss", "train_miou", "val_miou", "train_pixel_accuracy", "lr")


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return scene_run(wrong=0.8)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, summary: RunSummary) -> OfflineRun:
    """What the end of the run leaves in its folder."""
    return written_offline(tmp_path_factory.mktemp("offline"), summary)


def test_each_epoch_is_there_once(written: OfflineRun, summary: RunSummary) -> None:
    epochs = [row for row in written.history if "epoch" in row]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    for key in COLUMNS:
        assert [row[key] for row in epochs] == [row[key] for row in summary.history], key
    assert len(written.history) == 4, "and one row for what the run ended with"
    assert written.exit_code == 0


def test_summary_has_the_final_metrics(written: OfflineRun, summary: RunSummary) -> None:
    for key in ("miou", "loss", "fwiou", "boundary.f", "per_class.Road.iou"):
        assert written.summary[key] == summary.value(key), key
    assert "per_class.Train.iou" not in written.summary


def test_tables(written: OfflineRun, summary: RunSummary) -> None:
    columns, *rows = written.table("per_class")
    assert columns[:4] == ["class", "pixels", "accuracy", "iou"]
    assert [row[0] for row in rows] == list(CLASSES)
    assert [row[3] for row in rows] == [summary.values["per_class"][name]["iou"] for name in CLASSES]
    assert len(written.table("iou_bins")) == 11
    assert written.table("class_distribution")[1][:2] == ["Road", 4000]
    columns, *rows = written.table("results")
    miou = next(row for row in rows if row[4] == 0.2409)
    assert miou[1:4] == [summary.value("miou"), *summary.interval("miou")]
    cells = written.table("confusion_matrix_table")[1:]
    assert sum(row[2] for row in cells) == summary.values["pixels"]
    assert written.table("class_pixels_train_table")[1] == ["Road", 4000]


def test_pictures_pixel_by_pixel(written: OfflineRun, summary: RunSummary) -> None:
    masks, scenes = summary.masks, summary.scenes
    for kind, rows in ranked(masks).items():
        for row, shown in zip(rows, written.images(f"{kind}_images"), strict=True):
            place = scenes.place(row)
            truth, predicted = coloured(scenes.truths[place], COLOURS), coloured(masks.masks[row], COLOURS)
            assert np.array_equal(shown, beside(scenes.images[place], truth, predicted))
    assert len(written.images("worst_classes")) > 3
    assert len(written.images("class_examples")) == 4
    assert np.array_equal(written.images("augmented")[0][:, : scenes.originals.shape[2]], scenes.originals[0])
