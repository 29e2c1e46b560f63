"""The line that `visionjobs run` shows of an epoch."""

from __future__ import annotations

from typing import Any

import pytest

from visionjobs.cli.run_view import epoch_line

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
