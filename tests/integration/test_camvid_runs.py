"""The two segmentation jobs on real street scenes, small enough for a CPU, in a folder and on a real S3 server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_runs import Project, kill_9
from PIL import Image

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.metrics.segmentation import summary
from visionjobs.storage import Store, open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SMALL = ("--set", "model.weights=random", "--set", "train.freeze=none", "--set", "data.size=[64, 96]")
JOBS_HERE = {
    "segnet": (*SMALL, "--set", "train.epochs=4"),
    "deeplab": (
        *SMALL,
        "--set",
        "train.epochs=3",
        "--set",
        "data.augment=camvid",
        "--set",
        "train.schedule=polynomial",
    ),
}


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory, test_data: Path):
    """The project's own jobs, with camvid32's 101 frames imported as "camvid"."""
    folder = tmp_path_factory.mktemp("camvid")
    project = Project(folder, str(folder / "storage"), {"VISIONJOBS_JOBS": str(JOBS)})
    imported = project.call("data", "import", "camvid", str(test_data / "camvid32"))
    assert imported.returncode == 0, imported.stderr
    yield project
    kill_9(project.processes())


def run(project: Project, *args: str) -> Store:
    done = project.call("run", *args, timeout=1100)
    assert done.returncode == 0, done.stderr
    return open_store(done.stdout.splitlines()[-1])


def read(store: Store, key: str):
    return json.loads(store.read(key))


@pytest.fixture(scope="module")
def runs(camvid: Project) -> dict[str, Store]:
    return {job: run(camvid, job, *sets) for job, sets in JOBS_HERE.items()}


@pytest.mark.parametrize("job", list(JOBS_HERE))
def test_leaves_a_complete_folder_and_its_loss_falls(runs: dict[str, Store], job: str) -> None:
    store = runs[job]
    assert read(store, "record.json")["state"] == "complete"
    for key in (f"weights/{job}.pth", "report/report.html", "predictions/test.npz", "predictions/samples.npz"):
        assert store.exists(key), key
    rows = [json.loads(line) for line in store.read("attempts/0001/metrics.jsonl").splitlines()]
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert rows[-1]["train_miou"] > rows[0]["train_miou"]
    assert all(row["val_loss"] > 0 and 0 <= row["val_miou"] <= 1 for row in rows)
    assert (rows[-1]["lr"] < rows[0]["lr"]) == (job == "deeplab")


@pytest.mark.parametrize("job", list(JOBS_HERE))
def test_its_numbers_follow_from_the_stored_masks_and_the_label_files(
    runs: dict[str, Store], job: str, test_data: Path
) -> None:
    """Label files decoded here, colour by colour, and resized as the run's masks were: nearest."""
    stored, file = (
        MaskPredictions.from_npz(runs[job].read("predictions/test.npz"), job),
        read(runs[job], "metrics.json"),
    )
    assert (file["split"], file["task"], len(stored)) == ("test", "segmentation", 24)
    matrix = np.zeros((32, 32), np.int64)
    for path, predicted in zip(stored.paths, stored.masks, strict=True):
        label = test_data / "camvid32" / "test_labels" / f"{Path(path).stem}_L.png"
        colours = np.asarray(Image.open(label).convert("RGB").resize((96, 64), Image.Resampling.NEAREST))
        for number, colour in enumerate(CAMVID.values()):
            at = (colours == colour).all(axis=2)
            matrix[number] += np.bincount(predicted[at], minlength=32)
    assert matrix.sum() == 24 * 64 * 96
    expected = summary(matrix, list(CAMVID))
    found = file["metrics"]
    assert found["confusion_matrix"] == matrix.tolist()
    assert found["per_class"] == expected["per_class"]
    assert found["miou"] == pytest.approx(expected["miou"], abs=1e-12)
    assert found["per_class"]["Train"]["iou"] is None
    assert found["pixel_accuracy"] > 0.3


def test_evaluate_gives_the_numbers_of_the_end_and_predict_the_masks(
    camvid: Project, runs: dict[str, Store], test_data: Path
) -> None:
    run_id = runs["segnet"].address.rpartition("/")[2]
    evaluated = camvid.call("evaluate", run_id)
    assert evaluated.returncode == 0, evaluated.stderr
    again = read(open_store(evaluated.stdout.splitlines()[-1]), "metrics.json")
    assert again["split"] == "test"
    first = np.array(read(runs["segnet"], "metrics.json")["metrics"]["confusion_matrix"])
    differ = np.abs(first - np.array(again["metrics"]["confusion_matrix"])).sum() / 2
    assert differ <= 1e-4 * first.sum(), "pixels at a tie: the number of threads may change the last bit of a logit"

    predicted = camvid.call("predict", run_id, str(test_data / "camvid32" / "test"))
    assert predicted.returncode == 0, predicted.stderr
    folder = Path(predicted.stdout.splitlines()[-1])
    stored = MaskPredictions.from_npz(runs["segnet"].read("predictions/test.npz"), "test")
    assert len(list((folder / "masks").glob("*.png"))) == 24
    for path, mask in zip(stored.paths, stored.masks, strict=True):
        with Image.open(folder / "masks" / f"{Path(path).stem}.png") as image:
            assert (image.mode, image.size) == ("P", (480, 360))
            at_size = np.asarray(image.resize((96, 64), Image.Resampling.NEAREST))
        assert (at_size == mask).mean() > 0.999


def test_export_compare_and_reproduce_work_for_both(camvid: Project, runs: dict[str, Store]) -> None:
    ids = {job: store.address.rpartition("/")[2] for job, store in runs.items()}
    for job, run_id in ids.items():
        exported = camvid.call("export", run_id, "--format", "onnx")
        assert exported.returncode == 0, (job, exported.stderr)
    compared = camvid.call("compare", *ids.values())
    assert compared.returncode == 0, compared.stderr
    page = (Path(compared.stdout.splitlines()[-1]) / "compare.html").read_text()
    assert all(run_id in page for run_id in ids.values())
    reproduced = camvid.call("reproduce", "--jobs", "segnet,deeplab", "--no-run")
    assert reproduced.returncode == 0, reproduced.stderr
    rows = (Path(reproduced.stdout.splitlines()[-1]) / "reproduce.json").read_text()
    assert all(figure in rows for figure in ("0.2409", "0.8569", "0.4151", "0.4136"))


@pytest.mark.s3
def test_on_s3_with_two_workers(seaweedfs, tmp_path: Path, monkeypatch) -> None:
    """On the drawn scenes, from the sample to the report."""
    seaweedfs.use(monkeypatch)
    project = Project(tmp_path, f"{seaweedfs.address}/scenes", {"VISIONJOBS_JOBS": str(JOBS)} | seaweedfs.env)
    sets = (*SMALL, "--set", "resources.workers=2", "--set", "resources.cpus=1", "--set", "train.epochs=2")
    store = run(project, "segnet", "--sample", *sets)
    metrics = read(store, "metrics.json")["metrics"]
    stored = MaskPredictions.from_npz(store.read("predictions/test.npz"), "test")
    assert stored.confusions.sum(axis=0).tolist() == metrics["confusion_matrix"]
    assert store.exists("report/report.html")
