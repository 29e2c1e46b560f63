"""What `visionjobs run` shows: the line of an epoch, and how far a prediction is."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from visionjobs.cli import run_view
from visionjobs.cli.run_view import RunView, epoch_line

LOSSES = {"epoch": 1, "train_loss": 1.23456, "val_loss": 2.5, "images_per_second": 28.44}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"train_accuracy": 0.5, "val_accuracy": 0.25}, "1.2346 accuracy 0.500, val loss 2.5000 accuracy 0.250,"),
        ({"train_miou": 0.5, "val_miou": 0.25}, "train loss 1.2346 mIoU 0.500, val loss 2.5000 mIoU 0.250"),
        ({"train_miou": None, "val_miou": None}, "train loss 1.2346 mIoU n/a, val loss 2.5000 mIoU n/a"),
        ({"train_accuracy": 0.5, "val_accuracy": None}, "accuracy 0.500, val loss 2.5000 accuracy n/a"),
    ],
)  # fmt: skip
def test_each_task_has_its_score(columns: dict[str, Any], said: str) -> None:
    line = epoch_line(LOSSES | columns, 10)
    assert line.startswith("epoch 2/10: train loss")
    assert said in line
    assert line.endswith(", 28.4 images/s")


def test_what_held_it_back_is_told() -> None:
    row = LOSSES | {"train_miou": 0.5, "val_miou": 0.25, "val_loss": None, "diagnosis": "data-bound: waiting"}
    assert epoch_line(row, 3).endswith("val loss n/a mIoU 0.250, 28.4 images/s; data-bound: waiting")


def test_fine_tuning_has_no_validation_loss() -> None:
    row = {
        "epoch": 0,
        "train_loss": 4.25,
        "train_box": 1.5,
        "val_map50": 0.5,
        "val_map": None,
        "images_per_second": 8.0,
    }
    assert epoch_line(row, 2) == "epoch 1/2: train loss 4.2500, val mAP50 0.500 mAP n/a, 8.0 images/s"


PREDICTING = {"stage": "predicting", "done": 64, "total": 158, "unit": "images", "images_per_second": 11.23}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The lines without a terminal of progress after progress, so many seconds apart."""

    def show(*progresses: dict[str, Any], seconds: float = 60.0) -> list[str]:
        clock = itertools.count(1000.0, seconds)
        monkeypatch.setattr(run_view.time, "monotonic", lambda: next(clock))
        console = Console(file=io.StringIO(), width=200)
        with RunView(console) as view:
            for progress in progresses:
                view.watcher().progress(progress)
        return console.file.getvalue().splitlines()

    return show


def test_a_prediction_is_told_by_images(shown: Callable[..., list[str]]) -> None:
    begun = PREDICTING | {"done": 0, "images_per_second": None}
    assert shown(begun, PREDICTING) == ["predicting images, 0/158", "predicting images, 64/158, 11.2 images/s"]


def test_without_a_terminal_there_is_a_line_every_15_seconds(shown: Callable[..., list[str]]) -> None:
    lines = shown(*(PREDICTING | {"done": done} for done in range(10)), seconds=2.5)
    assert [line.split(",")[1] for line in lines] == [" 0/158", " 7/158"]


def test_a_prediction_after_training_still_tells_of_the_last_epoch(shown: Callable[..., list[str]]) -> None:
    row = {"epoch": 0, "train_loss": 4.25, "val_map50": 0.5, "val_map": 0.25, "images_per_second": 8.0}
    training = {"epochs": 2, "step": 3, "steps_per_epoch": 3, "rows": [row]}
    both = [row, row | {"epoch": 1}]
    lines = shown(training, training | PREDICTING | {"step": 6, "rows": both})
    assert [line.split(":")[0] for line in lines] == [
        "epoch 1/2", "epoch 2/2, step 3/6", "epoch 2/2", "predicting images, 64/158, 11.2 images/s",
    ]  # fmt: skip


def test_on_a_terminal_a_bar_goes_over_the_images() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with RunView(console) as view:
        view.watcher().stage("starting the workers")
        view.watcher().progress({"epochs": 2, "step": 6, "steps_per_epoch": 3})
        view.watcher().progress(PREDICTING)
    assert "64/158" in console.file.getvalue()
    assert "predicting images, 11.2 images/s" in console.file.getvalue()
