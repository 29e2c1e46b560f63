"""Weights of detectors: ultralytics' pickles, our own files, and what is refused unread."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_boxes import boxes_spec

from visionjobs.errors import UserError
from visionjobs.models.weights import Source, job_source
from visionjobs.models.weights_content import content_of
from visionjobs.models.yolo import build_yolo, yolo_state
from visionjobs.models.yolo_assets import asset_urls
from visionjobs.models.yolo_weights import build_detector, check_trusted, load_detection_state

NAMES = ["fox", "owl", "elk"]


class Attack:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.target),)


def model() -> Any:
    torch.manual_seed(3)
    built = build_yolo("yolov8n", len(NAMES))
    built.names = dict(enumerate(NAMES))
    return built


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ours.pth; and best.pt as ultralytics saves: a whole model in fp16, the averaged weights beside it."""
    folder = tmp_path_factory.mktemp("weights")
    built = model()
    torch.save(yolo_state(built, NAMES), folder / "ours.pth")
    plain = copy.deepcopy(built)
    with torch.no_grad():
        built.model[0].conv.weight.fill_(0.25)
    content = {"epoch": 3, "model": plain.half(), "ema": built.half(), "updates": 7, "train_args": {"lr0": 0.01}}
    torch.save(content, folder / "best.pt")
    return folder


@pytest.fixture
def pickled(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(saved / "best.pt", tmp_path))


@pytest.fixture
def ours(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(saved / "ours.pth", tmp_path))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_pickle_needs_its_sha256_or_trust(pickled: Path) -> None:
    with pytest.raises(UserError, match=r"is a pickle, which can run any code.*model.sha256.*or say model.trust: true"):
        check_trusted(boxes_spec(pickled), pickled)
    check_trusted(boxes_spec(pickled, "model.trust=true"), pickled)
    check_trusted(boxes_spec(pickled, f"model.sha256={digest(pickled)}"), pickled)


@pytest.mark.parametrize("trust", ["true", "false"])
def test_another_sha256_is_refused_whatever_is_trusted(ours: Path, trust: str) -> None:
    with pytest.raises(UserError, match=f"ours.pth has the sha256 {digest(ours)}, and model.sha256 expects {'0' * 64}"):
        check_trusted(boxes_spec(ours, f"model.sha256='{'0' * 64}'", f"model.trust={trust}"), ours)


def test_a_file_without_code_needs_no_trust(ours: Path) -> None:
    check_trusted(boxes_spec(ours), ours)


def test_of_a_pickle_the_averaged_weights_are_taken_in_float32(pickled: Path) -> None:
    weights = load_detection_state(pickled)
    assert weights.names == tuple(NAMES)
    assert weights.yaml["nc"] == 3
    assert {value.dtype for value in weights.state.values()} == {torch.float32, torch.int64}
    assert bool((weights.state["model.0.conv.weight"] == 0.25).all())
    built = build_detector(weights, "here")
    assert (built.names, built.training) == (dict(enumerate(NAMES)), False)
    torch.testing.assert_close(built.state_dict(), weights.state, rtol=0, atol=0)


