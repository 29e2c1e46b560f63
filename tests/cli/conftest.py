"""Running `visionjobs` in this process, as its entry point does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from finished_runs import Project, make_storage
from finished_sweep import make_sweep, the_sweep

from visionjobs.cli.app import main
from visionjobs.sweeps import Sweep

JOBS = Path(__file__).resolve().parents[2] / "jobs"


class Ended(NamedTuple):
    """How a command ended. Runs of blanks and newlines are one blank in `err`, as tables and lines are wrapped."""

    status: int
    out: str
    err: str


@pytest.fixture
def visionjobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run a command with storage and cache below tmp_path, and the project's own jobs."""
    monkeypatch.setenv("VISIONJOBS_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("VISIONJOBS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VISIONJOBS_JOBS", str(JOBS))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["visionjobs", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        printed = capsys.readouterr()
        return Ended(status, printed.out, " ".join(printed.err.split()))

    return run


@pytest.fixture(scope="session")
def finished_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of the tiny job in its storage; tests work on copies (finished_runs.py)."""
    folder = tmp_path_factory.mktemp("finished")
    make_storage(folder)
    return folder


@pytest.fixture
def project(
    finished_storage: Path, tmp_path: Path, visionjobs: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A copy of it, in the storage that `visionjobs` uses."""
    return Project(finished_storage, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def swept_storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete sweep of the tiny job in its storage; tests work on copies (finished_sweep.py)."""
    folder = tmp_path_factory.mktemp("swept")
    make_sweep(folder)
    return folder


@pytest.fixture
def swept(swept_storage: Path, tmp_path: Path, visionjobs: Callable[..., Ended]) -> Sweep:
    """That sweep, copied into the storage that `visionjobs` uses."""
    shutil.copytree(swept_storage / "storage", tmp_path / "storage", dirs_exist_ok=True)
    return the_sweep(tmp_path)
