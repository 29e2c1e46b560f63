"""The detector, on real photos with real weights, and its parts against slower ways to the same."""

from __future__ import annotations

import ast
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from tiny_boxes import random_weights
from torchvision.ops import nms

from visionjobs.errors import FinalError, UserError
from visionjobs.inference import detector as module
from visionjobs.inference.detector import Detector, DetectorConfig, Found
from visionjobs.inference.export import write_onnx
from visionjobs.inference.export_boxes import OUTPUT, _Exported
from visionjobs.inference.export_check import quiet
from visionjobs.models.yolo_weights import build_detector, load_detection_state

NAMES = ["fox", "owl", "elk"]
SIZE = (64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """w.pth: a YOLOv8n of three classes; w.onnx: the same for any batch; one.onnx, three.onnx: for just so many;
    unknown.onnx: as w.onnx, but it does not say how many anchors it gives."""
    folder = tmp_path_factory.mktemp("detector")
    random_weights(folder / "w.pth", NAMES)
    saved = torch.load(folder / "w.pth", weights_only=True)
    for key, tensor in saved["model"].items():
        if re.search(r"\.cv[23]\.\d\.2\.weight$", key):
            tensor.mul_(0.1)  # else most confidences are 1, and their order is rounding's
    torch.save(saved, folder / "w.pth")
    state = load_detection_state(folder / "w.pth")
    exported = _Exported(build_detector(state, "w.pth")).eval()
    properties = {"names": repr(dict(enumerate(NAMES))), "task": "detect"}
    with quiet():
        write_onnx(exported, torch.rand(2, 3, *SIZE), folder / "w.onnx", properties, OUTPUT)
    for batch, name in ((1, "one"), (3, "three")):
        model = onnx.load(folder / "w.onnx")
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = batch
        onnx.save(model, folder / f"{name}.onnx")
    model = onnx.load(folder / "w.onnx")
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "anchors"
    onnx.save(model, folder / "unknown.onnx")
    return folder


def config(weights: Path, **changes: Any) -> DetectorConfig:
    plain = DetectorConfig(str(weights), SIZE, floor=0.001, nms_iou=0.7, max_det=300, device="cpu")
    return replace(plain, **changes)


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    """Of each (height, width) an image of coloured patches."""
    generator = np.random.default_rng(seed)
    small = [generator.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in sizes]
    return [
        np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))
        for patches, (height, width) in zip(small, sizes, strict=True)
    ]


MIXED = pictures((40, 90), (200, 50), (64, 96), (300, 31), (9, 13))


def assert_same(found: Found, wanted: Found, pixels: float = 2e-3) -> None:
    assert len(found) == len(wanted)
    np.testing.assert_array_equal(found.categories, wanted.categories)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=pixels)


def test_a_config_is_plain_and_can_be_pickled() -> None:
    plain = config(Path("w.pth"))
    assert pickle.loads(pickle.dumps(plain)) == plain  # noqa: S301 (our own)


def test_what_comes_out(folder: Path) -> None:
    detector = Detector(config(folder / "w.pth"))
    assert detector.classes == tuple(NAMES)
    found = detector.predict(MIXED)
    assert len(found) == len(MIXED)
    for result, image in zip(found, MIXED, strict=True):
        height, width = image.shape[:2]
        assert (result.boxes.dtype, result.scores.dtype, result.categories.dtype) == ("f8", "f8", "i8")
        assert result.boxes.shape == (len(result), 4)
        assert len(result) > 3
        assert bool((np.diff(result.scores) <= 0).all())
        assert bool(((result.scores > 0.001) & (result.scores <= 1)).all())
        assert set(result.categories.tolist()) <= {0, 1, 2}
        x, y, w, h = result.boxes.T
        assert bool((x >= 0).all() and (y >= 0).all() and (w >= 0).all() and (h >= 0).all())
        assert bool((x + w <= width + 1e-9).all() and (y + h <= height + 1e-9).all())
    assert detector.predict([]) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_an_image_s_boxes_do_not_depend_on_its_company(folder: Path, threads: int) -> None:
    detector = Detector(config(folder / "w.pth", threads=threads))
    together = detector.predict(MIXED)
    for image, found in zip(MIXED, together, strict=True):
        assert_same(detector.predict([image])[0], found)


@pytest.mark.parametrize("file", ["w.onnx", "one.onnx", "three.onnx", "unknown.onnx"])
def test_onnx_files_of_any_batch_give_torch_s_boxes(folder: Path, file: str) -> None:
    wanted = Detector(config(folder / "w.pth")).predict(MIXED)
    detector = Detector(config(folder / file))
    assert detector.classes == tuple(NAMES)
    for found, expected in zip(detector.predict(MIXED), wanted, strict=True):
        assert_same(found, expected)


