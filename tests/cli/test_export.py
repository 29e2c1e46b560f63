"""`visionjobs export`: what scripts may rely on, and what a person gets wrong."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from s3_servers import S3Server
from tiny import finished_run, start_attempt, tiny_root, tiny_spec
from tiny_masks import masks_root, masks_spec

from visionjobs.data.catalog import find_dataset
from visionjobs.inference import export as library
from visionjobs.models import build_model
from visionjobs.runs import Run, create_run, open_run
from visionjobs.storage import Store, open_store


class Project(NamedTuple):
    root: Store
    run: Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("export")
    root = tiny_root(folder, "photos")
    return Project(root, finished_run(root, "train.epochs=1"))


@pytest.fixture
def project(made: Project, tmp_path: Path, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy, in the storage that `visionjobs` uses."""
    shutil.copytree(made.root.address, tmp_path / "storage")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    root = open_store(str(tmp_path / "storage"))
    return Project(root, open_run(root, made.run.id))


@pytest.mark.parametrize(("kind", "suffix"), [("onnx", "onnx"), ("torchscript", "pt")])
def test_into_the_run_s_folder(project: Project, visionjobs: Callable[..., Any], kind: str, suffix: str) -> None:
    before = {entry.key for entry in project.root.entries()}
    ended = visionjobs("export", project.run.id, "--format", kind)
    assert ended.status == 0, ended.err
    address = f"{project.run.store.address}/export/tiny.{suffix}"
    assert ended.out == f"{address}\n"
    data = Path(address).read_bytes()
    assert f"{len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()}" in ended.err
    assert "logits differ from torch's by at most" in ended.err
    assert "arning" not in ended.err
    added = {entry.key for entry in project.root.entries()} - before
    assert added == {f"runs/{project.run.id}/export/tiny.{suffix}"}
    assert visionjobs("export", project.run.id, "--format", kind).out == ended.out  # again, over the first one


def test_into_a_file(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("export", project.run.id, "--format", "onnx", "--out", "new/model.onnx")
    assert (ended.status, ended.out) == (0, f"{Path('new/model.onnx').absolute()}\n"), ended.err
    session = onnxruntime.InferenceSession("new/model.onnx")
    assert session.run(None, {"images": np.zeros((3, 3, 32, 32), np.float32)})[0].shape == (3, 4)
    assert [path.name for path in Path("new").iterdir()] == ["model.onnx"]
    assert not project.run.store.exists("export/tiny.onnx")


@pytest.mark.s3
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_into_a_bucket(
    project: Project, visionjobs: Callable[..., Any], seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    seaweedfs.use(monkeypatch)
    address = f"{seaweedfs.address}/{tmp_path.name}/model.pt"
    ended = visionjobs("export", project.run.id, "--format", "torchscript", "--out", address)
    assert (ended.status, ended.out) == (0, f"{address}\n"), ended.err
    open_store(address.rpartition("/")[0]).download({"model.pt": tmp_path / "model.pt"})
    assert torch.jit.load(tmp_path / "model.pt")(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.fixture
def segmented(tmp_path: Path, visionjobs: Callable[..., Any]) -> Run:
    """A SegNet run in the storage that `visionjobs` uses, as if it had ended with the weights of its beginning."""
    root, buffer = masks_root(tmp_path), io.BytesIO()
    spec = masks_spec("data.version=0123456789abcdef")
    manifest = find_dataset(root, "tinymasks").manifest
    run = create_run(root, spec, manifest.model_dump_json())
    torch.save(build_model(spec, len(manifest.classes), None).state_dict(), buffer)
    run.store.write("weights/tinymasks.pth", buffer.getvalue())
    weights = {"sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    run.store.write("record.json", json.dumps(run.record() | {"state": "complete", "weights": weights}))
    return run


def test_a_segmentation_model(segmented: Run, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("export", segmented.id, "--format", "onnx")
    assert ended.status == 0, ended.err
    assert ended.out == f"{segmented.store.address}/export/tinymasks.onnx\n"
    assert "of the pixels (at least 25% must), and the class is the same in" in ended.err
    assert "arning" not in ended.err
    assert "ambiguous" not in ended.err
    session = onnxruntime.InferenceSession(Path(ended.out.strip()))
    assert session.run(None, {"images": np.zeros((3, 3, 32, 48), np.float32)})[0].shape == (3, 5, 32, 48)


def refused(ended: Any, *words: str, status: int = 2) -> None:
    assert (ended.status, ended.out) == (status, ""), ended.err
    for word in words:
        assert word in ended.err
    assert "Traceback" not in ended.err


def test_a_file_that_differs_from_torch_is_not_kept(
    project: Project, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "IMAGENET_STD", (0.2, 0.2, 0.2))
    for kind in ("onnx", "torchscript"):
        ended = visionjobs("export", project.run.id, "--format", kind, "--out", "model")
        refused(ended, f"error: the {kind} file's logits differ from torch's", status=1)
    assert list(Path().iterdir()) == []


def test_mistakes_with_options(project: Project, visionjobs: Callable[..., Any]) -> None:
    run_id = project.run.id
    refused(visionjobs("export", run_id, "--format", "tensorflow"), "'tensorflow'", "onnx", "torchscript")
    refused(visionjobs("export", run_id), "--format")
    Path("folder").mkdir()
    Path("file").write_text("x")
    for place in ("folder", "folder/", "s3://bucket"):
        ended = visionjobs("export", run_id, "--format", "onnx", "--out", place)
        refused(ended, f"--out {place}: expected the name of a file")
    refused(
        visionjobs("export", run_id, "--format", "onnx", "--out", "file/model.onnx"), "file", "choose another folder"
    )
    assert (sorted(path.name for path in Path().iterdir()), Path("file").read_text()) == (["file", "folder"], "x")


def test_mistakes_with_the_run(project: Project, visionjobs: Callable[..., Any]) -> None:
    nearly = project.run.id[:-1]
    refused(visionjobs("export", nearly, "--format", "onnx"), "There is no run", f'Did you mean "{project.run.id}"?')
    begun = start_attempt(project.root, tiny_spec()).run
    refused(visionjobs("export", begun.id, "--format", "onnx"), f"run {begun.id} has no weights")
    weights = Path(project.run.store.address, "weights/tiny.pth")
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(visionjobs("export", project.run.id, "--format", "onnx"), "tiny.pth is damaged", status=3)


def test_without_any_image_it_cannot_be_checked(project: Project, visionjobs: Callable[..., Any]) -> None:
    project.root.delete(
        [
            entry.key
            for entry in project.root.entries()
            if "/samples.npz" in entry.key or entry.key.startswith("datasets")
        ]
    )
    ended = visionjobs("export", project.run.id, "--format", "onnx")
    refused(ended, "an export is checked on real images", "predictions/samples.npz", 'There is no dataset "tiny"')
