"""A detector from an ONNX file in the form that ultralytics exports, computed by onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from visionjobs.errors import UserError, first_line
from visionjobs.models.onnx_names import class_names

TYPES: dict[str, torch.dtype] = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


class OnnxNetwork:
    """classes: as the file's metadata name them; where: it computes, the CPU where onnxruntime has no CUDA;
    architecture: such as yolov8n, "" where the metadata do not tell.

    Raises UserError for a file that onnxruntime cannot open, of another task or input size, or without class names.
    """

    def __init__(self, path: str, size: tuple[int, int], device: torch.device, threads: int) -> None:
        self._path, self._device = path, device
        self._session = _session(path, device, threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.classes = class_names(metadata, path)
        named = re.search(r"\bYOLO\w+", metadata.get("description", ""))
        self.architecture = named.group().lower() if named else ""
        self.where = device if "CUDAExecutionProvider" in self._session.get_providers() else torch.device("cpu")
        (given, *others), (self._output, *_) = self._session.get_inputs(), self._session.get_outputs()
        shape = given.shape
        if others or len(shape) != 4 or shape[1] != 3 or not {given.type, self._output.type} <= TYPES.keys():
            raise UserError(
                f"{path}: takes {given.type} {shape} and gives {self._output.type}; expected images, float32 [batch, "
                "3, height, width], and float32"
            )
        fixed = [side for side in shape[2:] if isinstance(side, int)]
        if fixed and tuple(fixed) != size:
            raise UserError(
                f"{path}: takes images of {fixed[0]} x {fixed[-1]} pixels (height x width) and no others, and "
                f"data.size is {list(size)}. Set it to [{fixed[0]}, {fixed[-1]}], or export it with dynamic sizes"
            )
        self._input, self._dtype = given.name, TYPES[given.type]
        self._batch = shape[0] if isinstance(shape[0], int) else None

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 RGB [b, height, width, 3] on the device -> float32 [b, 4 + K, anchors]: x and y of the centre, width,
        height, and a confidence a class. A file of a fixed batch is asked several times, its last time with blanks."""
        step = self._batch or len(images)
        pieces = []
        for start in range(0, len(images), step):
            piece = images[start : start + step]
            missing = step - len(piece)
            inputs = (piece.permute(0, 3, 1, 2).to(self._dtype) / 255).contiguous()
            outputs = self._run(pad(inputs, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else inputs)
            pieces.append(outputs[: len(piece)].float())
        answers = torch.cat(pieces)
        if answers.ndim != 3 or answers.shape[1] != 4 + len(self.classes):
            raise UserError(
                f"{self._path}: gives {list(answers.shape)}; expected [batch, {4 + len(self.classes)}, anchors], 4 "
                f"coordinates and the confidences of {len(self.classes)} classes, as ultralytics exports with nms=False"
            )
        return answers

    def _run(self, inputs: Tensor) -> Tensor:
        """onnxruntime is given the addresses of images and answers, which on a GPU stay where they are."""
        inputs = inputs.to(self.where)
        binding, shape = self._session.io_binding(), (len(inputs), *self._output.shape[1:])
        if self.where.type == "cuda":
            torch.cuda.current_stream(self.where).synchronize()  # onnxruntime computes in a stream of its own
        self._bind(binding.bind_input, self._input, inputs)
        if not all(isinstance(side, int) for side in shape):  # a file for any size of images: known afterwards
            binding.bind_output(self._output.name)
            self._session.run_with_iobinding(binding)
            return torch.from_numpy(binding.copy_outputs_to_cpu()[0]).to(self._device)
        answers = torch.empty(shape, dtype=TYPES[self._output.type], device=self.where)
        self._bind(binding.bind_output, self._output.name, answers)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return answers.to(self._device)

    def _bind(self, bind: Callable[..., None], name: str, tensor: Tensor) -> None:
        kind = np.float32 if tensor.dtype == torch.float32 else np.float16
        bind(name, self.where.type, self.where.index or 0, kind, tuple(tensor.shape), tensor.data_ptr())


def _session(path: str, device: torch.device, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's own kinds of errors have no base but this
        raise UserError(
            f"{path}: onnxruntime cannot open it ({first_line(error)}): it is damaged, or no ONNX"
        ) from error
