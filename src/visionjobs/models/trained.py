"""A finished run's model: its stored weights in the architecture that its spec names, ready to be asked."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from visionjobs.data.loader import Normaliser, resized
from visionjobs.data.manifest import Manifest
from visionjobs.errors import FinalError, MissingObjectError, UserError
from visionjobs.models import build_model
from visionjobs.models.freeze import FreezableModule
from visionjobs.models.precision import autocast, resolve_precision
from visionjobs.models.state import load_into, state_dict_in
from visionjobs.runs import Run
from visionjobs.spec import JobSpec

_AGAIN = "train it some epochs further (--run ID --set train.epochs=N), or anew"


@dataclass(frozen=True)
class Trained:
    """spec, dataset: as the run was trained; model: in eval mode on `device`."""

    run: Run
    spec: JobSpec
    dataset: Manifest
    model: FreezableModule
    device: torch.device

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the logits."""
        return self.dataset.classes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that the model was trained at."""
        return self.spec.data.size[0], self.spec.data.size[1]

    @property
    def packed_size(self) -> tuple[int, int]:
        """Height and width to decode images at (data/decode.py), before they are resized to `size` on the device."""
        return self.dataset.size[0], self.dataset.size[1]

    @property
    def precision(self) -> str:
        """What the model computes in here: as in training on this kind of device; fp16 becomes fp32 on a CPU."""
        precision = resolve_precision(self.spec.train.precision, self.device)
        return "fp32" if precision == "fp16" and self.device.type == "cpu" else precision

    @cached_property
    def _normaliser(self) -> Normaliser:
        return Normaliser(self.size, self.device)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """uint8 RGB [b, H, W, 3] of `packed_size`, on any device -> float32 logits [b, K] on the model's.

        Of segmentation [b, K, h, w], at `size`.
        """
        inputs = self._normaliser(resized(images.to(self.device), self.size))
        with autocast(self.precision, self.device):
            outputs: Tensor = self.model(inputs)
        return outputs.float()


def load_trained(run: Run, device: torch.device) -> Trained:
    """The run's final weights, verified by their sha256, in its model on `device`, in eval mode.

    Raises UserError where the run has no weights (yet), or no dataset.json; FinalError where they are damaged.
    """
    spec = run.spec_now()
    data, address = read_weights(run, spec)
    dataset = _dataset(run, spec)
    model = build_model(spec, len(dataset.classes), None)
    load_into(model, state_dict_in(io.BytesIO(data), address), (), address)
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Trained(run, spec, dataset, model.eval(), device)


def read_weights(run: Run, spec: JobSpec) -> tuple[bytes, str]:
    """`weights/<job>.pth`, verified by the sha256 in the run's record, and its address.

    Raises UserError where the run has none (yet), FinalError where they are damaged.
    """
    record, key = run.record(), f"weights/{spec.name}.pth"
    address = f"{run.store.address}/{key}"
    try:
        data = run.store.read(key)
    except MissingObjectError as error:
        state = record.get("state", "not started")
        todo = (
            "its weights were deleted: train a new run"
            if state == "complete"
            else f"weights come with its end. To continue it: visionjobs run {spec.name} --run {run.id}"
        )
        raise UserError(f"run {run.id} has no weights ({address}): it is {state}; {todo}") from error
    _check_sha256(run, record, data, address)
    return data, address


def _check_sha256(run: Run, record: Mapping[str, Any], data: bytes, address: str) -> None:
    """Against what the finaliser recorded. Of a run whose end was broken off, weights and record may be of two ends."""
    expected, found = (record.get("weights") or {}).get("sha256"), hashlib.sha256(data).hexdigest()
    if expected == found:
        return
    if record.get("state") != "complete":
        raise UserError(
            f"run {run.id} is {record.get('state', 'not started')}: its end was broken off while it was written. To "
            f"complete it: visionjobs run {record.get('job', 'JOB')} --run {run.id}"
        )
    if expected is None:
        raise UserError(f"run {run.id} was made by an older version, which kept no sha256 of {address}: {_AGAIN}")
    raise FinalError(f"{address} is damaged: its sha256 is {found}, and the run's record says {expected}")


def _dataset(run: Run, spec: JobSpec) -> Manifest:
    manifest = run.dataset()
    if manifest is None:
        raise UserError(
            f"{run.store.address}/dataset.json is missing, so that the classes of run {run.id} are not known. It was "
            f"deleted, or the run was made by an older version: {_AGAIN}"
        )
    try:
        return Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{run.store.address}/dataset.json: {where}: {first['msg']}. It is the manifest of {spec.data.name} "
            f"{spec.data.version}: copy it from there"
        ) from error


def this_device() -> torch.device:
    """The GPU, where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
