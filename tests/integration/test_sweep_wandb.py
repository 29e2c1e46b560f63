"""A sweep's trials in wandb: a group under the sweep's id, each epoch once, offline and on a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import Project
from offline_run import OfflineRun
from sweep_lab import SEARCH_JOB, Ended, sweep
from wandb_stub import WandbStub

from visionjobs.sweep_progress import COMPLETE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEY = "0123456789abcdef0123456789abcdef01234567"
SMALL = ("--samples", "2", "--set", "train.epochs=2", "--set", "sweep.scheduler=none")


@pytest.fixture(scope="module")
def searched(project: Project) -> Project:
    (project.folder / "jobs" / "search.yaml").write_text(SEARCH_JOB)
    return project


def folders(project: Project, ended: Ended) -> list[Path]:
    """The trials' folders, by number."""
    assert [trial.state for trial in ended.progress.trials] == [COMPLETE, COMPLETE], ended.told
    return [Path(project.storage, "sweeps", ended.id, "runs", trial.run) for trial in ended.progress.trials]


def test_offline(searched: Project) -> None:
    ended = sweep(searched, "search", *SMALL, "--set", "wandb.mode=offline")
    for folder, trial in zip(folders(searched, ended), ended.progress.trials, strict=True):
        (written,) = (folder / "wandb").iterdir()
        run = OfflineRun(written)
        assert (run.run_id, run.group, run.exit_code) == (trial.run, ended.id, 0)
        assert [row.get("epoch") for row in run.history] == [1, 2, None], "each once, and what it ended with"
        assert run.history[1]["val_loss"] == trial.value
        assert run.config["train"]["lr"] == trial.parameters["train.lr"]
    assert searched.processes() == []


def test_online(searched: Project) -> None:
    with WandbStub(KEY) as stub:
        environment = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": stub.url}
        online = Project(searched.folder, searched.storage, environment)
        ended = sweep(online, "search", *SMALL, "--set", "wandb.mode=auto")
        assert sorted(stub.runs) == [trial.run for trial in ended.progress.trials]
        for run in stub.runs.values():
            assert (run.group, run.exit_code) == (ended.id, 0)
            assert [row["epoch"] for row in run.history if "epoch" in row] == [1, 2]
            assert "accuracy" in run.summary
    for folder in folders(online, ended):
        assert not list(folder.glob("wandb/**/*.wandb")), "what is online needs no offline copy"
        assert not [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert online.processes() == []
