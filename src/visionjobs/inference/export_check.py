"""Whether an exported file gives torch's logits: opened by the program that it is for, and asked about real images."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.loader import resized
from visionjobs.errors import MissingObjectError, UserError, VisionjobsError
from visionjobs.models.trained import Trained
from visionjobs.sample_images import KEY, SampleImages
from visionjobs.scenes import Scenes
from visionjobs.storage import OnBytes, Store

Format = Literal["onnx", "torchscript"]
SUFFIX: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".pt"}

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

INPUT, OUTPUT = "images", "logits"

CHECKED = 64
"""Images that a file is checked on, fewer where they are large."""

CHECKED_PIXELS = 64 << 18

CHECKED_LOGITS = 32 << 20
"""Most logits that a check compares at once: 128 MiB."""


class Limits(NamedTuple):
    """What a file's logits must reach at least. within: share of the images (of segmentation: pixels) whose logits all
    lie within the tolerance; same: share of those with a clear class that have the same one.
    """

    within: float
    same: float


TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 2e-6

EXACT = Limits(within=1.0, same=1.0)
UNPOOLED = Limits(within=0.25, same=0.99)
"""Of a model that unpools by indices: where two values in a pooling window differ by less than their rounding, another
program may take the other one, and all logits within the decoder's reach change. Of a SegNet trained on CamVid, at
360x480, 80 % of the pixels were within the tolerance in onnxruntime, and 99.97 % had the same class; between torch's
own fp32 and fp64 it is the same.
"""


@dataclass(frozen=True)
class Check:
    """How far the file's logits are from torch's, see `check_file`.

    difference: the largest one; allowed: the tolerance; within, same: shares, as in Limits; limits: what was asked for.
    """

    images: int
    difference: float
    allowed: float
    within: float
    same: float
    limits: Limits


def open_file(kind: Format, path: Path) -> Callable[[Floats], Floats]:
    """The file in the program that it is for, on the CPU: images float32 [b, 3, H, W] -> logits float32 [b, K, ...]."""
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda images: np.asarray(session.run([OUTPUT], {INPUT: images})[0])
    with quiet():
        loaded = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]

    def run(images: Floats) -> Floats:
        with torch.inference_mode():
            return np.asarray(loaded(torch.from_numpy(images)).numpy())

    return run


def real_images(trained: Trained, root: Store, cache: Path, on_bytes: OnBytes | None = None) -> tuple[Images, str]:
    """Up to CHECKED images, uint8 [n, H, W, 3] at the run's data.size, n at least 2, and where they are from.

    Those that the run keeps for its report, else some of its dataset's validation split, evenly spaced. Raises
    UserError where there are neither.
    """
    most, (height, width) = _most_images(trained), trained.size
    source = f"{trained.run.store.address}/{KEY}"
    images: Images = np.empty((0, height, width, 3), np.uint8)
    with contextlib.suppress(MissingObjectError):
        kept = Scenes if trained.spec.task == "segmentation" else SampleImages
        samples = kept.from_npz(trained.run.store.read(KEY), source)
        images = np.concatenate([samples.images, samples.originals])[:most]
    if not len(images):
        dataset = trained.dataset
        try:
            ref = find_dataset(root, dataset.name, dataset.version)
        except UserError as error:
            raise UserError(
                f"an export is checked on real images, and there are none: not in {source}, and the dataset is not "
                f"there. {error}"
            ) from error
        split = fetch(ref, cache, on_bytes).split("val")
        images, source = split.read(np.linspace(0, len(split) - 1, min(most, len(split))).astype(np.int64)), ref.address
    at_size = resized(torch.from_numpy(images), trained.size).numpy()
    return (np.repeat(at_size, 2, axis=0) if len(at_size) == 1 else at_size), source


def _most_images(trained: Trained) -> int:
    height, width = trained.size
    logits = len(trained.classes) * (height * width if trained.spec.task == "segmentation" else 1)
    return max(2, min(CHECKED, CHECKED_PIXELS // (height * width), CHECKED_LOGITS // logits))


def check_file(trained: Trained, kind: Format, path: Path, images: Images) -> Check:
    """Compare the file's logits with those of `Trained.logits` in fp32: all images at once, and the first one alone.

    images: uint8 [n, H, W, 3] at the run's data.size. Allowed is 1e-4, or from logits of 50 on 2e-6 of the largest
    one, which is 17 times fp32's rounding error. Where the two largest logits of an image (of segmentation: a pixel)
    are further apart than that, the largest must be the same. Models that unpool may differ more, see UNPOOLED.
    Raises VisionjobsError where they differ by more, or are not finite.
    """
    train = trained.spec.train.model_copy(update={"precision": "fp32"})
    in_fp32 = replace(trained, spec=trained.spec.model_copy(update={"train": train}))
    expected = in_fp32.logits(torch.from_numpy(images)).cpu().numpy()
    inputs = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    run = open_file(kind, path)
    allowed = max(TOLERANCE, RELATIVE_TOLERANCE * float(np.abs(expected).max()))
    limits = UNPOOLED if any(isinstance(module, nn.MaxUnpool2d) for module in trained.model.modules()) else EXACT
    checks = []
    for n in (1, len(images)):
        found, wanted = run(inputs[:n]), expected[:n]
        if found.shape != wanted.shape or found.dtype != np.float32:
            raise _differs(kind, f"{found.dtype} {list(found.shape)} instead of float32 {list(wanted.shape)}")
        check = _compared(found, wanted, allowed, limits)
        if not (check.within >= limits.within and check.same >= limits.same):
            raise _differs(kind, f"by up to {check.difference:.1e} where {allowed:.1e} is allowed, at batch size {n}")
        checks.append(check)
    return replace(
        checks[-1],
        difference=max(check.difference for check in checks),
        within=min(check.within for check in checks),
        same=min(check.same for check in checks),
    )


def _compared(found: Floats, wanted: Floats, allowed: float, limits: Limits) -> Check:
    """Both [n, K, ...]."""
    differences = np.abs(found - wanted).max(axis=1)
    second, first = np.moveaxis(np.partition(wanted, -2, axis=1)[:, -2:], 1, 0)
    clear = first - second > allowed
    same = (found.argmax(axis=1) == wanted.argmax(axis=1))[clear]
    return Check(
        images=len(found),
        difference=float(differences.max()),
        allowed=allowed,
        within=float((differences <= allowed).mean()),  # what is not finite is not within
        same=float(same.mean()) if same.size else 1.0,
        limits=limits,
    )


def _differs(kind: Format, how: str) -> VisionjobsError:
    return VisionjobsError(f"the {kind} file's logits differ from torch's ({how}); it was not kept")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch says that TorchScript will go one day, which no user can act on; whatever is printed goes to stderr."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
