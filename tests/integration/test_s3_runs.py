"""Runs whose storage is a real S3 server."""

from __future__ import annotations

import json

import pytest
from cli_runs import Project, wait_until

from visionjobs.storage import Store, open_store

pytestmark = [pytest.mark.slow, pytest.mark.s3, pytest.mark.timeout(900)]

COMPLETE = ("spec.yaml", "record.json", "metrics.json", "weights/tiny.pth", "report/report.html")


@pytest.fixture
def on_s3(project: Project, private_seaweedfs, monkeypatch) -> tuple[Project, Store]:
    """The project with its storage, dataset included, on an S3 server of its own."""
    private_seaweedfs.use(monkeypatch)
    address = f"{private_seaweedfs.address}/jobs"
    moved = Project(project.folder, address, private_seaweedfs.env)
    imported = moved.call(
        "data", "import", "wildlife", str(project.folder / "raw"), "--name", "tiny", "--size", "128", "128"
    )
    assert imported.returncode == 0, imported.stderr
    return moved, open_store(address)


def test_two_workers_leave_a_complete_folder_and_no_secret(on_s3, private_seaweedfs) -> None:
    project, store = on_s3
    done = project.call("run", "tiny", "--set", "resources.workers=2", "--set", "train.epochs=2")
    assert done.returncode == 0, done.stderr
    run = store.at("runs", done.stdout.splitlines()[-1].rpartition("/")[2])
    assert all(run.exists(key) for key in COMPLETE)
    assert json.loads(run.read("record.json"))["attempts"][0]["workers"] == 2
    secret = private_seaweedfs.secret.encode()
    assert [entry.key for entry in run.entries() if secret in run.read(entry.key)] == []
    assert private_seaweedfs.secret not in done.stderr


def test_server_gone_in_the_middle_and_back_again(on_s3, private_seaweedfs) -> None:
    project, store = on_s3
    driver = project.start("run", "tiny", "--set", "train.epochs=100")
    wait_until(
        lambda: any(e.key.endswith("manifest.json") for e in store.entries("runs")), "a checkpoint", driver=driver
    )
    private_seaweedfs.stop()
    _, told = driver.communicate(timeout=400)
    assert driver.returncode == 4, told
    assert "Traceback" not in told
    private_seaweedfs.start()
    (run_id,) = store.folders("runs")
    done = project.call("run", "tiny", "--run", run_id, "--set", "train.epochs=8")
    assert done.returncode == 0, done.stderr
    assert all(store.at("runs", run_id).exists(key) for key in COMPLETE)


def test_wrong_credentials_show_before_any_work(on_s3, private_seaweedfs) -> None:
    project, store = on_s3
    wrong = Project(project.folder, project.storage, project.extra | {"AWS_SECRET_ACCESS_KEY": "not-the-secret"})
    refused = wrong.call("run", "tiny")
    assert refused.returncode == 2
    assert "AWS_" in refused.stderr
    assert "not-the-secret" not in refused.stderr
    assert store.folders("runs") == []
