"""Fine-tuning by ultralytics' trainer under the contract of a run, in this process."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import assert_same_bits, start_attempt
from tiny_finetune import COLOURS, finetune_spec, newest_state, rectangles_root, tune_here

from visionjobs.models.ultralytics_env import quiet_ultralytics
from visionjobs.models.yolo import build_yolo, weights_file, yolo_state
from visionjobs.runs import Attempt, read_progress
from visionjobs.storage import Store
from visionjobs.training.checkpoint import list_checkpoints, load_newest

quiet_ultralytics()

from visionjobs.training.finetune_trainer import FineTuner  # noqa: E402

YOLO = ("data.augment=yolo",)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return rectangles_root(tmp_path_factory.mktemp("boxes"))


@pytest.fixture(autouse=True)
def leave_torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Killed(BaseException):
    """Ends the training before a step, as a kill does, except that what was handed to the recorder is still written."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess = FineTuner.preprocess_batch

    def deadly(self, batch):
        if self.step == step:
            raise Killed
        return preprocess(self, batch)

    monkeypatch.setattr(FineTuner, "preprocess_batch", deadly)


def tuned(root: Store, *sets: str) -> Attempt:
    spec = finetune_spec(*sets)
    attempt = start_attempt(root, spec)
    assert tune_here(root, attempt, spec).error is None
    return attempt


def test_history_checkpoint_and_outcome(boxes: Store) -> None:
    spec = finetune_spec(*YOLO)
    attempt = start_attempt(boxes, spec)
    outcome = tune_here(boxes, attempt, spec)
    assert (outcome.error, outcome.metrics, outcome.step) == (None, None, 6)
    facts = outcome.facts
    assert (facts["device"], facts["precision"], facts["world"], facts["threads"]) == ("cpu", "fp32", 1, 1)
    assert (facts["samples_per_epoch"], facts["dropped_per_epoch"]) == (24, 0)

    rows = attempt.run.history()
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 3), (1, 6)]
    for row in rows:
        assert row["train_loss"] == pytest.approx(row["train_box"] + row["train_cls"] + row["train_dfl"])
        assert math.isfinite(row["train_loss"])
        assert 0 <= row["val_map"] <= row["val_map50"] <= 1
        assert row["images_per_second"] > 0
    assert rows[1]["train_loss"] < rows[0]["train_loss"]

    assert [(info.step, info.epoch, info.score) for info in list_checkpoints(attempt.run)] == [
        (3, 0, rows[0]["val_map"]), (6, 1, rows[1]["val_map"]),
    ]  # fmt: skip
    state = newest_state(attempt.run)
    assert (state["epoch"], state["names"], state["yaml"]["nc"]) == (1, list(COLOURS), 3)
    assert all(tensor.dtype == torch.float32 for tensor in state["model"].values() if tensor.is_floating_point())
    assert not torch.equal(state["model"]["model.0.conv.weight"], state["raw"]["model.0.conv.weight"])

    left = [path.name for folder in (boxes.address, f"{boxes.address}-cache") for path in Path(folder).rglob("*")]
    assert "state.pt" in left
    assert "data.yaml" in left
    assert not [name for name in left if name.endswith((".cache", "last.pt", "best.pt", "args.yaml", "results.csv"))]


def test_weights_file_builds_the_model_that_was_trained(boxes: Store, tmp_path: Path) -> None:
    from visionjobs.models.yolo_weights import build_detector, load_detection_state

    attempt = tuned(boxes, "train.epochs=1")
    found = load_newest(attempt.run, pytest.fail)
    path = tmp_path / "tuned.pth"
    path.write_bytes(weights_file(found[1]))
    weights = load_detection_state(path)
    assert weights.names == COLOURS
    model = build_detector(weights, "tuned.pth")
    assert_same_bits(dict(model.state_dict()), newest_state(attempt.run)["model"])
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 64, 64))[0].shape == (1, 4 + 3, 84)


@pytest.mark.parametrize(
    ("sets", "step"),
    [
        pytest.param(YOLO, 4, id="yolo"),
        pytest.param((), 5, id="plain", marks=pytest.mark.slow),
        pytest.param((*YOLO, "train.batch=2", "train.epochs=3"), 30, id="accumulated", marks=pytest.mark.slow),
        pytest.param(("train.optimizer=adamw", "train.schedule=cosine"), 3, id="adamw", marks=pytest.mark.slow),
    ],
)
def test_killed_within_an_epoch(boxes: Store, monkeypatch, sets: tuple[str, ...], step: int) -> None:
    """It goes on at the epoch after the newest checkpoint, and ends with the weights of one that was not killed."""
    whole = tuned(boxes, *sets)
    spec = finetune_spec(*sets)
    first = start_attempt(boxes, spec)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(step, patch)
        tune_here(boxes, first, spec)
    second = first.run.claim("attempt", {})
    assert tune_here(boxes, second, spec).error is None

    before, after = newest_state(whole.run), newest_state(first.run)
    for key in ("model", "raw"):
        assert_same_bits(before[key], after[key])
    assert before["ema_updates"] == after["ema_updates"]
    columns = ("epoch", "step", "lr", "train_loss", "val_map")
    histories = [[[row[key] for key in columns] for row in run.history()] for run in (whole.run, first.run)]
    assert histories[0] == histories[1]


