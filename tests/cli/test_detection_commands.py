"""`predict`, `export`, `describe` and `weights pull` of detection jobs: what scripts may rely on."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from tiny import start_attempt
from tiny_boxes import boxes_root, boxes_spec, random_weights

from visionjobs.inference.detector import Detector, DetectorConfig
from visionjobs.models import weights as weights_module
from visionjobs.models.yolo import build_yolo
from visionjobs.runs import Run, open_run
from visionjobs.storage import Store, open_store
from visionjobs.training import driver

NAMES = ["circle", "square"]


class Project(NamedTuple):
    """given: a run that evaluates weights as they are; trained: one that has its own; photo: an image to predict."""

    root: Store
    given: Run
    trained: Run
    photo: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("detection")
    root, file = boxes_root(folder), random_weights(folder / "w.pth", NAMES)
    given = start_attempt(root, driver.pin_inputs(root, boxes_spec(file), folder / "cache"))
    trained = start_attempt(
        root, driver.pin_inputs(root, boxes_spec("random", "train.epochs=1", "train.batch=2"), folder / "cache")
    )
    saved = torch.load(file, weights_only=True)
    for key in saved["model"]:  # so that the two runs say different things, and confidences differ from 0 and 1
        saved["model"][key] = saved["model"][key] * (0.1 if ".2.weight" in key else 1)
    torch.save(saved, folder / "own.pth")
    data = (folder / "own.pth").read_bytes()
    trained.write_shared("weights/boxes.pth", data)
    trained.update_record(state="complete", weights={"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})
    patches = np.random.default_rng(3).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    Image.fromarray(patches).resize((120, 70)).save(folder / "photo.png")
    return Project(root, given.run, trained.run, folder / "photo.png")


@pytest.fixture
def project(made: Project, tmp_path: Path, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy, in the storage that `visionjobs` uses, and an empty current folder."""
    shutil.copytree(made.root.address, tmp_path / "storage")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    root = open_store(str(tmp_path / "storage"))
    return Project(root, open_run(root, made.given.id), open_run(root, made.trained.id), made.photo)


def boxes(folder: str) -> list[list[str]]:
    with Path(folder, "predictions.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.mark.parametrize("which", ["given", "trained"])
def test_predict(project: Project, visionjobs: Callable[..., Any], which: str) -> None:
    run = getattr(project, which)
    ended = visionjobs("predict", run.id, str(project.photo), "--out", "out")
    assert (ended.status, ended.out) == (0, f"{Path('out').absolute()}\n"), ended.err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "boxes", "contact-sheet-001.png", "predictions.csv", "predictions.jsonl",
    ]  # fmt: skip
    rows = boxes("out")
    assert len(rows) > 1
    assert {row[1] for row in rows} <= set(NAMES)
    assert min(float(row[2]) for row in rows) > 0.005  # the job's higher floor
    with Image.open("out/boxes/photo.jpg") as drawn:
        assert drawn.size == (120, 70)


def test_predict_options(project: Project, visionjobs: Callable[..., Any]) -> None:
    run, photo = project.trained.id, str(project.photo)
    assert visionjobs("predict", run, photo, "--out", "low", "--floor", "1e-5").status == 0
    assert visionjobs("predict", run, photo, "--out", "high", "--floor", "0.9").status == 0
    assert (
        visionjobs("predict", run, photo, "--out", "two", "--floor", "1e-5", "--top", "2", "--batch", "1").status == 0
    )
    assert len(boxes("low")) > 10 > len(boxes("high"))
    assert boxes("two") == boxes("low")[:2]


@pytest.mark.parametrize("floor", ["0", "1", "-0.5", "nan"])
def test_predict_with_a_floor_that_cannot_be(project: Project, visionjobs: Callable[..., Any], floor: str) -> None:
    ended = visionjobs("predict", project.trained.id, str(project.photo), "--floor", floor)
    assert (ended.status, ended.out) == (2, "")
    assert "expected a confidence between 0 and 1" in ended.err


def test_predict_with_damaged_or_missing_weights(project: Project, visionjobs: Callable[..., Any]) -> None:
    file = Path(project.trained.store.address, "weights/boxes.pth")
    file.write_bytes(file.read_bytes()[:-1])
    ended = visionjobs("predict", project.trained.id, str(project.photo), "--out", "out")
    assert ended.status == 3
    assert "weights/boxes.pth is damaged: its sha256 is" in ended.err
    file.unlink()
    ended = visionjobs("predict", project.trained.id, str(project.photo), "--out", "out")
    assert ended.status == 2
    assert "its weights were deleted" in ended.err
    assert not Path("out").exists()


def test_export_gives_the_run_s_own_detector(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("export", project.trained.id, "--format", "onnx")
    assert ended.status == 0, ended.err
    address = f"{project.trained.store.address}/export/boxes.onnx"
    assert ended.out == f"{address}\n"
    assert "boxes differ from torch's by at most" in ended.err
    assert "on 16 images of" in ended.err
    assert "arning" not in ended.err
    metadata = onnxruntime.InferenceSession(address).get_modelmeta().custom_metadata_map
    wanted = {"names": "{0: 'circle', 1: 'square'}", "imgsz": "[64, 64]", "stride": "32", "task": "detect"}
    assert wanted.items() <= metadata.items()
    assert "/" not in "".join(metadata.values())  # no folders of this machine
    image = np.asarray(Image.open(project.photo).convert("RGB"))
    found = []
    for file in (address, f"{project.trained.store.address}/weights/boxes.pth"):
        config = DetectorConfig(file, (64, 64), floor=0.005, nms_iou=0.7, max_det=300, device="cpu")
        found += Detector(config).predict([image])
    assert len(found[0]) == len(found[1]) > 1
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-5)
    np.testing.assert_allclose(found[0].boxes, found[1].boxes, atol=1e-2)


