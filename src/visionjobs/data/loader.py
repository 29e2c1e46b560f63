"""Packed images -> batches on the device: device-resident or prefetched images, normalisation.

Nothing is decoded here: images arrive as uint8 NHWC, cross the bus as uint8 and become floats on the device.
Resident and prefetched images give the same batches to the bit.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from visionjobs.data.order import Indices, PlannedBatch
from visionjobs.data.residence import Residence, Wish, decide_residence, device_memory, mib
from visionjobs.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

PREFETCHED_BATCHES = 3
BLOCK_BYTES = 32 << 20
"""Resident images are loaded in pieces of about this size, so that host memory does not grow with the dataset."""


class ImageSource(Protocol):
    """Packed images of one size, such as a split in data/cache.py. They are read from one background thread."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 [n]: what is learned of each image, unless it has a mask."""

    @property
    def has_masks(self) -> bool:
        """Whether each image has a mask."""

    def __len__(self) -> int:
        """Number of images, n."""

    def read(self, indices: Indices) -> npt.NDArray[np.uint8]:
        """Copies of the images at `indices` [k], in that order: uint8 [k, H, W, 3]."""

    def read_masks(self, indices: Indices) -> npt.NDArray[np.uint8]:
        """Their masks, class numbers: uint8 [k, H, W]."""


@dataclass(frozen=True)
class Batch:
    """images: uint8 [b, H, W, 3]; targets: labels int64 [b], or masks uint8 [b, H, W]; both on the device. copy: int64
    [b], on the host."""

    step: int
    images: Tensor
    targets: Tensor
    copy: Indices


class Images(ABC):
    """The images of one split, given out in batches.

    residence: what was decided, for the run's record; wait_seconds: host seconds that `batches` has kept its consumer
    waiting so far, over all its uses.
    """

    def __init__(self, source: ImageSource, size: tuple[int, int], device: torch.device, residence: Residence) -> None:
        self.residence = residence
        self.wait_seconds = 0.0
        self._source, self._size, self._device = source, size, device
        self._labels = torch.tensor(source.labels, device=device)

    def __len__(self) -> int:
        return len(self._source)

    def batches(self, plan: Iterable[PlannedBatch]) -> Generator[Batch, None, None]:
        """One Batch for each planned one. Closing the generator, as an early `break` does, ends its thread."""
        with contextlib.closing(self._load(iter(plan))) as loading:
            while True:
                started = time.perf_counter()
                batch = next(loading, None)
                self.wait_seconds += time.perf_counter() - started
                if batch is None:
                    return
                yield batch

    @abstractmethod
    def _load(self, plan: Iterator[PlannedBatch]) -> Generator[Batch, None, None]:
        """The batches; `batches` adds the clock."""

    def _batch(self, planned: PlannedBatch, images: Tensor, masks: Tensor | None, index: Tensor) -> Batch:
        targets = self._labels.index_select(0, index) if masks is None else masks
        return Batch(planned.step, images, targets, planned.copy)


class ResidentImages(Images):
    """The whole split on the device, at its target size: a batch is a gather there."""

    def __init__(self, source: ImageSource, size: tuple[int, int], device: torch.device, residence: Residence) -> None:
        super().__init__(source, size, device, residence)
        self._masks: Tensor | None = None
        try:
            self._images = torch.empty((len(source), *size, 3), dtype=torch.uint8, device=device)
            if source.has_masks:
                self._masks = torch.empty((len(source), *size), dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"data.resident: {mib(residence.bytes)} of {device} were to hold the images, and other programs have "
                'taken them. Set it to "never", or wait until the device is free.'
            ) from error
        block = max(1, BLOCK_BYTES // (size[0] * size[1] * 3))
        for start in range(0, len(source), block):
            index = np.arange(start, min(start + block, len(source)))
            images = _sent(torch.from_numpy(source.read(index)), device)
            self._images[start : start + block] = resized(images, size)
            if self._masks is not None:
                masks = _sent(torch.from_numpy(source.read_masks(index)), device)
                self._masks[start : start + block] = resized_masks(masks, size)

    def _load(self, plan: Iterator[PlannedBatch]) -> Generator[Batch, None, None]:
        for planned in plan:
            index = _sent(torch.from_numpy(planned.sample), self._device)
            masks = None if self._masks is None else self._masks.index_select(0, index)
            yield self._batch(planned, self._images.index_select(0, index), masks, index)


class PrefetchedImages(Images):
    """Batches read by one background thread, a few ahead of their use, and copied on a stream of their own."""

    def __init__(self, source: ImageSource, size: tuple[int, int], device: torch.device, residence: Residence) -> None:
        super().__init__(source, size, device, residence)
        # What torch.cuda.stream() makes of None is "no change".
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def _load(self, plan: Iterator[PlannedBatch]) -> Generator[Batch, None, None]:
        pool = ThreadPoolExecutor(1, thread_name_prefix="visionjobs-read")
        try:
            ahead = deque((planned, pool.submit(self._read, planned)) for planned in islice(plan, PREFETCHED_BATCHES))
            while ahead:
                planned, reading = ahead.popleft()
                images, masks, index, arrived = reading.result()  # raises here what was raised in the thread
                for following in islice(plan, 1):
                    ahead.append((following, pool.submit(self._read, following)))
                if arrived is not None:
                    stream = torch.cuda.current_stream(self._device)
                    stream.wait_event(arrived)
                    for sent in (images, index) if masks is None else (images, masks, index):
                        sent.record_stream(stream)  # its memory is not another batch's until `stream` is done with it
                at_size = None if masks is None else resized_masks(masks, self._size)
                yield self._batch(planned, resized(images, self._size), at_size, index)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, planned: PlannedBatch) -> tuple[Tensor, Tensor | None, Tensor, torch.cuda.Event | None]:
        """In the thread: images uint8 [b, H, W, 3] and masks [b, H, W] at the packed size and their index, sent on
        their way to the device. The event is that of their arrival.
        """
        images = torch.from_numpy(self._source.read(planned.sample))
        masks = torch.from_numpy(self._source.read_masks(planned.sample)) if self._source.has_masks else None
        with torch.cuda.stream(self._stream):
            return (
                _sent(images, self._device),
                None if masks is None else _sent(masks, self._device),
                _sent(torch.from_numpy(planned.sample), self._device),
                self._stream.record_event() if self._stream is not None else None,
            )


