"""The three classification jobs on real photos, in a folder and on a real S3 server; the demo on the sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import Project, kill_9, read_json

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


def test_convnet_learns_real_photos(photos: Project) -> None:
    store = run(photos, "convnet")
    metrics = complete(store, "convnet")
    assert metrics["accuracy"] >= 0.25
    assert sum(map(sum, metrics["confusion_matrix"])) == 200


@pytest.mark.parametrize("job", ["resnet", "resnet_aug"])
def test_resnets_leave_complete_folders(photos: Project, job: str) -> None:
    store = run(photos, job, *SMALL)
    complete(store, job)
    facts = json.loads(store.read("record.json"))["attempts"][0]["facts"]
    assert facts["samples_per_epoch"] == (3200 if job == "resnet_aug" else 800)


@pytest.mark.s3
def test_all_three_on_s3_with_two_workers(seaweedfs, tmp_path: Path, test_data: Path, monkeypatch) -> None:
    seaweedfs.use(monkeypatch)
    project = Project(tmp_path, f"{seaweedfs.address}/photos", {"VISIONJOBS_JOBS": str(JOBS)} | seaweedfs.env)
    imported = project.call("data", "import", "wildlife", str(test_data / "animals10" / "train"))
    assert imported.returncode == 0, imported.stderr
    two = ("--set", "resources.workers=2")
    metrics = complete(run(project, "convnet", *two, "--set", "data.size=[112, 112]"), "convnet")
    assert metrics["accuracy"] >= 0.25
    complete(run(project, "resnet", *two, *SMALL), "resnet")
    complete(run(project, "resnet_aug", *two, *SMALL), "resnet_aug")


def test_demo_learns_the_sample_and_not_at_once(folder_project: Project) -> None:
    """What `make demo` runs, after installing."""
    store = run(folder_project, "convnet", "--sample")
    metrics = complete(store, "convnet")
    rows = [json.loads(line) for line in store.read("attempts/0001/metrics.jsonl").splitlines()]
    assert len(rows) == 10
    assert rows[0]["val_accuracy"] < 0.60
    assert metrics["accuracy"] >= 0.80
