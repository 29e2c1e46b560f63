"""What a weights file holds, found without running any code that is in it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from visionjobs.errors import UserError, first_line
from visionjobs.models.onnx_names import class_names
from visionjobs.models.state import read_state_dict
from visionjobs.models.yolo_weights import PICKLE, is_detection, load_detection_state, load_plain

MODEL_CLASS = "ultralytics.nn.tasks.DetectionModel"


def content_of(path: Path) -> str:
    """A line for people: tensors, classes. Raises UserError where it is no weights file that a job here can take.

    Of a .pt of ultralytics, which is a pickle, only the structure is checked: a zip whose checksums are right, with a
    pickle in it that asks for a detector. It is not unpickled.
    """
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.suffix == PICKLE and zipfile.is_zipfile(path) and (asked_for := _asked_for(path)):
        return _ultralytics(path, asked_for)
    if is_detection(load_plain(path)):
        weights = load_detection_state(path)
        return f"a detector of {len(weights.names)} classes, {_tensors(weights.state)}"
    return _tensors(read_state_dict(path))


def _tensors(state: dict[str, Tensor]) -> str:
    first, *_, last = list(state.items()) * 2
    return f"{len(state)} tensors, {first[0]} {list(first[1].shape)} to {last[0]} {list(last[1].shape)}"


def _onnx(path: Path) -> str:
    import onnx

    try:
        onnx.checker.check_model(str(path))
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf, onnx and its C++ have no common kind of error
        raise UserError(f"{path}: is no valid ONNX file ({first_line(error)}): it is damaged or cut off") from error
    classes = class_names({entry.key: entry.value for entry in model.metadata_props}, str(path))
    return f"ONNX, opset {model.opset_import[0].version}, a detector of {len(classes)} classes"


def _ultralytics(path: Path, asked_for: set[str]) -> str:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise UserError(f"{path}: is damaged: the checksum of its part {damaged} is wrong")
    if MODEL_CLASS not in asked_for:
        raise UserError(
            f"{path}: is a pickle that holds no detector of ultralytics; it asks for {', '.join(sorted(asked_for)[:8])}"
        )
    return "a detector that ultralytics saved; a pickle, which was checked and not loaded"


def _asked_for(path: Path) -> set[str]:
    """What the pickle in a file of torch.save names beyond tensors and plain values."""
    try:
        return set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception as error:  # torch raises whatever the file's bytes made it trip over
        raise UserError(f"{path}: is not a file that torch.save wrote, or is damaged ({first_line(error)})") from error
