"""The three classification jobs on real photos, in a folder and on a real S3 server; the demo on the sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import Project, kill_9, read_json

from visionjobs.predictions import Predictions
from visionjobs.sample_images import SampleImages
from visionjobs.storage import Store, open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SMALL = ("--set", "model.weights=random", "--set", "data.size=[96, 96]", "--set", "train.epochs=1")


@pytest.fixture(scope="module")
def folder_project(tmp_path_factory: pytest.TempPathFactory):
    """The project's own jobs, with storage in a new folder."""
    folder = tmp_path_factory.mktemp("photos")
    project = Project(folder, str(folder / "storage"), {"VISIONJOBS_JOBS": str(JOBS)})
    yield project
    kill_9(project.processes())


@pytest.fixture(scope="module")
def photos(folder_project: Project, test_data: Path) -> Project:
    """With animals10's 1,000 training photos imported as "wildlife"."""
    imported = folder_project.call("data", "import", "wildlife", str(test_data / "animals10" / "train"))
    assert imported.returncode == 0, imported.stderr
    manifest = read_json(Path(imported.stdout.splitlines()[-1]) / "manifest.json")
    counts = manifest["counts"]
    assert [sum(counts[split].values()) for split in ("train", "val")] == [800, 200]
    assert set(counts["val"].values()) == {20}
    return folder_project


def complete(store: Store, job: str) -> dict[str, object]:
    """Assert that the run folder holds everything; returns the metrics."""
    needed = ("spec.yaml", "record.json", "metrics.json", f"weights/{job}.pth", "report/report.html")
    missing = [key for key in needed if not store.exists(key)]
    assert not missing
    assert json.loads(store.read("record.json"))["state"] == "complete"
    return json.loads(store.read("metrics.json"))["metrics"]


def run(project: Project, *args: str) -> Store:
    done = project.call("run", *args, timeout=1400)
    assert done.returncode == 0, done.stderr
    address = done.stdout.splitlines()[-1]
    return open_store(address)


@pytest.fixture(scope="module")
def convnet(photos: Project) -> Store:
    """The ConvNet as its job file has it, 10 epochs at 224 px."""
    return run(photos, "convnet")


def test_convnet_learns_real_photos(convnet: Store) -> None:
    metrics = complete(convnet, "convnet")
    assert metrics["accuracy"] >= 0.25
    assert sum(map(sum, metrics["confusion_matrix"])) == 200


@pytest.fixture(scope="module")
def resnets(photos: Project) -> dict[str, Store]:
    return {job: run(photos, job, *SMALL) for job in ("resnet", "resnet_aug")}


@pytest.mark.parametrize("job", ["resnet", "resnet_aug"])
def test_resnets_leave_complete_folders(resnets: dict[str, Store], job: str) -> None:
    store = resnets[job]
    metrics = complete(store, job)
    facts = json.loads(store.read("record.json"))["attempts"][0]["facts"]
    assert facts["samples_per_epoch"] == (3200 if job == "resnet_aug" else 800)
    assert metrics["features"]["train"]["n"] == 800
    figures = {entry.key for entry in store.at("report", "figures").entries()}
    assert {"tsne_train_2d.png", "tsne_val_2d.png", "tsne_val_3d.png"} <= figures
    assert ("augmented_1.png" in figures) == (job == "resnet_aug")


def test_predict_gives_what_evaluate_gives_for_the_same_files(photos: Project, convnet: Store, test_data: Path) -> None:
    """On the 200 photos that were held out, imported as a dataset and read as files."""
    held_out, run_id = test_data / "animals10" / "val", convnet.address.rpartition("/")[2]
    imported = photos.call("data", "import", "wildlife", str(held_out), "--name", "held-out")
    assert imported.returncode == 0, imported.stderr
    evaluated = photos.call("evaluate", run_id, "--data", "held-out", "--split", "all")
    assert evaluated.returncode == 0, evaluated.stderr
    store = open_store(evaluated.stdout.splitlines()[-1])
    metrics = json.loads(store.read("metrics.json"))["metrics"]
    stored = Predictions.from_parquet(store.read("predictions/all.parquet"), "all")
    assert len(stored) == 200

    predicted = photos.call("predict", run_id, str(held_out))
    assert predicted.returncode == 0, predicted.stderr
    lines = (Path(predicted.stdout.splitlines()[-1]) / "predictions.jsonl").read_text().splitlines()
    found = {row["image"].removeprefix(f"{held_out}/"): row for row in map(json.loads, lines)}
    assert set(found) == set(stored.paths)
    right = sum(row["predicted"] == row["label"] for row in found.values())
    assert right / 200 == metrics["accuracy"]
    for path, number, confidence in zip(stored.paths, stored.predicted, stored.confidence, strict=True):
        assert found[path]["predicted"] == stored.classes[number]
        assert found[path]["confidence"] == pytest.approx(confidence, abs=1e-5)


def test_exported_model_gives_the_stored_logits(photos: Project, convnet: Store, tmp_path: Path) -> None:
    exported = photos.call(
        "export", convnet.address.rpartition("/")[2], "--format", "onnx", "--out", str(tmp_path / "m.onnx")
    )
    assert exported.returncode == 0, exported.stderr
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    samples = SampleImages.from_npz(convnet.read("predictions/samples.npz"), "samples")
    stored = Predictions.from_parquet(convnet.read("predictions/val.parquet"), "val")
    images = samples.images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    (logits,) = session.run(["logits"], {"images": images})
    np.testing.assert_allclose(logits, stored.logits[samples.index], atol=1e-4)


def test_compare_and_reproduce_make_their_pages(photos: Project, convnet: Store, resnets: dict[str, Store]) -> None:
    runs = [store.address.rpartition("/")[2] for store in (convnet, *resnets.values())]
    compared = photos.call("compare", *runs)
    assert compared.returncode == 0, compared.stderr
    page = (Path(compared.stdout.splitlines()[-1]) / "compare.html").read_text()
    assert all(name in page for name in runs)
    reproduced = photos.call("reproduce", "--jobs", "convnet", "--no-run")
    assert reproduced.returncode == 0, reproduced.stderr
    rows = json.loads((Path(reproduced.stdout.splitlines()[-1]) / "reproduce.json").read_text())
    assert runs[0] in json.dumps(rows)
    assert "0.6427" in json.dumps(rows)


@pytest.mark.s3
def test_on_s3_with_two_workers(seaweedfs, tmp_path: Path, test_data: Path, monkeypatch) -> None:
    seaweedfs.use(monkeypatch)
    project = Project(tmp_path, f"{seaweedfs.address}/photos", {"VISIONJOBS_JOBS": str(JOBS)} | seaweedfs.env)
    imported = project.call("data", "import", "wildlife", str(test_data / "animals10" / "train"))
    assert imported.returncode == 0, imported.stderr
    two = ("--set", "resources.workers=2")
    metrics = complete(run(project, "convnet", *two, "--set", "data.size=[112, 112]"), "convnet")
    assert metrics["accuracy"] >= 0.25
    complete(run(project, "resnet_aug", *two, *SMALL), "resnet_aug")


def test_demo_learns_the_sample_and_not_at_once(folder_project: Project) -> None:
    """What `make demo` runs, after installing."""
    store = run(folder_project, "convnet", "--sample")
    metrics = complete(store, "convnet")
    rows = [json.loads(line) for line in store.read("attempts/0001/metrics.jsonl").splitlines()]
    assert len(rows) == 10
    assert rows[0]["val_accuracy"] < 0.60
    assert metrics["accuracy"] >= 0.80
