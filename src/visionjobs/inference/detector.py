"""A detector: images in, boxes out. The network is ultralytics' (.pt, .pth) or an ONNX file's; before and after it
stand ultralytics' own letterbox and non-maximum suppression (NMS), with the settings of its predictor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torchvision  # noqa: F401 (ultralytics' NMS takes torchvision's where that is imported)
from torch import Tensor

from visionjobs.boxes import Floats, Ints
from visionjobs.data.parallel import ordered_map
from visionjobs.errors import FinalError
from visionjobs.inference.detector_onnx import OnnxNetwork
from visionjobs.models.ultralytics_env import quiet_ultralytics
from visionjobs.models.yolo_weights import build_detector, load_detection_state
from visionjobs.spec import JobSpec

Image = npt.NDArray[np.uint8]

PADDING = 114
"""The gray beside a letterboxed image: what ultralytics trains with."""


@dataclass(frozen=True)
class DetectorConfig:
    """Plain values, which can be pickled. weights: a local .onnx, .pth or .pt (`models.yolo_weights.check_trusted` it
    first); size: height and width in pixels that the images are letterboxed to; floor, nms_iou, max_det: as in the
    job's `detect`; device: cpu, or cuda:0; threads: of letterboxing, and of onnxruntime on the CPU. How many torch
    takes is a matter of the whole process: torch.set_num_threads."""

    weights: str
    size: tuple[int, int]
    floor: float
    nms_iou: float
    max_det: int
    device: str
    threads: int = 1


def detector_config(spec: JobSpec, weights: Path, floor: float, device: str, threads: int) -> DetectorConfig:
    """The job's detector with these weights."""
    height, width = spec.data.size
    detect = spec.detect
    return DetectorConfig(str(weights), (height, width), floor, detect.nms_iou, detect.max_det, device, threads)


@dataclass(frozen=True)
class Found:
    """The boxes of one image, by descending score. boxes: float64 [n, 4], x, y, width, height in pixels of the image at
    its own size, clipped to it; scores: float64 [n]; categories: int64 [n], the MODEL's class numbers."""

    boxes: Floats
    scores: Floats
    categories: Ints

    def __len__(self) -> int:
        return len(self.scores)

    def first(self, boxes: int | None) -> Found:
        """At most so many, the most confident ones; all if None."""
        return Found(self.boxes[:boxes], self.scores[:boxes], self.categories[:boxes])


class Network(Protocol):
    """classes: the model's own names; where: the device that it computes on; architecture: such as yolov8n, "" where
    that is not told.

    Called with uint8 RGB [b, height, width, 3] on the detector's device, it gives float32 [b, 4 + K, anchors] there: x
    and y of the centre, width and height in pixels, and a confidence a class.
    """

    classes: tuple[str, ...]
    where: torch.device
    architecture: str

    def __call__(self, images: Tensor) -> Tensor:
        """See above."""
        ...


class TorchNetwork:
    """The network of a .pt or .pth, in float32, each batch normalisation merged into its convolution."""

    architecture = ""

    def __init__(self, path: str, device: torch.device) -> None:
        weights = load_detection_state(Path(path))
        self.classes, self.where = weights.names, device
        fused = build_detector(weights, path).fuse(verbose=False)
        self._model = fused.to(device=device, memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """See Network."""
        answers: Tensor = self._model(images.permute(0, 3, 1, 2).float() / 255)[0]
        return answers


def letterbox(images: Sequence[Image], into: Image, threads: int) -> None:
    """uint8 RGB [H, W, 3] each -> `into`, uint8 [b, height, width, 3]: scaled up or down until one side fits, as
    ultralytics' predictor does, and in the middle of gray."""
    from ultralytics.data.augment import LetterBox

    size = (into.shape[1], into.shape[2])
    place = LetterBox(size, auto=False, scaleup=True, center=True, padding_value=PADDING)

    def one(number: int) -> None:
        into[number] = place(image=images[number])

    for _ in ordered_map(one, range(len(images)), threads):
        pass


class Detector:
    """classes: the model's own names, in the order of its class numbers; where: the device that its network computes
    on, which for an .onnx is the CPU where onnxruntime was built without CUDA; architecture: such as yolov8n, where an
    .onnx tells it, else ""."""

    def __init__(self, config: DetectorConfig) -> None:
        """Raises UserError for weights that cannot be used."""
        quiet_ultralytics()
        self._config, self._device = config, torch.device(config.device)
        self._network: Network = (
            OnnxNetwork(config.weights, config.size, self._device, config.threads)
            if config.weights.endswith(".onnx")
            else TorchNetwork(config.weights, self._device)
        )
        self.classes, self.where = self._network.classes, self._network.where
        self.architecture = self._network.architecture

    @torch.inference_mode()
    def predict(self, images: Sequence[Image]) -> list[Found]:
        """images: uint8 RGB [H, W, 3], each of its own size -> the boxes of each one.

        The images go to the device as uint8 and are scaled there; the boxes of a batch come back at once. As in
        ultralytics' predictor, and not its validator, an anchor gives at most one box, of its most confident class
        (multi_label=False), and boxes of different classes leave each other alone (agnostic=False). With that YOLOv8n
        (int8 ONNX, 640 px, floor .001, NMS .7, 300 boxes an image) has AP .372, AP50 .521, AP75 .398, small .224,
        medium .415, large .543 with 25,659 boxes on 158 images of val2017; with multi_label=True it has AP .382.
        Raises FinalError where the network's answer is not finite.
        """
        if not images:
            return []
        answers = self._network(self._stacked(images).to(self._device, non_blocking=True))
        if not answers.sum().isfinite():
            raise FinalError(
                f"{self._config.weights}: its answers are not finite: the weights are damaged, or their training "
                "diverged"
            )
        found = self._suppressed(answers)
        pieces = torch.split(torch.cat(found).cpu().double(), [len(boxes) for boxes in found])
        return [self._at_own_size(boxes, image.shape) for boxes, image in zip(pieces, images, strict=True)]

    def _stacked(self, images: Sequence[Image]) -> Tensor:
        """uint8 [b, height, width, 3], in pinned memory where a GPU will read it."""
        cuda = self._device.type == "cuda"
        stacked = torch.empty((len(images), *self._config.size, 3), dtype=torch.uint8, pin_memory=cuda)
        letterbox(images, stacked.numpy(), self._config.threads)
        return stacked

    def _suppressed(self, answers: Tensor) -> list[Tensor]:
        """float32 [n, 6] of each image: x1, y1, x2, y2 in the letterbox, score, class; by descending score.

        ultralytics stops after a time that depends on the batch, and gives the images that are left no boxes: not here.
        """
        from ultralytics.utils.nms import non_max_suppression

        config = self._config
        found: list[Tensor] = non_max_suppression(
            answers, config.floor, config.nms_iou, multi_label=False, agnostic=False, max_det=config.max_det,
            max_time_img=math.inf,
        )  # fmt: skip
        return found

    def _at_own_size(self, boxes: Tensor, shape: tuple[int, ...]) -> Found:
        """float64 [n, 6], as above, on the CPU."""
        from ultralytics.utils.ops import scale_boxes

        corners = scale_boxes(self._config.size, boxes[:, :4].clone(), shape[:2])
        corners[:, 2:] -= corners[:, :2]
        return Found(corners.numpy(), boxes[:, 4].numpy().copy(), boxes[:, 5].long().numpy())
