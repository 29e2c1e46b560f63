"""The state of ultralytics' trainer after an epoch, as tensors and plain values, and back.

Its own last.pt is a pickle with half the precision and without the weights that are being trained (it keeps their
moving average only).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ultralytics.utils.torch_utils import unwrap_model

from visionjobs.models.yolo import yolo_state

if TYPE_CHECKING:
    from visionjobs.training.finetune_trainer import FineTuner

LOCAL = ("save_dir", "project", "name", "data", "device", "model", "workers")
"""Arguments that say where it trained, and not how."""


def capture(trainer: FineTuner, names: Sequence[str]) -> dict[str, Any]:
    """After an epoch, on the main worker. The tensors are the trainer's own: copy them before it goes on.

    model: the moving average (EMA) of the weights, which is what is evaluated; raw: the weights being trained, with
    the main worker's batch-norm statistics (the other workers' are never used).
    """
    arguments = {key: value for key, value in vars(trainer.args).items() if key not in LOCAL}
    return yolo_state(trainer.ema.ema, names) | {
        "raw": unwrap_model(trainer.model).state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "ema_updates": trainer.ema.updates,
        "scaler": trainer.scaler.state_dict(),
        "epoch": trainer.epoch,
        "best_fitness": trainer.best_fitness,
        "train_args": {key: value for key, value in arguments.items() if _is_plain(value)},
    }


def restore(trainer: FineTuner, state: dict[str, Any]) -> None:
    """Into a trainer that is set up and has not begun. It goes on at the epoch after the state's."""
    unwrap_model(trainer.model).load_state_dict(state["raw"])
    trainer.ema.ema.load_state_dict(state["model"])
    trainer.ema.updates = state["ema_updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    if state["scaler"] and trainer.scaler.is_enabled():  # empty where the run was not in fp16
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.best_fitness = state["best_fitness"]
    trainer.start_epoch = state["epoch"] + 1


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
