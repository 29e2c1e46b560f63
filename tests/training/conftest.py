"""A storage root with the tiny dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import draw_tiny

from visionjobs.data.wildlife import import_wildlife
from visionjobs.storage import Store, open_store


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    draw_tiny(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path, tiny_source: Path) -> Store:
    """A storage root that holds the dataset "tiny": 48 images to train on, 12 to validate, 32x32."""
    store = open_store(str(tmp_path / "storage"))
    import_wildlife(str(tiny_source), "tiny", store, size=(32, 32))
    return store


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this pod's files."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("VISIONJOBS_STOP_DIR", str(folder))
    return folder
