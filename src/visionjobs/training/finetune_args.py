"""What a job's keys are called by ultralytics' trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from visionjobs.data.manifest import Manifest
from visionjobs.errors import UserError
from visionjobs.models.yolo import BACKBONE
from visionjobs.spec import JobSpec

NO_AUGMENTATION: dict[str, Any] = dict.fromkeys(
    ("mosaic", "mixup", "cutmix", "copy_paste", "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear",
     "perspective", "flipud", "fliplr", "bgr", "erasing"), 0.0,
) | {"augmentations": [], "close_mosaic": 0}  # fmt: skip
"""`data.augment: none`: the letterbox alone."""

OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}

FINAL_SHARE = {"constant": 1.0, "cosine": 0.01}
"""Of the learning rate, in the last epoch (lrf). That of cosine is ultralytics' default."""

LOADERS = 8
"""Most processes that load images for one worker, as ultralytics has them."""


def check_finetune(spec: JobSpec, manifest: Manifest, use_gpu: bool) -> None:
    """Raises UserError for what ultralytics' trainer cannot do; `check_dataset` has looked at the dataset."""
    height, width = spec.data.size
    if height != width:
        raise UserError(
            f"data.size: {[height, width]}: ultralytics trains on squares only; expected such as {[height, height]}. "
            "Images of any shape are letterboxed into it."
        )
    if spec.train.lr > 1:
        raise UserError(f"train.lr: {spec.train.lr}: ultralytics takes at most 1")
    if not use_gpu and spec.train.precision in ("bf16", "fp16"):
        raise UserError(
            f"train.precision: ultralytics trains in {spec.train.precision} on a GPU only, and there is none here; "
            "expected auto or fp32"
        )
    if not sum(manifest.boxes.get("train", {}).values()):
        raise UserError(f"data.name: the training images of {manifest.name} have no boxes: there is nothing to learn")


def trainer_arguments(
    spec: JobSpec, *, device: torch.device, precision: str, threads: int, scratch: Path
) -> dict[str, Any]:
    """Overrides of ultralytics' configuration (cfg/default.yaml); what is not named keeps its default: the warm-up,
    nbs, momentum, weight decay and the gains of the loss.

    scratch: local folder for the few files that it writes besides what we store.
    """
    train = spec.train
    return {
        "task": "detect",
        "mode": "train",
        "model": f"{spec.model.name}.yaml",
        "save_dir": str(scratch),
        "device": "cpu" if device.type == "cpu" else str(device.index),
        "workers": min(threads, LOADERS),  # ultralytics has none on the CPU
        "imgsz": spec.data.size[0],
        "epochs": train.epochs,
        "batch": train.batch,
        "optimizer": OPTIMIZERS[train.optimizer],
        "lr0": train.lr,
        "lrf": FINAL_SHARE[train.schedule],
        "cos_lr": train.schedule == "cosine",
        "freeze": BACKBONE if train.freeze == "backbone" else None,
        "seed": train.seed,
        "deterministic": True,
        "amp": "bf16" if precision == "bf16" else False,  # fp16: finetune_trainer.py turns it on, past a download
        "patience": 0,  # as many epochs as the job says
        "val": True,
        "plots": False,
        "verbose": False,
        "pretrained": False,
        "cache": False,
        **(NO_AUGMENTATION if spec.data.augment == "none" else {}),
    }
