"""A run that was killed anywhere and resumed ends with the same weights, to the bit, as one that was not."""

from __future__ import annotations

import pytest
from tiny import assert_same_bits, final_weights, start_attempt, tiny_spec, train_here, train_in_processes

from visionjobs.runs import read_rows
from visionjobs.storage import Store
from visionjobs.training.loop import Loop

PLAIN: tuple[str, ...] = ()
AUGMENTED = ("data.augment=wildlife", "data.copies=1")
DROPOUT = ("model.dropout=0.5",)
BATCH_NORM = ("model.name=resnet18", "train.batch=16")


class Killed(BaseException):
    """Ends the loop at a step. What was handed to the recorder is still written; the process tests lose that too."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train_step = Loop.train_step

    def deadly(self, batch):
        if self.step == step:
            raise Killed
        train_step(self, batch)

    monkeypatch.setattr(Loop, "train_step", deadly)


@pytest.mark.parametrize("step", [1, 5, 6, 7, 11])
@pytest.mark.parametrize("sets", [PLAIN, AUGMENTED, DROPOUT], ids=["plain", "augmented", "dropout"])
def test_killed_at_any_step(root: Store, monkeypatch, sets: tuple[str, ...], step: int) -> None:
    spec = tiny_spec(*sets)
    whole = start_attempt(root, spec)
    train_here(root, whole, spec)

    first = start_attempt(root, spec)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(step, patch)
        train_here(root, first, spec)
    second = first.run.claim("attempt", {})
    outcome = train_here(root, second, spec)

    assert outcome.error is None
    assert_same_bits(final_weights(whole.run), final_weights(first.run))
    figures = ("epoch", "step", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
    histories = [[[row[key] for key in figures] for row in run.history()] for run in (whole.run, first.run)]
    assert histories[0] == histories[1], "the history is that of an uninterrupted run too"


def test_killed_twice_within_one_attempt(root: Store, monkeypatch) -> None:
    """As when Ray restarts the workers: the same attempt goes on, and keeps its rows."""
    spec = tiny_spec("train.epochs=3")
    whole, attempt = start_attempt(root, spec), start_attempt(root, spec)
    train_here(root, whole, spec)
    for step in (9, 15):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_at(step, patch)
            train_here(root, attempt, spec)
    train_here(root, attempt, spec)
    assert_same_bits(final_weights(whole.run), final_weights(attempt.run))
    assert [row["epoch"] for row in read_rows(attempt.store)] == [0, 1, 2]


def test_complete_training_is_only_evaluated_again(root: Store) -> None:
    spec = tiny_spec()
    attempt = start_attempt(root, spec)
    first = train_here(root, attempt, spec)
    again = train_here(root, attempt.run.claim("attempt", {}), spec)
    assert again.metrics == first.metrics
    assert [row["epoch"] for row in attempt.run.history()] == [0, 1]


def test_more_epochs_continue_where_the_run_ended(root: Store) -> None:
    long, short = tiny_spec("train.epochs=3"), tiny_spec("train.epochs=2")
    whole, attempt = start_attempt(root, long), start_attempt(root, short)
    train_here(root, whole, long)
    train_here(root, attempt, short)
    train_here(root, attempt.run.claim("attempt", {}), long)
    assert_same_bits(final_weights(whole.run), final_weights(attempt.run))


@pytest.mark.parametrize(
    "sets",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(DROPOUT + AUGMENTED, id="dropout_augmented", marks=pytest.mark.slow),
        pytest.param(BATCH_NORM, id="batch_norm", marks=pytest.mark.slow),
    ],
)
def test_two_workers_one_killed_with_9(root: Store, sets: tuple[str, ...]) -> None:
    spec = tiny_spec("resources.workers=2", *sets)
    whole, attempt = start_attempt(root, spec), start_attempt(root, spec)
    complete = train_in_processes(root, whole, spec, 2)
    train_in_processes(root, attempt, spec, 2, die_at=5)
    resumed = train_in_processes(root, attempt.run.claim("attempt", {}), spec, 2)
    assert complete.error is None
    assert resumed.metrics == complete.metrics
    assert_same_bits(final_weights(whole.run), final_weights(attempt.run))


@pytest.mark.slow
def test_three_workers_one_killed_with_9(root: Store) -> None:
    """With more than two, a sum depends on the order in which gradients are bucketed (Setup._settle_buckets)."""
    spec = tiny_spec("resources.workers=3", "train.batch=12", "train.epochs=3")
    whole, attempt = start_attempt(root, spec), start_attempt(root, spec)
    train_in_processes(root, whole, spec, 3)
    train_in_processes(root, attempt, spec, 3, die_at=5)
    train_in_processes(root, attempt.run.claim("attempt", {}), spec, 3)
    assert_same_bits(final_weights(whole.run), final_weights(attempt.run))


def test_two_workers_count_every_validation_sample_once(root: Store) -> None:
    """12 validation images, on 1 and on 2 workers, with the same weights: the same counts."""
    spec = tiny_spec("train.epochs=1")
    attempt = start_attempt(root, spec)
    alone = train_here(root, attempt, spec)
    both = train_in_processes(
        root, attempt.run.claim("attempt", {}), tiny_spec("train.epochs=1", "resources.workers=2"), 2
    )
    assert both.metrics["confusion_matrix"] == alone.metrics["confusion_matrix"]
    assert both.metrics["nll"] == pytest.approx(alone.metrics["nll"], abs=1e-5)
