"""What the tests of stopping share: something to do at a step, and the figures of a history."""

from __future__ import annotations

from typing import Any

import pytest

from visionjobs.runs import Attempt
from visionjobs.tasks.classification import Classification
from visionjobs.training.loop import Loop

FIGURES = ("epoch", "step", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
RARELY = "train.checkpoint.every=1000"


def at_step(step: int, do: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call `do` while that step is done."""
    train_step = Loop.train_step

    def watched(self, batch):
        train_step(self, batch)
        if self.step == step:
            do()

    monkeypatch.setattr(Loop, "train_step", watched)


def at_evaluated_batch(number: int, do: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call `do` when so many batches have been evaluated, over all evaluations."""
    count, calls = Classification.count_eval, []

    def watched(self, counts, outputs, targets):
        count(self, counts, outputs, targets)
        calls.append(1)
        if len(calls) == number:
            do()

    monkeypatch.setattr(Classification, "count_eval", watched)


def table(attempt: Attempt) -> list[list[Any]]:
    return [[row[key] for key in FIGURES] for row in attempt.run.history()]
