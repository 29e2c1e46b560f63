"""Told to go: at which step it ends, what it leaves, and that the run ends as an undisturbed one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tiny import assert_same_bits, final_weights, start_attempt, tiny_spec, train_here
from tiny_stop import RARELY, at_evaluated_batch, at_step, table

from visionjobs.errors import StorageError
from visionjobs.runs import Attempt, read_progress, read_rows, stop_requested
from visionjobs.spec import JobSpec
from visionjobs.storage import Store
from visionjobs.tasks.classification import Classification
from visionjobs.training import recorder as recorder_module
from visionjobs.training.checkpoint import list_checkpoints
from visionjobs.training.stop import POD, StopFile


def assert_ends_as(whole: Attempt, stopped: Attempt, root: Store, spec: JobSpec, pod: Path) -> None:
    """The next attempt, in a new pod, ends as the undisturbed run did."""
    (pod / "stop").unlink(missing_ok=True)
    outcome = train_here(root, stopped.run.claim("attempt", {}), spec)
    assert outcome.error is None
    assert_same_bits(final_weights(whole.run), final_weights(stopped.run))
    assert table(whole) == table(stopped)


@pytest.mark.parametrize("step", [1, 5, 7, 11])
@pytest.mark.parametrize("sets", [(), ("model.dropout=0.5", "data.augment=wildlife", "data.copies=1")])
def test_told_to_go_within_an_epoch(root: Store, pod: Path, monkeypatch, step: int, sets: tuple[str, ...]) -> None:
    spec = tiny_spec(RARELY, *sets)
    whole, attempt = start_attempt(root, spec), start_attempt(root, spec)
    train_here(root, whole, spec)
    with monkeypatch.context() as patch:
        at_step(step, (pod / "stop").touch, patch)
        outcome = train_here(root, attempt, spec)
    epoch = (step - 1) // (12 if sets else 6)
    assert (outcome.exit_status, outcome.stopped) == (1, POD)
    assert outcome.error == f"stopped at step {step} (epoch {epoch + 1}): {POD}"
    assert [(info.step, info.epoch, info.score) for info in list_checkpoints(attempt.run)] == [(step, epoch, None)]
    assert stop_requested(attempt.store) == POD, "workers that Ray might start anew stop too"
    assert_ends_as(whole, attempt, root, spec, pod)
    assert read_progress(attempt.run.store.at("attempts", "0002"))["resumed_from_step"] == step


@pytest.mark.parametrize("step", [6, 12], ids=["first epoch", "last epoch"])
def test_told_to_go_at_the_end_of_an_epoch_validates_in_the_next_attempt(
    root: Store, pod: Path, monkeypatch, step: int
) -> None:
    """Its validation may take minutes: it is left to the next attempt, and the epoch has its row all the same."""
    spec = tiny_spec(RARELY)
    whole, attempt = start_attempt(root, spec), start_attempt(root, spec)
    train_here(root, whole, spec)
    evaluated: list[int] = []
    with monkeypatch.context() as patch:
        at_step(step, (pod / "stop").touch, patch)
        at_evaluated_batch(step // 6 * 2 - 1, lambda: evaluated.append(1), patch)
        outcome = train_here(root, attempt, spec)
    assert not evaluated, "not even a first batch: of a short epoch's validation, two workers might not look at all"
    assert outcome.error == f"stopped at step {step} (epoch {step // 6}): {POD}"
    assert [(info.step, info.epoch, info.score) for info in list_checkpoints(attempt.run)][-1] == (
        step, step // 6 - 1, None,
    )  # fmt: skip
    assert [row["epoch"] for row in read_rows(attempt.store)] == list(range(step // 6 - 1))
    assert_ends_as(whole, attempt, root, spec, pod)
    speeds = [row["images_per_second"] for row in attempt.run.history()]
    assert all(speed > 0 for speed in speeds), "that of the attempt that trained the epoch"


def test_told_twice_in_the_same_validation(root: Store, pod: Path, monkeypatch) -> None:
    """The second attempt has nothing new to keep, so it writes no checkpoint; nor does it lose the first one's."""
    spec = tiny_spec(RARELY)
    whole, attempt = start_attempt(root, spec), start_attempt(root, spec)
    train_here(root, whole, spec)
    (pod / "stop").touch()
    with monkeypatch.context() as patch:
        patch.setattr(StopFile, "is_there", lambda _: False)
        at_evaluated_batch(1, lambda: patch.setattr(StopFile, "is_there", lambda _: True), patch)
        assert train_here(root, attempt, spec).stopped == POD
    second = attempt.run.claim("attempt", {})
    assert train_here(root, second, spec).error == f"stopped at step 6 (epoch 1): {POD}"
    assert [info.key for info in list_checkpoints(attempt.run)] == ["attempts/0001/checkpoints/step-000000006"]
    assert read_rows(second.store) == []
    assert_ends_as(whole, attempt, root, spec, pod)