def slowly(model: torch.nn.Module, image: np.ndarray, wanted: DetectorConfig) -> Found:
    """Letterbox, NMS a class at a time and the way back written out, for images that need no resizing."""
    (height, width), (tall, wide) = image.shape[:2], wanted.size
    top, left = round((tall - height) / 2 - 0.1), round((wide - width) / 2 - 0.1)
    boxed = np.full((tall, wide, 3), 114, np.uint8)
    boxed[top : top + height, left : left + width] = image
    with torch.inference_mode():
        raw = model(torch.from_numpy(boxed).permute(2, 0, 1)[None].float() / 255)[0][0]
    kept: list[tuple[float, int, list[float]]] = []
    scores, classes = raw[4:].max(0)
    for number in range(raw.shape[0] - 4):
        chosen = torch.nonzero((classes == number) & (scores > wanted.floor))[:, 0]
        x, y, w, h = raw[:4, chosen]
        corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
        for place in nms(corners, scores[chosen], wanted.nms_iou).tolist():
            x1, x2 = (float(np.clip(value - left, 0, width)) for value in corners[place, ::2].tolist())
            y1, y2 = (float(np.clip(value - top, 0, height)) for value in corners[place, 1::2].tolist())
            kept.append((float(scores[chosen][place]), number, [x1, y1, x2 - x1, y2 - y1]))
    kept.sort(key=lambda item: -item[0])
    best = kept[: wanted.max_det]
    return Found(
        np.array([box for *_, box in best]).reshape(-1, 4),
        np.array([score for score, *_ in best]),
        np.array([number for _, number, _ in best], np.int64),
    )


@pytest.mark.parametrize("changes", [{}, {"nms_iou": 0.3}, {"max_det": 5}, {"floor": 0.01}])
def test_letterbox_nms_and_the_way_back_are_what_they_should_be(folder: Path, changes: dict[str, Any]) -> None:
    wanted = config(folder / "w.pth", **changes)
    detector = Detector(wanted)
    model = build_detector(load_detection_state(folder / "w.pth"), "w.pth")
    for image in pictures((64, 50), (33, 96), (64, 96), seed=1):
        (found,) = detector.predict([image])
        expected = slowly(model, image, wanted)
        assert len(found) == len(expected)
        np.testing.assert_allclose(found.scores, expected.scores, atol=2e-4)
        np.testing.assert_allclose(np.sort(found.boxes, axis=0), np.sort(expected.boxes, axis=0), atol=0.05)


@pytest.mark.parametrize("times", [2, 3])
def test_boxes_are_in_pixels_of_the_image_itself(folder: Path, times: int) -> None:
    """An image of doubled pixels is letterboxed to the very same; its boxes are twice as large."""
    detector = Detector(config(folder / "w.pth"))
    (image,) = pictures(SIZE, seed=4)
    larger = image.repeat(times, axis=0).repeat(times, axis=1)
    (small,), (large,) = detector.predict([image]), detector.predict([larger])
    assert_same(large, replace(small, boxes=small.boxes * times))


def test_nothing_found(folder: Path) -> None:
    (found,) = Detector(config(folder / "w.pth", floor=0.999999)).predict(MIXED[:1])
    assert (found.boxes.shape, found.scores.shape, found.categories.shape) == ((0, 4), (0,), (0,))
    assert found.categories.dtype == np.int64


def test_a_slow_machine_loses_no_boxes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ultralytics' NMS gives up after a time, and says so in a warning only."""
    from ultralytics.utils import nms as theirs

    wanted = Detector(config(folder / "w.pth")).predict(MIXED)
    clock = iter(range(0, 10_000_000, 1000))
    monkeypatch.setattr(theirs.time, "time", lambda: float(next(clock)))
    for found, expected in zip(Detector(config(folder / "w.pth")).predict(MIXED), wanted, strict=True):
        assert_same(found, expected)


def test_answers_that_are_not_finite(folder: Path, tmp_path: Path) -> None:
    saved = torch.load(folder / "w.pth", weights_only=True)
    saved["model"]["model.22.cv3.0.2.bias"][0] = torch.nan
    torch.save(saved, tmp_path / "nan.pth")
    with pytest.raises(FinalError, match=r"nan.pth: its answers are not finite"):
        Detector(config(tmp_path / "nan.pth")).predict(MIXED[:2])