def open_images(
    source: ImageSource,
    *,
    size: tuple[int, int],
    device: torch.device,
    resident: Wish,
    fraction: float,
    processes_on_device: int,
) -> Images:
    """Decide where the images of a split live, and make them ready. `size` is (height, width) in pixels.

    The images take len(source) * height * width * 3 bytes, masks a third of that; they may take `fraction` of the
    device's total memory, shared equally among `processes_on_device`. Raises UserError where `resident` is "always"
    and they do not fit.
    """
    needed = len(source) * size[0] * size[1] * (4 if source.has_masks else 3)
    residence = decide_residence(needed, device_memory(device), resident, fraction, processes_on_device)
    return (ResidentImages if residence.resident else PrefetchedImages)(source, size, device, residence)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [b, H, W, 3] -> uint8 [b, *size, 3], bilinear with antialiasing, each image independent of the others."""
    if tuple(images.shape[1:3]) == size or not len(images):
        return images.reshape(len(images), *size, 3)
    floats = images.permute(0, 3, 1, 2).float()
    floats = F.interpolate(floats, size=size, mode="bilinear", align_corners=False, antialias=True)
    return floats.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def resized_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [b, H, W] -> uint8 [b, *size]: of each new pixel the class at its centre, as Pillow's NEAREST does it.

    Where the centre lies between two pixels it is the one to the right or below: torch's nearest-exact and Pillow take
    either, by rounding.
    """
    if tuple(masks.shape[1:]) == size:
        return masks
    for axis, length in enumerate(size, start=1):
        centres = torch.arange(1, 2 * length, 2, device=masks.device)  # in halves of a new pixel: exact
        masks = masks.index_select(axis, (centres * masks.shape[axis]).div_(2 * length, rounding_mode="floor"))
    return masks


class Normaliser:
    """uint8 images -> floats with the mean and standard deviation of the channels taken out.

    On the CPU the result lies in ONE buffer, overwritten by the next call (a fresh one costs half the speed): use a
    batch up, its backward pass included, before asking for the next. Autograd notices if not, and raises RuntimeError
    in backward; a batch that is to be kept otherwise needs `.clone()`. On CUDA each result has its own memory.
    """

    def __init__(
        self,
        size: tuple[int, int],
        device: torch.device,
        *,
        dtype: torch.dtype = torch.float32,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        channels_last: bool = True,
    ) -> None:
        self._size, self._device, self._dtype, self._channels_last = size, device, dtype, channels_last
        # As wide as a row of pixels: on the CPU, broadcasting over a last axis of 3 is not vectorised, 4 times slower.
        self._mean = torch.tensor(mean, dtype=torch.float64).repeat(size[1])
        self._scale = 1 / torch.tensor(std, dtype=torch.float64).repeat(size[1])
        self._mean_255 = (self._mean * 255).float().to(device)
        self._scale_255 = (self._scale / 255).float().to(device)
        self._mean, self._scale = self._mean.float().to(device), self._scale.float().to(device)
        self._buffer = torch.empty((0, size[0], size[1] * 3))

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [b, H, W, 3] -> normalised [b, 3, H, W], in channels_last memory unless told otherwise."""
        return self._normalised(images, self._mean_255, self._scale_255)

    def floats(self, images: Tensor) -> Tensor:
        """Floats [b, 3, H, W] between 0 and 1, in any memory format -> the same as `__call__` gives for uint8."""
        return self._normalised(images.permute(0, 2, 3, 1), self._mean, self._scale)

    @torch.no_grad()
    def _normalised(self, nhwc: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        height, width = self._size
        out = self._room(len(nhwc))
        out.view(nhwc.shape).copy_(nhwc)
        out.sub_(mean).mul_(scale)
        nchw = out.view(len(nhwc), height, width, 3).permute(0, 3, 1, 2).to(self._dtype)
        return nchw if self._channels_last else nchw.contiguous()

    def _room(self, n: int) -> Tensor:
        """float32 [n, H, W * 3], not initialised."""
        height, width = self._size
        if self._device.type != "cpu":
            return torch.empty((n, height, width * 3), device=self._device)
        if len(self._buffer) < n:
            with torch.inference_mode(False):  # a buffer first used in evaluation must serve training too
                self._buffer = torch.empty((n, height, width * 3))
        return self._buffer[:n]


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on its way to the device: through pinned memory, without waiting, if that is a GPU."""
    if device.type != "cuda":
        return tensor
    # The pinned block is freed here and reused only after the copy: PyTorch's pinned allocator waits for its stream.
    return tensor.pin_memory().to(device, non_blocking=True)