def test_checkpoints_when_due_and_at_the_end_and_what_is_complete_is_not_trained_again(boxes: Store) -> None:
    sets = ("train.epochs=3", "train.checkpoint.every=2")
    attempt = tuned(boxes, *sets)
    kept = list_checkpoints(attempt.run)
    assert [info.epoch for info in kept] == [1, 2]
    again = tune_here(boxes, attempt.run.claim("attempt", {}), finetune_spec(*sets))
    assert (again.error, again.step) == (None, 9)
    assert list_checkpoints(attempt.run) == kept


def test_a_newer_attempt_stops_it(boxes: Store, monkeypatch) -> None:
    spec = finetune_spec("train.epochs=4")
    attempt = start_attempt(boxes, spec)
    save = FineTuner.save_model

    def superseded(self):
        if self.epoch == 1:
            while not list_checkpoints(attempt.run):  # the first epoch's is written beside the training
                time.sleep(0.01)
            attempt.run.claim("attempt", {})
        return save(self)

    monkeypatch.setattr(FineTuner, "save_model", superseded)
    outcome = tune_here(boxes, attempt, spec)
    assert outcome.exit_status == 5
    assert [info.epoch for info in list_checkpoints(attempt.run)] == [0]


def test_a_loss_that_is_not_finite_is_final(boxes: Store, monkeypatch) -> None:
    preprocess = FineTuner.preprocess_batch

    def broken(self, batch):
        batch = preprocess(self, batch)
        return batch | {"img": batch["img"] * math.inf} if self.step == 4 else batch

    monkeypatch.setattr(FineTuner, "preprocess_batch", broken)
    spec = finetune_spec()
    attempt = start_attempt(boxes, spec)
    outcome = tune_here(boxes, attempt, spec)
    assert outcome.exit_status == 3
    assert "the loss of epoch 2 is not finite" in outcome.error
    assert [row["epoch"] for row in attempt.run.history()] == [0]


def test_memory_that_runs_out_does_not_halve_the_batch(boxes: Store, monkeypatch) -> None:
    """Ultralytics would go on with half of train.batch, silently."""
    preprocess = FineTuner.preprocess_batch

    def greedy(self, batch):
        if self.step == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return preprocess(self, batch)

    monkeypatch.setattr(FineTuner, "preprocess_batch", greedy)
    spec = finetune_spec()
    outcome = tune_here(boxes, start_attempt(boxes, spec), spec)
    assert outcome.exit_status == 3
    assert "lower train.batch" in outcome.error
    assert "20.00 GiB" in outcome.error


def test_frozen_backbone_stays_and_a_new_head_is_told(boxes: Store, tmp_path: Path) -> None:
    torch.manual_seed(3)
    initial = build_yolo("yolov8n", 80)
    path = tmp_path / "initial.pth"
    torch.save(yolo_state(initial, [f"thing {number}" for number in range(80)]), path)
    spec = finetune_spec(f"model.weights={path}", "train.freeze=backbone", "train.epochs=1")
    attempt = start_attempt(boxes, spec)
    outcome = tune_here(boxes, attempt, spec)
    assert outcome.error is None
    (warning,) = read_progress(attempt.store)["warnings"]
    assert "are of 80 classes, and the dataset has 3" in warning
    trained = newest_state(attempt.run)["raw"]
    frozen = {key for key, value in initial.state_dict().items() if key.split(".")[1] in map(str, range(10))}
    assert all(torch.equal(trained[key], initial.state_dict()[key]) for key in frozen)
    assert not torch.equal(trained["model.21.cv1.conv.weight"], initial.state_dict()["model.21.cv1.conv.weight"])


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("data.size=[64, 96]",), "squares only"),
        (("train.precision=bf16",), "on a GPU only"),
        (("train.lr=2.0",), "train.lr: 2.0"),
        (("train.batch=32",), "train.batch: 32 is more than the 24"),
        (("model.name=yolov9",), 'no detector "yolov9"'),
    ],
)
def test_what_cannot_work_is_told(boxes: Store, sets: tuple[str, ...], message: str) -> None:
    spec = finetune_spec(*sets)
    outcome = tune_here(boxes, start_attempt(boxes, spec), spec)
    assert outcome.exit_status == 2
    assert message in outcome.error


def test_images_that_ultralytics_leaves_out_are_told(tmp_path: Path) -> None:
    root, spec = rectangles_root(tmp_path), finetune_spec()
    assert tune_here(root, start_attempt(root, spec), spec).error is None
    (image,) = Path(f"{root.address}-cache").rglob("images/train/*05.png")
    image.write_bytes(image.read_bytes()[:100])
    outcome = tune_here(root, start_attempt(root, spec), spec)
    assert outcome.exit_status == 3
    assert f"takes 23 of the 24 images of train, and leaves out such as {image.name}" in outcome.error
