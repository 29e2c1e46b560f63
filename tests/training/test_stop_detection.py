"""A detection job that is told to stop: fine-tuning goes on from the last epoch, prediction keeps what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import assert_same_bits, start_attempt
from tiny_finetune import finetune_spec, newest_state, rectangles_root, tune_here

from visionjobs.cluster.sizes import Share
from visionjobs.errors import StoppedError
from visionjobs.models.ultralytics_env import quiet_ultralytics
from visionjobs.runs import Attempt, request_stop
from visionjobs.storage import Store
from visionjobs.training import predict_boxes as predicting
from visionjobs.training.box_parts import BoxPart, read_parts
from visionjobs.training.checkpoint import list_checkpoints
from visionjobs.training.predict_boxes import STOPPED, PredictingActor, predict_boxes, stream_on_ray
from visionjobs.training.predictor import PredictWork
from visionjobs.training.stop import POD

quiet_ultralytics()

from visionjobs.training.finetune_trainer import FineTuner  # noqa: E402


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return rectangles_root(tmp_path_factory.mktemp("boxes"))


@pytest.fixture(autouse=True)
def leave_torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(boxes: Store) -> Attempt:
    spec = finetune_spec()
    attempt = start_attempt(boxes, spec)
    assert tune_here(boxes, attempt, spec).error is None
    return attempt


def test_fine_tuning_goes_on_from_the_last_epoch(boxes: Store, undisturbed: Attempt, pod: Path, monkeypatch) -> None:
    spec = finetune_spec()
    attempt = start_attempt(boxes, spec)
    preprocess = FineTuner.preprocess_batch

    def watched(self, batch):
        if self.step == 3:  # the first batch of the second epoch
            (pod / "stop").touch()
        return preprocess(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuner, "preprocess_batch", watched)
        outcome = tune_here(boxes, attempt, spec)
    assert (outcome.exit_status, outcome.stopped) == (1, POD)
    assert outcome.error == f"stopped at step 4 (within epoch 2, which is trained again): {POD}"
    assert [info.step for info in list_checkpoints(attempt.run)] == [3]

    (pod / "stop").unlink()
    assert tune_here(boxes, attempt.run.claim("attempt", {}), spec).error is None
    ours, theirs = (newest_state(run)["model"] for run in (attempt.run, undisturbed.run))
    assert_same_bits(ours, theirs)
    rows = [[(row["epoch"], row["val_map"]) for row in found.run.history()] for found in (attempt, undisturbed)]
    assert rows[0] == rows[1]


def test_fine_tuning_stops_within_a_validation(boxes: Store, pod: Path, monkeypatch) -> None:
    """7 images in batches of at most 8: it is looked after the only one of them."""
    spec = finetune_spec()
    attempt = start_attempt(boxes, spec)
    end_epoch, told = FineTuner._end_epoch, []

    def watched(self):
        end_epoch(self)
        told.append(self.to_validate)
        (pod / "stop").touch()

    monkeypatch.setattr(FineTuner, "_end_epoch", watched)
    outcome = tune_here(boxes, attempt, spec)
    assert told == [1]
    assert outcome.error == f"stopped at step 3 (within epoch 1, which is trained again): {POD}"
    assert list_checkpoints(attempt.run) == []


# Prediction


def part(images: list[int]) -> BoxPart:
    """Of images without boxes."""
    empty = {name: np.empty(0, np.float32) for name in BoxPart.__dataclass_fields__}
    return BoxPart(**empty | {"done": np.array(images, np.int64)})


def work(boxes: Store) -> PredictWork:
    return PredictWork(
        storage=boxes.address, endpoint=None, cache=f"{boxes.address}-cache", run_id="run", split="val",
        spec=finetune_spec().model_dump(mode="json"), checkpoint=None, sha256="0" * 64, threads=1, use_gpu=False,
    )  # fmt: skip


def predict_until(boxes: Store, attempt: Attempt, monkeypatch: pytest.MonkeyPatch, then: Any) -> str:
    """Predict 6 images in blocks of 2 by an actor that is not there; `then` is called when the first block was given.
    Returns what is said when it stops."""
    monkeypatch.setattr(predicting, "LOOK_SECONDS", 0.0)

    def stream(*_: Any) -> Iterator[BoxPart]:
        yield part([0, 1])
        yield part([2, 3])
        yield part([4, 5])

    def write(_attempt: Attempt, _sha256: str, found: BoxPart) -> None:
        stored.append(found.done.tolist())
        if len(stored) == 1:
            then()

    stored: list[list[int]] = []
    monkeypatch.setattr(predicting, "write_part", write)
    with pytest.raises(StoppedError) as stopped:
        predict_boxes(work(boxes), Share(1, 1, 0), attempt, 6, stream)
    assert stored == [[0, 1]]
    assert stopped.value.exit_status == 1
    return str(stopped.value)


def test_prediction_stops_between_blocks(boxes: Store, pod: Path, monkeypatch) -> None:
    attempt = start_attempt(boxes, finetune_spec())
    told = predict_until(boxes, attempt, monkeypatch, (pod / "stop").touch)
    assert told == f"stopped after 2 of 6 images were predicted: {POD}"


@pytest.mark.parametrize("whose", ["run", "attempt"])
def test_prediction_is_asked_in_the_storage(boxes: Store, monkeypatch, whose: str) -> None:
    attempt = start_attempt(boxes, finetune_spec())
    store = attempt.run.store if whose == "run" else attempt.store
    told = predict_until(boxes, attempt, monkeypatch, lambda: request_stop(store, "it was cancelled by ann"))
    assert told == "stopped after 2 of 6 images were predicted: it was cancelled by ann"


def test_predictor_in_a_pod_that_is_told_to_go_leaves_its_block(boxes: Store, pod: Path) -> None:
    (pod / "stop").touch()
    row = PredictingActor(work(boxes))({"data": np.arange(2)})
    assert row == {"part": [b""], "error": [STOPPED]}


@pytest.mark.ray
@pytest.mark.slow
def test_predictor_that_is_told_to_go_ends_the_prediction(boxes: Store, pod: Path) -> None:
    """By a real Ray, whose actors see the file."""
    import ray

    spec = finetune_spec()
    attempt = start_attempt(boxes, spec)
    (pod / "stop").touch()
    own = predicting.StopFile.is_there
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(predicting.StopFile, "is_there", lambda _: False)  # here, not in the actors
            with pytest.raises(StoppedError, match="after 0 of 6 images"):
                predict_boxes(work(boxes), Share(1, 1, 0), attempt, 6, stream_on_ray)
    finally:
        ray.shutdown()
    assert own is predicting.StopFile.is_there
    assert read_parts(attempt.run, "0" * 64, lambda _: None) is None
