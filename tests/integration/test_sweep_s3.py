"""A sweep whose storage is a real S3 server: killed in the middle and continued."""

from __future__ import annotations

import signal

import pytest
from cli_runs import Project, kill_9, wait_until
from sweep_lab import SEARCH_JOB, attempts_of, progress_of, sweep

from visionjobs.storage import open_store
from visionjobs.sweep_progress import COMPLETE, RUNNING

pytestmark = [pytest.mark.slow, pytest.mark.s3, pytest.mark.timeout(900)]


@pytest.fixture
def on_s3(project: Project, private_seaweedfs, monkeypatch) -> Project:
    """The project with its storage, dataset included, on an S3 server of its own."""
    private_seaweedfs.use(monkeypatch)
    (project.folder / "jobs" / "search.yaml").write_text(SEARCH_JOB)
    moved = Project(project.folder, f"{private_seaweedfs.address}/jobs", private_seaweedfs.env)
    imported = moved.call(
        "data", "import", "wildlife", str(project.folder / "raw"), "--name", "tiny", "--size", "128", "128"
    )
    assert imported.returncode == 0, imported.stderr
    return moved


def test_everything_killed_and_continued(on_s3: Project, private_seaweedfs) -> None:
    root = open_store(on_s3.storage)
    whole = sweep(on_s3, "search")
    killed = [trial.number for trial in whole.progress.trials if trial.state == COMPLETE][-1]
    assert killed > 0

    driver = on_s3.start("sweep", "search")
    wait_until(lambda: len(root.folders("sweeps")) == 2, "the sweep's folder", driver=driver)
    (sweep_id,) = set(root.folders("sweeps")) - {whole.id}
    trials = root.at("sweeps", sweep_id, "runs")

    def rows() -> int:
        key = f"{sweep_id}-t{killed:03}/attempts/0001/metrics.jsonl"
        return len(trials.read(key).splitlines()) if trials.exists(key) else 0

    wait_until(lambda: rows() >= 3, "epoch 3 of the trial", driver=driver)
    kill_9(on_s3.processes())
    assert driver.wait() == -signal.SIGKILL
    before = progress_of(on_s3, sweep_id)
    assert before.trials[killed].state == RUNNING, "it must be killed in the middle"

    continued = sweep(on_s3, "search", "--sweep", sweep_id)
    assert continued.outcomes() == whole.outcomes()
    finished = {trial.number for trial in before.trials if trial.ended}
    attempts = attempts_of(on_s3, sweep_id)
    assert finished
    assert {attempts[number] for number in finished} == {1}
    assert attempts[killed] == 2
    secret = private_seaweedfs.secret.encode()
    assert [entry.key for entry in root.entries("sweeps") if secret in root.read(entry.key)] == []
    assert on_s3.processes() == []
