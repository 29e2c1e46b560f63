"""evaluate, predict, compare and reproduce of segmentation runs, as a person calls them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import finished_run, tiny_root
from tiny_masks import CLASSES, COLOURS, draw_tiny_masks, masks_root, masks_spec

from visionjobs.data.catalog import find_dataset
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.models import build_model
from visionjobs.models.trained import load_trained
from visionjobs.runs import Run, create_run, now
from visionjobs.storage import Store
from visionjobs.training.evaluate import Told, evaluate_run

JOB = """
task: segmentation
model: {name: deeplabv3_mobilenet_v3_large}
data: {name: tinymasks, size: [32, 48]}
train: {epochs: 2, batch: 4, seed: %d, checkpoint: {every: 2, unit: steps}}
published:
  miou: {value: 0.24, source: "part 2 (b)"}
  loss: {value: 0.86, source: "part 2 (b)"}
"""
TOLD = Told(lambda _what, _total: lambda _count: None, lambda _count, _total: None, lambda _stage: None)


def ended_run(root: Store, seed: int) -> Run:
    """A run with the random weights of its beginning, as if it had ended with them: nothing is trained here."""
    published = {"miou": {"value": 0.24, "source": "part 2 (b)"}, "loss": {"value": 0.86, "source": "part 2 (b)"}}
    sets = ("model.name=deeplabv3_mobilenet_v3_large", f"train.seed={seed}", f"published={json.dumps(published)}",
            "data.version=0123456789abcdef")  # fmt: skip
    spec, ref = masks_spec(*sets), find_dataset(root, "tinymasks")
    run = create_run(root, spec, ref.manifest.model_dump_json())
    buffer = io.BytesIO()
    torch.save(build_model(spec, len(CLASSES), None).state_dict(), buffer)
    run.store.write("weights/tinymasks.pth", buffer.getvalue())
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    record = {"state": "complete", "outcome": "complete", "finished": now(), "weights": {"sha256": sha256}}
    run.store.write("record.json", json.dumps(run.record() | record))
    evaluation = evaluate_run(load_trained(run, torch.device("cpu")), ref, "test", Path(f"{root.address}-cache"), TOLD)
    for key in ("predictions/test.npz", "predictions/samples.npz", "metrics.json"):
        run.store.write(key, evaluation.store.read(key))
    run.store.delete([f"evaluations/test/{entry.key}" for entry in evaluation.store.entries()])
    return run


class Made(NamedTuple):
    root: Store
    runs: list[Run]
    images: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two runs, and the images of the test split as files of 40x56 pixels, the size at which they are packed."""
    folder = tmp_path_factory.mktemp("segmentation")
    root = masks_root(folder)
    (folder / "images").mkdir()
    for number, image in enumerate(draw_tiny_masks()["test"].images):
        Image.fromarray(image).save(folder / "images" / f"{number:02}.png")
    return Made(root, [ended_run(root, seed) for seed in (0, 1)], folder / "images")


