"""Architectures, one a file, named in MODELS. A new one is its file and one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torchvision.models import ResNet18_Weights, WeightsEnum

from visionjobs.errors import UserError, nearest
from visionjobs.models.convnet import ConvNet
from visionjobs.models.freeze import FreezableModule, freeze
from visionjobs.models.resnet import ResNet18
from visionjobs.models.state import load_into, read_state_dict
from visionjobs.spec import JobSpec


@dataclass(frozen=True)
class ModelEntry:
    """What the rest of the package needs to know of an architecture.

    build: (number of classes, (height, width) in pixels, dropout) -> the model, with random weights.
    backbone: how the names of the parameters that `train.freeze: backbone` freezes begin.
    head: the state-dict keys whose first axis is the classes; a new head replaces them.
    features: the module whose input are the features that are worth a look (one vector an image), or None.
    torchvision_weights: torchvision's enum of published weights, or None.
    """

    task: Literal["classification"]
    build: Callable[[int, tuple[int, int], float], FreezableModule]
    backbone: tuple[str, ...]
    head: tuple[str, ...]
    features: str | None = None
    torchvision_weights: type[WeightsEnum] | None = None


MODELS: dict[str, ModelEntry] = {
    "convnet": ModelEntry(
        task="classification",
        build=ConvNet,
        backbone=("conv",),
        head=("fc.weight", "fc.bias"),
    ),
    "resnet18": ModelEntry(
        task="classification",
        build=lambda num_classes, _size, dropout: ResNet18(num_classes, dropout),
        backbone=("conv1.", "bn1.", "layer"),
        head=("fc.weight", "fc.bias"),
        features="fc",
        torchvision_weights=ResNet18_Weights,
    ),
}


def model_entry(spec: JobSpec) -> ModelEntry:
    """The entry that `model.name` means. Raises UserError for an unknown name, and for a model of another task."""
    name = spec.model.name
    if name not in MODELS:
        raise UserError(
            f'{spec.name}: model.name: there is no model "{name}"; expected one of {", ".join(sorted(MODELS))}.'
            f"{nearest(name, MODELS)}"
        )
    entry = MODELS[name]
    if entry.task != spec.task:
        raise UserError(
            f"{spec.name}: model.name: {name} is a model for {entry.task}, and the job's task is {spec.task}"
        )
    return entry


def build_model(spec: JobSpec, num_classes: int, weights: Path | None) -> FreezableModule:
    """The job's model on the CPU, in train mode: built from train.seed, filled from `weights`, frozen as told.

    The same spec gives the same weights to the bit; the global random state is left as it was. Of `weights` (a file
    that `models.weights.locate_weights` found) the head is left out where its number of classes differs.
    Raises UserError (unknown model; a weights file that does not fit, each key named).
    """
    entry = model_entry(spec)
    height, width = spec.data.size
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.train.seed)  # torch.manual_seed would reseed the GPUs as well
        model = entry.build(num_classes, (height, width), spec.model.dropout)
    if weights is not None:
        load_into(model, read_state_dict(weights), entry.head, str(weights))
    if spec.train.freeze == "backbone":
        freeze(model, entry.backbone)
    return model
