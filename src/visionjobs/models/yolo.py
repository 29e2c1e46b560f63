"""YOLOv8: built from its name by ultralytics, filled from other weights, and as the file that a finished run keeps."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from visionjobs.errors import UserError, nearest
from visionjobs.models.state import load_into
from visionjobs.models.ultralytics_env import quiet_ultralytics

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

YOLO = ("yolov8n", "yolov8s", "yolov8m", "yolov8l", "yolov8x")

BACKBONE = 10
"""The first so many layers of a YOLOv8 are its backbone: what `train.freeze: backbone` keeps (ultralytics' freeze)."""

CLASS_BRANCH = ".cv3."
"""In the keys of the branch of the head that scores classes; its widths depend on their number."""


def check_name(name: str) -> None:
    """Raises UserError where there is no such detector."""
    if name not in YOLO:
        raise UserError(
            f'model.name: there is no detector "{name}"; expected one of {", ".join(YOLO)}.{nearest(name, YOLO)}'
        )


def build_yolo(name: str, num_classes: int) -> DetectionModel:
    """A detector with random weights (of torch's global generator), float32 on the CPU, in train mode.

    In train mode it takes float32 [B, 3, H, W] and returns a dict of raw outputs; in eval mode the first of what it
    returns is [B, 4 + num_classes, boxes]. Needs no network. Raises UserError for an unknown name.
    """
    check_name(name)
    quiet_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(f"{name}.yaml", nc=num_classes, verbose=False)


def load_yolo(model: DetectionModel, state: Mapping[str, Tensor], source: str) -> list[str]:
    """Copy the weights of a model of the same name into `model`. Returns the keys that keep their own values.

    Those are the ones of the class branch whose shapes differ, because `state` was of another number of classes
    (ultralytics' intersect_dicts). Raises UserError naming `source` where anything else does not fit.
    """
    own = model.state_dict()
    left_out = [key for key in own if CLASS_BRANCH in key and key in state and state[key].shape != own[key].shape]
    load_into(model, state, left_out, source)
    return left_out


def yolo_state(model: DetectionModel, names: Sequence[str]) -> dict[str, Any]:
    """What a model can be built from again: {"model": state dict, "yaml": its layers, "names": of the classes}.

    The tensors are the model's own, not copies.
    """
    return {"model": model.state_dict(), "yaml": copy.deepcopy(dict(model.yaml)), "names": list(names)}


def weights_file(checkpoint: bytes) -> bytes:
    """The .pth of a run from its last checkpoint's bytes: `yolo_state` alone, for torch.load(weights_only=True)."""
    state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    buffer = io.BytesIO()
    tensors = {key: tensor.contiguous() for key, tensor in state["model"].items()}
    torch.save({"model": tensors, "yaml": state["yaml"], "names": state["names"]}, buffer)
    return buffer.getvalue()
