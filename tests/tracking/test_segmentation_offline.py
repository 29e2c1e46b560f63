"""The offline run of a segmentation run, read back: its curves, tables and pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from offline_run import OfflineRun
from PIL import Image
from scene_summaries import CLASSES, COLOURS, scene_run

from visionjobs.inference.overlay import beside, coloured
from visionjobs.report.summary import RunSummary
from visionjobs.runs import create_run
from visionjobs.scenes import ranked
from visionjobs.spec import JobSpec
from visionjobs.storage import open_store
from visionjobs.tracking.mirror import open_mirror

COLUMNS = ("train_loss", "train_ce", "val_loss", "train_miou", "val_miou", "train_pixel_accuracy", "lr")


@pytest.fixture(scope="module")
def summary() -> RunSummary:
    return scene_run(wrong=0.8)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, summary: RunSummary) -> OfflineRun:
    """What the end of the run leaves in its folder."""
    spec = JobSpec.model_validate(summary.spec)
    root = open_store(str(tmp_path_factory.mktemp("offline")))
    run = create_run(root, spec, json.dumps(summary.dataset))
    attempt = run.claim("attempt", {"gpus": 0})
    rows = "".join(json.dumps(row) + "\n" for row in summary.history)
    attempt.store.write("metrics.jsonl", rows)
    warnings: list[str] = []
    mirror = open_mirror(run, spec, None, warnings.append)
    mirror.rows(run.history())
    mirror.finish(replace(summary, run=run.id), "complete", lambda: None)
    mirror.close()
    assert not warnings
    (folder,) = Path(run.store.address, "wandb").iterdir()
    return OfflineRun(folder)


def table(run: OfflineRun, key: str) -> list[list[object]]:
    described = json.loads(run.file(str(run.media[f"{key}.path"])).read_text())
    return [described["columns"], *described["data"]]


def images(run: OfflineRun, key: str) -> list[np.ndarray]:
    return [np.array(Image.open(run.file(name))) for name in run.media[f"{key}.filenames"]]


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
    columns, *rows = table(written, "per_class")
    assert columns[:4] == ["class", "pixels", "accuracy", "iou"]
    assert [row[0] for row in rows] == list(CLASSES)
    assert [row[3] for row in rows] == [summary.values["per_class"][name]["iou"] for name in CLASSES]
    assert len(table(written, "iou_bins")) == 11
    assert table(written, "class_distribution")[1][:2] == ["Road", 4000]
    columns, *rows = table(written, "results")
    miou = next(row for row in rows if row[4] == 0.2409)
    assert miou[1:4] == [summary.value("miou"), *summary.interval("miou")]
    cells = table(written, "confusion_matrix_table")[1:]
    assert sum(row[2] for row in cells) == summary.values["pixels"]
    assert table(written, "class_pixels_train_table")[1] == ["Road", 4000]


def test_pictures_pixel_by_pixel(written: OfflineRun, summary: RunSummary) -> None:
    masks, scenes = summary.masks, summary.scenes
    for kind, rows in ranked(masks).items():
        for row, shown in zip(rows, images(written, f"{kind}_images"), strict=True):
            place = scenes.place(row)
            truth, predicted = coloured(scenes.truths[place], COLOURS), coloured(masks.masks[row], COLOURS)
            assert np.array_equal(shown, beside(scenes.images[place], truth, predicted))
    assert len(images(written, "worst_classes")) > 3
    assert len(images(written, "class_examples")) == 4
    assert np.array_equal(images(written, "augmented")[0][:, : scenes.originals.shape[2]], scenes.originals[0])
