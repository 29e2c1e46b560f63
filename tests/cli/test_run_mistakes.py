"""What a person gets wrong with `visionjobs run`: one message, status 2, and no run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import draw_tiny

from visionjobs.data.wildlife import import_wildlife
from visionjobs.storage import open_store

JOB = """
task: classification
model: {name: convnet}
data: {name: tiny, size: [32, 32]}
train: {epochs: 2, batch: 8}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "jobs").mkdir()
    (folder / "jobs" / "tiny.yaml").write_text(JOB)
    draw_tiny(folder / "raw")
    import_wildlife(str(folder / "raw"), "tiny", open_store(str(folder / "storage")), size=(32, 32))
    return folder


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run", "tinny"), 'Did you mean "tiny"?'),
        (("run", "tiny", "--set", "train.lrr=1"), 'Did you mean "lr"?'),
        (("run", "tiny", "--set", "train.epochs=many"), "--set train.epochs"),
        (("run", "tiny", "--set", "model.name=convnett"), 'Did you mean "convnet"?'),
        (("run", "tiny", "--set", "data.name=tinny"), 'Did you mean "tiny"?'),
        (("run", "tiny", "--set", "data.version=0123456789abcdef"), "version"),
        (("run", "tiny", "--set", "model.weights=nowhere.pth"), "visionjobs weights pull"),
        (("run", "tiny", "--run", "tiny-20200101-000000-0000"), "There is no run"),
        (("run", "tiny", "--sample", "--run", "x"), "do not go together"),
    ],
)
def test_mistakes_end_with_2_and_one_message(
    folder: Path, visionjobs: Callable[..., Any], monkeypatch, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("VISIONJOBS_STORAGE", str(folder / "storage"))
    monkeypatch.setenv("VISIONJOBS_JOBS", str(folder / "jobs"))
    ended = visionjobs(*args)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert not (folder / "storage" / "runs").exists()
