"""A run that evaluates weights as they are, from the spec to the report, in this process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import ending, start_attempt
from tiny_boxes import boxes_root, boxes_spec, finished_boxes, local, predict_here, random_weights

from visionjobs.coco_json import ANNOTATIONS, RESULTS, read_annotations, read_results
from visionjobs.data.coco_dataset import open_boxes
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.metrics.detection import evaluate
from visionjobs.models.weights import sha256_of
from visionjobs.runs import Run
from visionjobs.storage import Store
from visionjobs.training import driver
from visionjobs.training.check_detector import check_detector
from visionjobs.training.detect import complete_boxes
from visionjobs.training.evaluate import Told
from visionjobs.training.evaluate_boxes import evaluate_boxes
from visionjobs.training.setup import check_dataset


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return boxes_root(tmp_path_factory.mktemp("boxes"))


@pytest.fixture(scope="module")
def weights(boxes: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("weights") / "random.pth", local(boxes).manifest.classes)


@pytest.fixture(scope="module")
def run(boxes: Store, weights: Path) -> Run:
    return finished_boxes(boxes, weights)


def read(run: Run, key: str):
    return json.loads(run.store.read(key))


def told() -> Told:
    return Told(lambda *_: lambda _: None, lambda *_: None, lambda _: None)


def test_leaves_a_complete_folder(run: Run) -> None:
    record = read(run, "record.json")
    assert (record["state"], record["outcome"], record["epochs"], record["weights"]) == (
        "complete",
        "complete",
        0,
        None,
    )
    keys = {entry.key for entry in run.store.entries()}
    assert {RESULTS, ANNOTATIONS, "predictions/curves.npz", "predictions/box_scenes.npz", "metrics.json",
            "report/report.html", "spec.yaml", "dataset.json"} <= keys  # fmt: skip
    assert not [key for key in keys if key.startswith(("weights/", "attempts/0001/predictions/"))]


def test_metrics_are_those_of_the_stored_boxes(run: Run, boxes: Store) -> None:
    truth = read_annotations(run.store.read(ANNOTATIONS), "annotations")
    found = read_results(run.store.read(RESULTS), "results", truth)
    assert len(found) > 100
    assert (found.scores >= 0.001).all()
    stored = read(run, "metrics.json")
    assert (stored["task"], stored["split"], stored["job"]) == ("detection", "val", "boxes")
    assert stored["metrics"] == evaluate(truth, found, [0.001, 0.005]).to_dict()
    original = open_boxes(local(boxes), "val").truth
    assert np.array_equal(truth.boxes, original.boxes)
    assert truth.classes == original.classes


def test_the_spec_pins_what_was_evaluated(run: Run, weights: Path) -> None:
    spec = run.spec()
    assert spec.model.sha256 == sha256_of(weights)
    assert spec.model.weights == str(weights)
    assert spec.data.version != "newest"


def test_weights_that_were_changed_since_are_refused(boxes: Store, weights: Path, tmp_path: Path) -> None:
    spec = driver.pin_inputs(boxes, boxes_spec(weights), ending(boxes).cache)
    other = random_weights(tmp_path / "random.pth", local(boxes).manifest.classes, seed=1)
    changed = spec.model_copy(update={"model": spec.model.model_copy(update={"weights": str(other)})})
    with pytest.raises(UserError, match=r"random\.pth has the sha256 [0-9a-f]{64}, expected") as caught:
        predict_here(boxes, start_attempt(boxes, changed), changed)
    assert sha256_of(weights) in str(caught.value)


def test_an_attempt_that_ended_in_the_middle_is_not_finished(boxes: Store, weights: Path) -> None:
    spec = driver.pin_inputs(boxes, boxes_spec(weights), ending(boxes).cache)
    attempt = start_attempt(boxes, spec)
    predict_here(boxes, attempt, spec, images=10)
    with pytest.raises(VisionjobsError, match=r"10 of 16 images are predicted; continue the run"):
        complete_boxes(attempt.run, spec, local(boxes), spec.model.sha256 or "", lambda _: None)


def test_evaluated_again_it_is_the_same(run: Run, boxes: Store) -> None:
    found = evaluate_boxes(run, boxes, None, None, None, ending(boxes).cache, told())
    assert found.own
    stored = read(run, "metrics.json")["metrics"]["floors"]
    for floor, values in found.metrics["floors"].items():
        assert values["detections"] == stored[floor]["detections"]
        assert values["coco"] == pytest.approx(stored[floor]["coco"], abs=1e-6)
    assert found.store.exists("report/report.html")
    assert found.store.exists(RESULTS)


def test_evaluated_on_all_images_of_the_dataset(run: Run, boxes: Store) -> None:
    counted: list[int] = []
    asked = replace(told(), samples=lambda count, total: counted.append(count))
    found = evaluate_boxes(run, boxes, "all", None, None, ending(boxes).cache, asked)
    assert (found.metrics["images"], sum(counted), found.own) == (64, 64, False)
    assert found.store.address.endswith("evaluations/all")
    with pytest.raises(UserError, match=r"--split test: .* has train, val, all"):
        evaluate_boxes(run, boxes, "test", None, None, ending(boxes).cache, told())


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (["data.name=masks"], "no dataset"),
        (["model.name=yolov8"], r'model\.name: there is no detector "yolov8"; expected one of yolov8n, '),
        (["model.weights=/nowhere/yolo.pth"], "is missing"),
        (["model.weights=yolov8s.pt"], "are for yolov8s, and model.name is yolov8n"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_made(boxes: Store, weights: Path, sets, expected) -> None:
    with pytest.raises(UserError, match=expected):
        driver.pin_inputs(boxes, boxes_spec(weights, *sets), ending(boxes).cache)


def test_a_pickle_needs_trust_or_a_sha256(boxes: Store, weights: Path, tmp_path: Path) -> None:
    pickle = tmp_path / "yolo.pt"
    pickle.write_bytes(weights.read_bytes())
    with pytest.raises(UserError, match=r"is a pickle, which can run any code"):
        driver.pin_inputs(boxes, boxes_spec(pickle), ending(boxes).cache)
    for way in ("model.trust=true", f"model.sha256={sha256_of(pickle)}"):
        assert driver.pin_inputs(boxes, boxes_spec(pickle, way), ending(boxes).cache).model.sha256 == sha256_of(pickle)


def test_weights_are_opened_before_anything_is_made(boxes: Store, weights: Path, tmp_path: Path) -> None:
    manifest = local(boxes).manifest
    assert check_detector(boxes_spec(weights), weights, manifest) == []
    strange = random_weights(tmp_path / "strange.pth", ["left", "right"])
    with pytest.raises(UserError, match="the model and the dataset have no class in common"):
        check_detector(boxes_spec(strange), strange, manifest)
    half = random_weights(tmp_path / "half.pth", [manifest.classes[0], "unicorn"])
    first, second = check_detector(boxes_spec(half), half, manifest)
    assert "unicorn" in first
    assert manifest.classes[1] in second
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(weights.read_bytes()[:1000])
    for epochs in (0, 1):
        with pytest.raises(UserError, match=r"damaged\.pth: is not a file of tensors"):
            check_detector(boxes_spec(damaged, f"train.epochs={epochs}"), damaged, manifest)
    with pytest.raises(UserError, match=r"some\.onnx can be evaluated \(train\.epochs: 0\), not trained further"):
        check_detector(boxes_spec("some.onnx", "train.epochs=1"), Path("some.onnx"), manifest)


def test_an_onnx_file_of_another_model_than_the_job_says_is_told(boxes: Store, test_data: Path) -> None:
    file = test_data / "weights" / "yolov8n_int8.onnx"
    classes = ["person", "dog"]
    dataset = local(boxes).manifest.model_copy(update={"classes": classes})
    size = "data.size=[640,640]"
    assert not [text for text in check_detector(boxes_spec(file, size), file, dataset) if "model.name" in text]
    *_, told = check_detector(boxes_spec(file, size, "model.name=yolov8x"), file, dataset)
    assert told.startswith("model.name is yolov8x, and yolov8n_int8.onnx says that it is yolov8n")
    with pytest.raises(UserError, match=r"takes images of 640 x 640 pixels .*, and data\.size is \[64, 64\]"):
        check_detector(boxes_spec(file), file, dataset)


def test_a_dataset_without_the_split_that_is_needed(boxes: Store, weights: Path) -> None:
    manifest = local(boxes).manifest
    only = manifest.model_copy(update={"counts": {"train": manifest.counts["train"]}, "sizes": {"train": 48}})
    with pytest.raises(UserError, match=r"has no images in a split val, which this job needs; it has train"):
        check_dataset(boxes_spec(weights), only)
    without = manifest.model_copy(update={"counts": {"val": manifest.counts["val"]}, "sizes": {"val": 16}})
    check_dataset(boxes_spec(weights), without)
    with pytest.raises(UserError, match="has no images in a split train"):
        check_dataset(boxes_spec(weights, "train.epochs=1"), without)


def test_a_run_that_trains_nothing_stays_so(run: Run) -> None:
    with pytest.raises(UserError, match="it evaluated its weights as they are"):
        driver.check_may_start(run, run.spec())
    trained = run.spec().model_copy(update={"train": run.spec().train.model_copy(update={"epochs": 3})})
    with pytest.raises(UserError, match="one that trains nothing stays so"):
        driver.check_may_start(run, trained)