def test_export_of_what_was_given_and_of_other_formats(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("export", project.given.id, "--format", "onnx")
    assert (ended.status, ended.out) == (2, "")
    assert "has trained nothing (train.epochs: 0)" in ended.err
    ended = visionjobs("export", project.trained.id, "--format", "torchscript")
    assert (ended.status, ended.out) == (2, "")
    assert "a detector is exported as onnx" in ended.err
    assert not list(Path(project.root.address).rglob("export"))


def test_export_without_any_image(project: Project, visionjobs: Callable[..., Any]) -> None:
    shutil.rmtree(Path(project.root.address, "datasets"))
    ended = visionjobs("export", project.trained.id, "--format", "onnx")
    assert (ended.status, ended.out) == (2, "")
    assert "an export is checked on real images, and there are none" in ended.err


def test_describe(visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("describe", "yolo", "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert found["parameters"] == {"total": 68_229_648, "trainable": 0}
    assert found["flops"] == {"image_forward": pytest.approx(257.8e9, rel=1e-3)}  # ultralytics' own table: 257.8 G
    assert found["classes"] == 80
    assert found["weights"]["origin"].endswith("/yolov8x.pt")
    assert "80 classes assumed" in ended.err
    told = visionjobs("describe", "yolo").err
    assert "missing: visionjobs weights pull yolo" in told
    assert "IoU 0.7, at most 300 boxes an image" in told


def test_describe_of_a_frozen_backbone(visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs(
        "describe", "yolo_finetune", "--set", "train.freeze=backbone", "--set", "data.size=[64,96]", "--json"
    )
    found = json.loads(ended.out)
    whole = build_yolo("yolov8n", 80)
    count = sum(p.numel() for p in whole.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in whole.model[:10].parameters())
    assert found["parameters"] == {"total": 3_157_200, "trainable": count - frozen}
    assert found["flops"]["image_forward"] == pytest.approx(8.744e9 * 64 * 96 / 640**2, rel=1e-3)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A web server that publishes a yolov8x.pt in ultralytics' format."""
    folder = tmp_path / "published"
    folder.mkdir()
    model = build_yolo("yolov8n", 2)
    torch.save({"model": model.half(), "ema": None, "train_args": {}}, folder / "yolov8x.pt")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    urls = {"yolov8x.pt": f"http://127.0.0.1:{server.server_port}/yolov8x.pt"}
    monkeypatch.setattr(weights_module, "asset_urls", lambda: urls)
    yield folder / "yolov8x.pt"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("target", ["yolo", "yolov8x.pt"])
def test_pull_by_ultralytics_name(
    visionjobs: Callable[..., Any], published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    ended = visionjobs("weights", "pull", target)
    assert ended.status == 0, ended.err
    stored = tmp_path / "storage/weights/yolov8x.pt"
    assert ended.out == f"{stored}\n"
    sha256 = hashlib.sha256(published.read_bytes()).hexdigest()
    assert (stored.parent / "yolov8x.pt.sha256").read_text() == f"{sha256}  yolov8x.pt\n"
    assert "a pickle, which was checked and not loaded" in ended.err
    assert f"yolov8x.pt, in storage, sha256 {sha256[:12]}" in visionjobs("describe", "yolo").err
    listed = visionjobs("weights", "list").err
    assert f"yolov8x.pt │ {published.stat().st_size / 1e6:.1f} │ {sha256[:12]} │ yolov8x.pt" in listed


def test_pull_with_another_sha256_or_of_a_damaged_file_stores_nothing(
    visionjobs: Callable[..., Any], published: Path, tmp_path: Path
) -> None:
    ended = visionjobs("weights", "pull", "yolo", "--sha256", "0" * 64)
    assert ended.status == 2
    assert "Nothing was stored" in ended.err
    published.write_bytes(published.read_bytes()[:-5000])
    ended = visionjobs("weights", "pull", "yolo")
    assert ended.status == 2
    assert "yolov8x.pt: is not a file of tensors that torch.save wrote" in ended.err
    assert not list((tmp_path / "storage").rglob("yolov8x*"))


def test_pull_of_a_file_that_was_downloaded_elsewhere(
    visionjobs: Callable[..., Any], published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the current folder comes before a published name, whose server may be out of reach."""
    monkeypatch.chdir(published.parent)
    monkeypatch.setattr(weights_module, "asset_urls", lambda: {"yolov8x.pt": "http://127.0.0.1:9/yolov8x.pt"})
    ended = visionjobs("weights", "pull", "yolov8x.pt")
    assert ended.status == 0, ended.err
    assert (tmp_path / "storage/weights/yolov8x.pt").read_bytes() == published.read_bytes()