def changed(folder: Path, target: Path, **metadata: str | None) -> Path:
    model = onnx.load(folder / "w.onnx")
    properties = {entry.key: entry.value for entry in model.metadata_props} | metadata
    onnx.helper.set_model_props(model, {key: value for key, value in properties.items() if value is not None})
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"names": None}, "its metadata do not name the classes"),
        ({"names": "{0: open('/tmp/x')}"}, "its metadata do not name the classes"),
        ({"names": "{1: 'fox'}"}, "its metadata do not name the classes"),
        ({"names": "{0: 1}"}, r"its metadata name the classes \(1,\); expected texts"),
        ({"names": "{0: 'fox', 1: 'owl'}"}, r"gives \[1, 7, 126\]; expected \[batch, 6, anchors\]"),
        ({"task": "segment"}, 'its task is "segment"'),
    ],
)
def test_onnx_files_of_another_kind(folder: Path, tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    file = changed(folder, tmp_path / "x.onnx", **metadata)
    with pytest.raises(UserError, match=rf"x.onnx: {message}"):
        Detector(config(file)).predict(MIXED[:1])


def test_onnx_files_of_another_size_and_no_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"takes images of 64 x 96 pixels .*Set it to \[64, 96\]"):
        Detector(config(folder / "w.onnx", size=(96, 96)))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"bad.onnx: onnxruntime cannot open it"):
        Detector(config(tmp_path / "bad.onnx"))
    with pytest.raises(UserError, match=r"none.onnx: onnxruntime cannot open it"):
        Detector(config(tmp_path / "none.onnx"))


def test_the_real_file_names_coco_s_classes(test_data: Path) -> None:
    file = test_data / "weights/yolov8n_int8.onnx"
    detector = Detector(config(file, size=(640, 640)))
    props = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    assert detector.classes == tuple(ast.literal_eval(props["names"]).values())


def test_a_real_photo(test_data: Path) -> None:
    """COCO's image 139: a living room; its television, whose place is in the annotations, is found."""
    with Image.open(test_data / "coco_val2017_genuine/val2017/000000000139.jpg") as opened:
        image = np.asarray(opened.convert("RGB"))
    detector = Detector(config(test_data / "weights/yolov8n_int8.onnx", size=(640, 640), floor=0.25))
    (found,) = detector.predict([image])
    names = [detector.classes[number] for number in found.categories]
    x, y, w, h = found.boxes[names.index("tv")]
    assert np.abs(np.array([x, y, w, h]) - [7.0, 167.6, 149.3, 94.9]).max() < 12


@pytest.mark.slow
def test_the_published_reading_of_the_genuine_photos(test_data: Path, tmp_path: Path) -> None:
    """AP .372, AP50 .521, AP75 .398, small .224, medium .415, large .543, by 25,659 boxes (pycocotools)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from visionjobs.boxes import Detections
    from visionjobs.coco_json import read_annotations, write_results
    from visionjobs.inference.class_map import class_map

    folder = test_data / "coco_val2017_genuine"
    file = folder / "annotations/instances_val2017.json"
    truth = read_annotations(file.read_bytes(), str(file))
    detector = Detector(config(test_data / "weights/yolov8n_int8.onnx", size=(640, 640), threads=2))
    found = []
    for path in truth.paths:
        with Image.open(folder / "val2017" / path) as image:
            found += detector.predict([np.asarray(image.convert("RGB"))])
    assert sum(map(len, found)) == pytest.approx(25_659, rel=0.01)
    categories = class_map(detector.classes, truth.classes)[np.concatenate([result.categories for result in found])]
    together = Detections(
        np.repeat(np.arange(len(found)), [len(result) for result in found]), categories,
        np.concatenate([result.boxes for result in found]), np.concatenate([result.scores for result in found]),
    )  # fmt: skip
    (tmp_path / "results.json").write_bytes(write_results(truth, together))
    reference = COCO(str(file))
    evaluation = COCOeval(reference, reference.loadRes(str(tmp_path / "results.json")), "bbox")
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        step()
    np.testing.assert_allclose(evaluation.stats[:6], [0.372, 0.521, 0.398, 0.224, 0.415, 0.543], atol=3e-3)


def test_first() -> None:
    found = Found(np.arange(12.0).reshape(3, 4), np.array([0.9, 0.5, 0.1]), np.array([2, 0, 1]))
    assert [len(found.first(number)) for number in (None, 0, 2, 9)] == [3, 0, 2, 3]
    assert module.PADDING == 114
