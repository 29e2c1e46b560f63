"""A finished run's model as one file for other programs, checked against torch on real images before it is kept.

The graph holds the normalisation: "images", float32 [batch, 3, H, W], RGB between 0 and 1, at the run's data.size ->
"logits", float32 [batch, K], for any batch. It computes in fp32, whatever the training did.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from visionjobs import __version__
from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.loader import IMAGENET_MEAN, IMAGENET_STD, resized
from visionjobs.data.pack import sha256_of
from visionjobs.errors import MissingObjectError, UserError, VisionjobsError
from visionjobs.models.trained import Trained
from visionjobs.sample_images import KEY, SampleImages
from visionjobs.storage import OnBytes, Store, explain_os_error

Format = Literal["onnx", "torchscript"]
SUFFIX: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".pt"}

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

OPSET = 20
"""The default of torch's exporter (2.14); onnxruntime reads such files from 1.18 on."""

INPUT, OUTPUT = "images", "logits"

CHECKED = 64
"""Images that a file is checked on, fewer where they are large."""

CHECKED_PIXELS = 64 << 18

LARGEST_ONNX = (2 << 30) - (16 << 20)
"""Bytes of weights: a protobuf message holds 2 GiB, the graph included."""

TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 2e-6


class Exported(nn.Module):
    """Images float32 [b, 3, H, W], RGB between 0 and 1 -> logits float32 [b, K]; in eval mode, on the CPU.

    A copy: the model that it was made of stays as it is.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        plain = copy.deepcopy(trained.model)
        self.model = plain.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model((images - self.mean) / self.std)
        return logits


@dataclass(frozen=True)
class Check:
    """How far the file's logits are from torch's. difference: the largest one; allowed: see `check_file`."""

    images: int
    difference: float
    allowed: float


@dataclass(frozen=True)
class Export:
    """What was written. bytes: its size; sha256: of the file."""

    address: str
    bytes: int
    sha256: str
    check: Check


def export_model(trained: Trained, kind: Format, images: Images, store: Store, key: str) -> Export:
    """Export, check on `images` (see `real_images`), and only then put the file into `store` under `key`.

    Raises VisionjobsError where the file does not give torch's logits, UserError and StorageError where it cannot be
    written.
    """
    with tempfile.TemporaryDirectory(prefix="visionjobs-export-") as temporary:
        path = Path(temporary, f"model{SUFFIX[kind]}")
        try:
            write_file(trained, kind, path)
        except OSError as error:
            raise explain_os_error(error, f"{temporary} (TMPDIR names another folder)") from error
        check = check_file(trained, kind, path, images)
        store.upload({key: path})
        return Export(f"{store.address}/{key}", path.stat().st_size, sha256_of(path), check)


def metadata(trained: Trained) -> dict[str, str]:
    """What a program that has only the file needs to know: ONNX metadata_props, or TorchScript's extra files."""
    height, width = trained.size
    return {
        "classes": json.dumps(trained.classes),
        "run": trained.run.id,
        "job": trained.spec.name,
        "task": trained.spec.task,
        "size": json.dumps([height, width]),
        "input": f"{INPUT}: float32 [batch, 3, {height}, {width}], RGB between 0 and 1; normalised in the graph",
        "visionjobs": __version__,
    }


def write_file(trained: Trained, kind: Format, path: Path) -> None:
    """Export to `path`. Raises UserError for a model that is too large for one ONNX file."""
    module = Exported(trained)
    example = torch.rand(2, 3, *trained.size)  # of a batch of 1 the exporter would make a constant
    with _quiet(), torch.no_grad():
        if kind == "onnx":
            _write_onnx(module, example, path, metadata(trained))
        else:
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, path, _extra_files=metadata(trained))


def open_file(kind: Format, path: Path) -> Callable[[Floats], Floats]:
    """The file in the program that it is for, on the CPU: images float32 [b, 3, H, W] -> logits float32 [b, K]."""
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda images: np.asarray(session.run([OUTPUT], {INPUT: images})[0])
    with _quiet():
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
    height, width = trained.size
    most = max(2, min(CHECKED, CHECKED_PIXELS // (height * width)))
    source = f"{trained.run.store.address}/{KEY}"
    images: Images = np.empty((0, height, width, 3), np.uint8)
    with contextlib.suppress(MissingObjectError):
        samples = SampleImages.from_npz(trained.run.store.read(KEY), source)
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


def check_file(trained: Trained, kind: Format, path: Path, images: Images) -> Check:
    """Compare the file's logits with those of `Trained.logits` in fp32: all images at once, and the first one alone.

    images: uint8 [n, H, W, 3] at the run's data.size. Allowed is 1e-4, or from logits of 50 on 2e-6 of the largest
    one, which is 17 times fp32's rounding error. Where the two largest logits of an image are further apart than that,
    the largest must be the same. Raises VisionjobsError where they differ by more, or are not finite.
    """
    train = trained.spec.train.model_copy(update={"precision": "fp32"})
    in_fp32 = replace(trained, spec=trained.spec.model_copy(update={"train": train}))
    expected = in_fp32.logits(torch.from_numpy(images)).cpu().numpy()
    inputs = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    run = open_file(kind, path)
    allowed = max(TOLERANCE, RELATIVE_TOLERANCE * float(np.abs(expected).max()))
    differences = []
    for n in (1, len(images)):
        found, wanted = run(inputs[:n]), expected[:n]
        if found.shape != wanted.shape or found.dtype != np.float32:
            raise _differs(kind, f"{found.dtype} {list(found.shape)} instead of float32 {list(wanted.shape)}")
        second, first = np.sort(wanted, axis=1)[:, -2:].T
        clear = first - second > allowed
        differences.append(float(np.abs(found - wanted).max()))
        if not differences[-1] <= allowed or (found.argmax(1) != wanted.argmax(1))[clear].any():
            raise _differs(kind, f"by up to {differences[-1]:.1e} where {allowed:.1e} is allowed, at batch size {n}")
    return Check(len(images), max(differences), allowed)


def _differs(kind: Format, how: str) -> VisionjobsError:
    return VisionjobsError(f"the {kind} file's logits differ from torch's ({how}); it was not kept")


def _write_onnx(module: nn.Module, example: Tensor, path: Path, properties: dict[str, str]) -> None:
    import onnx

    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    if weights > LARGEST_ONNX:
        raise UserError(
            f"the model's weights take {weights / 1e9:.1f} GB, and one ONNX file holds 2; use --format torchscript"
        )
    program = torch.onnx.export(
        module, (example,), input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, dynamo=True,
        dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}}, external_data=False, verbose=False,
    )  # fmt: skip
    if program is None:
        raise VisionjobsError("torch.onnx.export gave no model")
    model = program.model_proto
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")  # the exporter's notes: source lines and folders of this machine
    onnx.helper.set_model_props(model, properties | {"opset": str(OPSET)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch says that TorchScript will go one day, which no user can act on; whatever is printed goes to stderr."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
