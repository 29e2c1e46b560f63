"""A finished run's model as one file for other programs, checked against torch on real images before it is kept.

The graph holds the normalisation: "images", float32 [batch, 3, H, W], RGB between 0 and 1, at the run's data.size ->
"logits", float32 [batch, K], of segmentation [batch, K, H, W], for any batch. It computes in fp32, whatever the
training did.
"""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from visionjobs import __version__
from visionjobs.data.loader import IMAGENET_MEAN, IMAGENET_STD
from visionjobs.data.pack import sha256_of
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.inference.export_check import INPUT, OUTPUT, SUFFIX, Check, Format, Images, check_file, quiet
from visionjobs.models.trained import Trained
from visionjobs.storage import Store, explain_os_error

AnyCheck = TypeVar("AnyCheck")

OPSET = 20
"""The default of torch's exporter (2.14); onnxruntime reads such files from 1.18 on."""

LARGEST_ONNX = (2 << 30) - (16 << 20)
"""Bytes of weights: a protobuf message holds 2 GiB, the graph included."""


class Exported(nn.Module):
    """Images float32 [b, 3, H, W], RGB between 0 and 1 -> logits float32 [b, K, ...]; in eval mode, on the CPU.

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
class Export(Generic[AnyCheck]):
    """What was written. bytes: its size; sha256: of the file."""

    address: str
    bytes: int
    sha256: str
    check: AnyCheck


def export_model(trained: Trained, kind: Format, images: Images, store: Store, key: str) -> Export[Check]:
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
    pixels = f", {height}, {width}" if trained.spec.task == "segmentation" else ""
    return {
        "classes": json.dumps(trained.classes),
        "run": trained.run.id,
        "job": trained.spec.name,
        "task": trained.spec.task,
        "size": json.dumps([height, width]),
        "input": f"{INPUT}: float32 [batch, 3, {height}, {width}], RGB between 0 and 1; normalised in the graph",
        "output": f"{OUTPUT}: float32 [batch, {len(trained.classes)}{pixels}], in the order of classes",
        "visionjobs": __version__,
    }


def write_file(trained: Trained, kind: Format, path: Path) -> None:
    """Export to `path`. Raises UserError for a model that is too large for one ONNX file."""
    module = Exported(trained)
    example = torch.rand(2, 3, *trained.size)  # of a batch of 1 the exporter would make a constant
    with quiet(), torch.no_grad():
        if kind == "onnx":
            write_onnx(module, example, path, metadata(trained), OUTPUT)
        else:
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, path, _extra_files=metadata(trained))


def write_onnx(module: nn.Module, example: Tensor, path: Path, properties: dict[str, str], output: str) -> None:
    """Export a module that takes images, float32 like `example` [2, 3, H, W], at any batch. properties: the file's
    metadata; output: the name of what it gives. Raises UserError for a model that is too large for one file."""
    import onnx

    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    if weights > LARGEST_ONNX:
        raise UserError(
            f"the model's weights take {weights / 1e9:.1f} GB, and one ONNX file holds 2; use --format torchscript"
        )
    program = torch.onnx.export(
        module, (example,), input_names=[INPUT], output_names=[output], opset_version=OPSET, dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False,
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
