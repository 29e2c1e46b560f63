"""A project with the tiny dataset in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import Project, kill_9
from tiny import draw_tiny

from visionjobs.data.wildlife import import_wildlife
from visionjobs.storage import open_store

TINY_JOB = """
task: classification
model: {name: convnet}
data: {name: tiny, size: [128, 128]}
train: {epochs: 12, batch: 8, checkpoint: {every: 5, unit: steps}}
resources: {cpus: 1, gpus: 0}
published:
  accuracy: {value: 0.9, source: "a made-up table, page 3"}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    """A folder with jobs/tiny.yaml and its dataset: 48 images to train on, 12 to validate."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "jobs").mkdir()
    (folder / "jobs" / "tiny.yaml").write_text(TINY_JOB)
    draw_tiny(folder / "raw")
    storage = str(folder / "storage")
    import_wildlife(str(folder / "raw"), "tiny", open_store(storage), size=(128, 128))
    project = Project(folder, storage)
    yield project
    kill_9(project.processes())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder starts a real Ray."""
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.ray)