def test_what_one_pickle_may_hold_other_files_may_not(pickled: Path, tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    load_detection_state(pickled)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(UserError, match="has code in it"):
        load_detection_state(pickled.rename(tmp_path / "best.pth"))


def test_a_file_of_ours_gives_the_same_model(ours: Path) -> None:
    images = torch.rand(2, 3, 64, 96)
    built = build_detector(load_detection_state(ours), "here")
    with torch.inference_mode():
        torch.testing.assert_close(built(images)[0], model().eval()(images)[0], rtol=0, atol=0)


def test_the_random_state_is_left_alone(ours: Path) -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    build_detector(load_detection_state(ours), "here")
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("name", ["evil.pt", "evil.pth"])
def test_no_code_of_a_file_is_run(tmp_path: Path, name: str) -> None:
    torch.save({"model": Attack(tmp_path / "made"), "yaml": {}, "names": ["a"]}, tmp_path / name)
    with pytest.raises(UserError, match=name):
        load_detection_state(tmp_path / name)
    with pytest.raises(UserError, match=name):
        content_of(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "__import__('os').mkdir('made')"},
        {"backbone": [[-1, 1, "torch_load", ["x"]]], "head": []},
        {},
    ],
)
def test_no_code_of_a_yaml_is_run(ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    monkeypatch.chdir(tmp_path)
    weights = load_detection_state(ours)
    yaml = weights.yaml | change if change else {"layers": 3}
    with pytest.raises(UserError, match=r"here: its layers are none of a detector that ultralytics [0-9.]+ can build"):
        build_detector(weights._replace(yaml=yaml), "here")
    assert not (tmp_path / "made").exists()


def test_weights_of_other_layers_are_named(ours: Path) -> None:
    weights = load_detection_state(ours)
    state = {key: value for key, value in weights.state.items() if key != "model.0.conv.weight"}
    with pytest.raises(UserError, match=r"here: .*missing: model.0.conv.weight"):
        build_detector(weights._replace(state=state), "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.ones(2)}, 'has no "yaml"'),
        ({"yaml": {"nc": 1}, "names": ["a"]}, "has no state dict"),
        ({"model": {"a": 1}, "yaml": {"nc": 1}, "names": ["a"]}, "has no state dict"),
        ({"model": {"a": torch.ones(2)}, "yaml": {"nc": 1}}, 'its "names" are None'),
        ({"model": {"a": torch.ones(2)}, "yaml": {"nc": 1}, "names": {1: "a"}}, 'its "names" are'),
        ({"model": {"a": torch.ones(2)}, "yaml": {"nc": 1}, "names": [1]}, 'its "names" are'),
        (b"no zip", "is not a file of tensors"),
        (None, "is not a file of tensors"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    file = tmp_path / "x.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(UserError, match=rf"x.pth: .*{message}"):
        load_detection_state(file)


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "gone"])
def test_a_damaged_pickle_is_named(pickled: Path, damage: str) -> None:
    data = bytearray(pickled.read_bytes())
    data[len(data) // 2] ^= 0xFF
    kinds = {"cut": data[: len(data) // 3], "flip": data, "text": b"hello", "empty": b""}
    pickled.unlink() if damage == "gone" else pickled.write_bytes(kinds[damage])
    with pytest.raises(UserError, match=r"best\.pt"):
        content_of(pickled)
    if damage != "flip":  # torch does not ask for the checksums of tensors
        with pytest.raises(UserError, match=r"best\.pt"):
            load_detection_state(pickled)


def test_what_a_file_holds_in_words(pickled: Path, ours: Path, tmp_path: Path) -> None:
    assert content_of(pickled) == "a detector that ultralytics saved; a pickle, which was checked and not loaded"
    assert content_of(ours).startswith("a detector of 3 classes, 355 tensors, model.0.conv.weight [16, 3, 3, 3] to ")
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "linear.pt")
    with pytest.raises(UserError, match=r"linear.pt: is a pickle that holds no detector.*torch.nn.modules.linear.Lin"):
        content_of(tmp_path / "linear.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "plain.pt")
    assert content_of(tmp_path / "plain.pt") == "1 tensors, a [2] to a [2]"


def test_what_an_onnx_file_holds(test_data: Path, tmp_path: Path) -> None:
    file = test_data / "weights/yolov8n_int8.onnx"
    assert content_of(file) == "ONNX, opset 20, a detector of 80 classes"
    (tmp_path / "cut.onnx").write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"cut.onnx: is no valid ONNX file"):
        content_of(tmp_path / "cut.onnx")


def test_the_names_of_published_files() -> None:
    urls = asset_urls()
    assert {"yolov8n.pt", "yolov8x.pt", "yolov8x-oiv7.pt"} < urls.keys()
    assert not any("seg" in name or "pose" in name or name.startswith("yolo11") for name in urls)
    assert urls["yolov8x.pt"] == "https://github.com/ultralytics/assets/releases/download/v8.4.0/yolov8x.pt"


def test_a_published_name_means_what_ultralytics_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("yolov8n.pt").write_text("another file of that name")
    source = job_source(boxes_spec("yolov8n.pt", "model.trust=true"))
    assert source == Source("yolov8n.pt", asset_urls()["yolov8n.pt"])
    assert job_source(boxes_spec("yolov8n.pt", f"model.sha256={'a' * 64}")).sha256 == "a" * 64  # type: ignore[union-attr]
    assert job_source(boxes_spec("./yolov8n.pt")).origin == str(tmp_path / "yolov8n.pt")  # type: ignore[union-attr]
    assert job_source(boxes_spec("random", "train.epochs=1")) is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("yolov8x.pt", "yolov8x.pt are for yolov8x, and model.name is yolov8n"),
        ("yolov8nn", 'Did you mean "yolov8n.pt"'),
        ("weights.bin", "ends with .pt, .pth, .onnx"),
        ("IMAGENET1K_V1", "expected random, one of yolov8l-oiv7.pt"),
        ("https://host/yolov8n.pt", "not the address of a weights file"),
    ],
)
def test_weights_that_mean_nothing(weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        job_source(boxes_spec(weights))
