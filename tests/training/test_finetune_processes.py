"""Fine-tuning with two workers in processes of their own: one model, trained together, on data that they share."""

from __future__ import annotations

import pytest
from tiny import assert_same_bits, start_attempt
from tiny_finetune import assert_trained_together, finetune_spec, newest_state, rectangles_root, tune_in_processes

from visionjobs.storage import Store


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return rectangles_root(tmp_path_factory.mktemp("boxes"))


def test_two_workers_share_the_samples_and_their_gradients(boxes: Store) -> None:
    """And neither opens a connection to anywhere else: see finetune_process.py."""
    spec = finetune_spec("resources.workers=2", "train.epochs=2", "data.augment=yolo")
    attempt = start_attempt(boxes, spec)
    first, second = tune_in_processes(boxes, attempt, spec, 2)
    assert_trained_together(first, second)
    row = attempt.run.history()[-1]
    assert row["step"] == 6
    assert row["val_map"] is not None


@pytest.mark.slow
def test_one_of_two_killed_with_9(boxes: Store) -> None:
    spec = finetune_spec("resources.workers=2", "train.epochs=3", "data.augment=yolo")
    whole, attempt = start_attempt(boxes, spec), start_attempt(boxes, spec)
    tune_in_processes(boxes, whole, spec, 2)
    assert tune_in_processes(boxes, attempt, spec, 2, die_at=5) == []
    resumed = tune_in_processes(boxes, attempt.run.claim("attempt", {}), spec, 2)
    assert resumed[0]["outcome"]["error"] is None
    assert sorted(resumed[0]["files"]) == [1, 2]
    for key in ("model", "raw"):
        assert_same_bits(newest_state(whole.run)[key], newest_state(attempt.run)[key])


@pytest.mark.slow
def test_an_error_of_one_worker_stops_both(boxes: Store) -> None:
    spec = finetune_spec("resources.workers=2", "train.batch=16", "model.weights=nowhere.pth")
    outcomes = [seen["outcome"] for seen in tune_in_processes(boxes, start_attempt(boxes, spec), spec, 2)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["exit_status"] == 2
    assert "nowhere.pth" in outcomes[0]["error"]