def test_told_in_the_last_evaluation(root: Store, pod: Path, monkeypatch) -> None:
    """12 validation images in batches of 8: two validations have 4 batches, so the fifth is of the last evaluation."""
    spec = tiny_spec()
    whole, attempt = start_attempt(root, spec), start_attempt(root, spec)
    train_here(root, whole, spec)
    with monkeypatch.context() as patch:
        at_evaluated_batch(5, (pod / "stop").touch, patch)
        outcome = train_here(root, attempt, spec)
    assert outcome.error == f"stopped at step 12 (epoch 2): {POD}"
    scores = [info.score is not None for info in list_checkpoints(attempt.run) if info.step == 12]
    assert scores == [True], "the run's last checkpoint, not written again without its score"
    assert_ends_as(whole, attempt, root, spec, pod)


def test_workers_that_ray_starts_anew_stop_too(root: Store, pod: Path, monkeypatch) -> None:
    """Of the same attempt, in another pod, which was not told."""
    spec = tiny_spec(RARELY)
    attempt = start_attempt(root, spec)
    with monkeypatch.context() as patch:
        at_step(3, (pod / "stop").touch, patch)
        train_here(root, attempt, spec)
    (pod / "stop").unlink()
    at_step(4, lambda: time.sleep(0.5), monkeypatch)  # the thread that looks is given its time
    assert train_here(root, attempt, spec).error == f"stopped at step 4 (epoch 1): {POD}"


class Killed(BaseException):
    """Ends the loop as a kill does."""


def test_an_epoch_that_is_validated_again_within_an_attempt_has_one_row(root: Store, pod: Path, monkeypatch) -> None:
    """Stopped at its end, then started anew in the same attempt, killed, and started anew again."""
    spec = tiny_spec(RARELY)
    attempt = start_attempt(root, spec)
    with monkeypatch.context() as patch:
        at_step(6, (pod / "stop").touch, patch)
        train_here(root, attempt, spec)
    (pod / "stop").unlink()
    attempt.store.delete(["stop.json"])

    def kill() -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        at_step(8, kill, patch)
        train_here(root, attempt, spec)
    assert train_here(root, attempt, spec).error is None
    assert [row["epoch"] for row in read_rows(attempt.store)] == [0, 1]


def test_a_checkpoint_that_is_due_at_that_step_is_written_once(root: Store, pod: Path, monkeypatch) -> None:
    saved: list[int] = []
    save = recorder_module.save_checkpoint
    monkeypatch.setattr(recorder_module, "save_checkpoint", lambda *a, **k: (saved.append(k["step"]), save(*a, **k))[1])
    at_step(4, (pod / "stop").touch, monkeypatch)
    spec = tiny_spec()
    train_here(root, start_attempt(root, spec), spec)
    assert saved == [2, 4]


def test_a_checkpoint_that_cannot_be_stored_is_what_is_told(root: Store, pod: Path, monkeypatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(recorder_module, "save_checkpoint", full)
    at_step(3, (pod / "stop").touch, monkeypatch)
    spec = tiny_spec(RARELY)
    outcome = train_here(root, start_attempt(root, spec), spec)
    assert (outcome.error, outcome.exit_status, outcome.stopped) == ("the disk is full", 4, None)


def test_broken_weights_are_not_kept(root: Store, pod: Path, monkeypatch) -> None:
    """The loss of step 3 is not finite: told to go at step 4, before anyone has looked at it."""
    loss, calls = Classification.loss, []

    def overflowing(self, outputs, targets):
        calls.append(1)
        terms = loss(self, outputs, targets)
        return {name: term * (float("inf") if len(calls) == 3 else 1.0) for name, term in terms.items()}

    monkeypatch.setattr(Classification, "loss", overflowing)
    at_step(4, (pod / "stop").touch, monkeypatch)
    spec = tiny_spec(RARELY)
    attempt = start_attempt(root, spec)
    outcome = train_here(root, attempt, spec)
    assert (outcome.exit_status, outcome.stopped) == (3, None)
    assert "the loss of step 3 (epoch 1) is not finite" in outcome.error
    assert list_checkpoints(attempt.run) == []
