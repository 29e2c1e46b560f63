"""A storage with runs of the tiny job, trained in this process; a copy of it for each test."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from tiny import finished_run, start_attempt, tiny_root, tiny_spec

from visionjobs.runs import Run, open_run, run_ids
from visionjobs.storage import Store, open_store

JOB = """
task: classification
model: {name: convnet}
data: {name: tiny, size: [32, 32]}
train: {epochs: 2, batch: 8, checkpoint: {every: 2, unit: steps}}
published:
  accuracy: {value: 0.5, source: "a table, page 3"}
  f1_macro: {value: 0.4, source: "a table, page 3"}
"""


def make_storage(folder: Path) -> None:
    """Dataset "tiny" and three runs of the job "tiny": two finished ones, seeds 0 and 1, and one that has begun."""
    root = tiny_root(folder)
    finished_run(root)
    time.sleep(1)  # records tell the time to the second: the other one is to be the newer
    finished_run(root, "train.seed=1")
    start_attempt(root, tiny_spec())


class Project:
    """A folder with `storage` and `jobs`; `first`, `second`: the finished runs, `begun`: the other one."""

    def __init__(self, made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copytree(made / "storage", folder / "storage", dirs_exist_ok=True)
        self.folder = folder
        self.jobs = folder / "jobs"
        self.jobs.mkdir()
        (self.jobs / "tiny.yaml").write_text(JOB)
        monkeypatch.setenv("VISIONJOBS_JOBS", str(self.jobs))
        self.root: Store = open_store(str(folder / "storage"))
        runs = [open_run(self.root, run_id) for run_id in run_ids(self.root)]
        by_seed = {run.spec().train.seed: run for run in runs if run.metrics()}
        self.first, self.second = by_seed[0], by_seed[1]
        self.begun: Run = next(run for run in runs if not run.metrics())

    def path(self, run: Run, key: str) -> Path:
        """A file of a run."""
        return Path(run.store.address, key)