@pytest.fixture
def call(made: Made, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a command on that storage, in an empty current folder with the jobs of both runs."""
    monkeypatch.setenv("VISIONJOBS_STORAGE", made.root.address)
    monkeypatch.setenv("VISIONJOBS_JOBS", str(tmp_path / "jobs"))
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/tinymasks.yaml").write_text(JOB % 0)
    monkeypatch.chdir(tmp_path)
    return visionjobs


def folder_of(ended: Any) -> Path:
    assert ended.status == 0, ended.err
    return Path(ended.out.splitlines()[-1])


def test_evaluate_measures_the_test_split_as_at_the_end(made: Made, call: Any) -> None:
    run = made.runs[0]
    ended = call("evaluate", run.id)
    folder = folder_of(ended)
    assert str(folder) == f"{run.store.address}/evaluations/test"
    again = json.loads((folder / "metrics.json").read_text())
    assert again["metrics"] == run.metrics()["metrics"]
    for key in ("miou", "loss", "boundary.f"):
        assert f" {key} │" in ended.err, key
    f = again["metrics"]["boundary"]["f"]
    assert f"boundary.f │ {f:.4f} │" in ended.err
    assert f"pixels │ {7 * 32 * 48:,} │" in ended.err, "a count is no ratio"
    assert "Published: part 2 (b)" in (folder / "report/report.html").read_text()


def test_evaluate_another_split(made: Made, call: Any) -> None:
    folder = folder_of(call("evaluate", made.runs[0].id, "--split", "val"))
    assert folder.name == "val"
    assert len(MaskPredictions.from_npz((folder / "predictions/val.npz").read_bytes(), "val")) == 5


def test_datasets_for_the_other_task_are_refused(made: Made, call: Any, tmp_path: Path) -> None:
    root = tiny_root(tmp_path)
    shutil.copytree(tmp_path / "storage/datasets/tiny", f"{made.root.address}/datasets/tiny")
    ended = call("evaluate", made.runs[0].id, "--data", "tiny")
    assert ended.status == 2
    assert "is for classification, and run tinymasks-" in ended.err
    assert "evaluate it on a dataset that has masks: one class a pixel" in ended.err
    classifier = finished_run(root, "train.epochs=1")
    shutil.copytree(classifier.store.address, f"{made.root.address}/runs/{classifier.id}")
    refused = call("evaluate", classifier.id, "--data", "tinymasks")
    assert refused.status == 2
    assert "is for segmentation, and run tiny-" in refused.err
    assert "one label an image, and no masks" in refused.err


def test_predict_gives_the_masks_of_an_evaluation(made: Made, call: Any) -> None:
    folder = folder_of(call("predict", made.runs[0].id, str(made.images)))
    names = [f"{number:02}" for number in range(7)]
    assert sorted(path.name for path in (folder / "masks").iterdir()) == [f"{name}.png" for name in names]
    assert sorted(path.name for path in (folder / "overlays").iterdir()) == [f"{name}.jpg" for name in names]
    stored = MaskPredictions.from_npz(made.runs[0].store.read("predictions/test.npz"), "test")
    for name, wanted in zip(names, stored.masks, strict=True):
        with Image.open(folder / "masks" / f"{name}.png") as mask:
            assert (mask.mode, mask.size) == ("P", (56, 40))
            assert mask.getpalette()[:15] == [value for colour in COLOURS for value in colour]
            at_size = np.asarray(Image.fromarray(wanted).resize((56, 40), Image.Resampling.NEAREST))
            assert np.array_equal(np.asarray(mask), at_size)
    assert (folder / "contact-sheet-001.png").is_file()
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["image"]).stem for row in rows] == names
    assert all(sum(float(row[f"share_{name}"]) for name in CLASSES) == pytest.approx(1) for row in rows)


def test_predict_names_what_it_could_not_read(made: Made, call: Any) -> None:
    Path("bad.png").write_text("no image")
    ended = call("predict", made.runs[0].id, "bad.png", str(made.images / "03.png"), "--out", "out")
    assert ended.status == 1
    assert "1 of 2 images could not be used (rejects.csv): bad.png: not an image" in ended.err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "contact-sheet-001.png", "masks", "overlays", "predictions.csv", "predictions.jsonl", "rejects.csv",
    ]  # fmt: skip
    refused = call("predict", made.runs[0].id, "bad.png", "--out", "none")
    assert (refused.status, Path("none").exists()) == (2, False)


def test_compare(made: Made, call: Any) -> None:
    ended = call("compare", *(run.id for run in made.runs))
    folder = folder_of(ended)
    numbers = json.loads((folder / "compare.json").read_text())
    (pair,) = numbers["pairs"]
    mious = [run.metrics()["metrics"]["miou"] for run in made.runs]
    assert pair["miou_difference"] == pytest.approx(mious[0] - mious[1], abs=1e-12)
    assert (numbers["images"], numbers["split"]) == (7, "test")
    assert f"{mious[0]:.4f}" in ended.err


def test_reproduce(made: Made, call: Any) -> None:
    ended = call("reproduce", "--jobs", "tinymasks", "--no-run")
    folder = folder_of(ended)
    rows = {row["metric"]: row for row in json.loads((folder / "reproduce.json").read_text())["rows"]}
    metrics = made.runs[0].metrics()["metrics"]
    assert list(rows) == ["miou", "loss"]
    assert (rows["miou"]["ours"], rows["miou"]["published"]) == (metrics["miou"], 0.24)
    assert (rows["loss"]["ours"], rows["loss"]["samples"]) == (metrics["loss"], 7)
    assert rows["miou"]["run"] == made.runs[0].id, "the run with the job's seed"
    assert "accuracy" not in (folder / "reproduce.html").read_text().lower()


def test_reproduce_on_the_tasks_sample(made: Made, call: Any) -> None:
    ended = call("reproduce", "--jobs", "tinymasks", "--no-run", "--sample")
    rows = json.loads((folder_of(ended) / "reproduce.json").read_text())["rows"]
    assert {row["state"] for row in rows} == {"no finished run"}, "the runs there are of other data"
