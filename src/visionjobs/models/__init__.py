"""Architectures, one a file, named in MODELS. A new one is its file and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, VGG16_BN_Weights, WeightsEnum
from torchvision.models.segmentation import (
    DeepLabV3_MobileNet_V3_Large_Weights,
    DeepLabV3_ResNet50_Weights,
    DeepLabV3_ResNet101_Weights,
    deeplabv3_mobilenet_v3_large,
    deeplabv3_resnet50,
    deeplabv3_resnet101,
)

from visionjobs.errors import UserError, nearest
from visionjobs.models.convnet import ConvNet
from visionjobs.models.deeplab import DeepLabV3
from visionjobs.models.freeze import FreezableModule, freeze
from visionjobs.models.resnet import ResNet18
from visionjobs.models.segnet import SMALLEST, SegNet, from_vgg16_bn
from visionjobs.models.state import load_into, read_state_dict
from visionjobs.spec import JobSpec


@dataclass(frozen=True)
class ModelEntry:
    """What the rest of the package needs to know of an architecture.

    build: (number of classes, (height, width) in pixels, dropout) -> the model, with random weights.
    freezable: what `train.freeze` may name -> how the names of the parameters that it means begin.
    head: the state-dict keys whose first axis is the classes; a new head replaces them.
    optional: how the keys begin that a weights file may lack altogether; they stay random.
    translate: a weights file's state dict -> the same in the model's own keys.
    smallest: the least height and width in pixels that it can take.
    features: the module whose input are the features that are worth a look (one vector an image), or None.
    torchvision_weights: torchvision's enum of published weights, or None.
    """

    task: Literal["classification", "segmentation"]
    build: Callable[[int, tuple[int, int], float], FreezableModule]
    freezable: dict[str, tuple[str, ...]]
    head: tuple[str, ...]
    optional: tuple[str, ...] = ()
    translate: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda state: state
    smallest: int = 16
    features: str | None = None
    torchvision_weights: type[WeightsEnum] | None = None


def _deeplab(build: Callable[..., nn.Module], weights: type[WeightsEnum]) -> ModelEntry:
    return ModelEntry(
        task="segmentation",
        build=lambda num_classes, _size, _dropout: DeepLabV3(build, num_classes),
        freezable={"backbone": ("backbone.",)},
        head=("classifier.4.weight", "classifier.4.bias", "aux_classifier.4.weight", "aux_classifier.4.bias"),
        optional=("aux_classifier.",),
        torchvision_weights=weights,
    )


MODELS: dict[str, ModelEntry] = {
    "convnet": ModelEntry(
        task="classification",
        build=ConvNet,
        freezable={"backbone": ("conv",)},
        head=("fc.weight", "fc.bias"),
    ),
    "resnet18": ModelEntry(
        task="classification",
        build=lambda num_classes, _size, dropout: ResNet18(num_classes, dropout),
        freezable={"backbone": ("conv1.", "bn1.", "layer")},
        head=("fc.weight", "fc.bias"),
        features="fc",
        torchvision_weights=ResNet18_Weights,
    ),
    "segnet": ModelEntry(
        task="segmentation",
        build=lambda num_classes, _size, _dropout: SegNet(num_classes),
        freezable={"encoder": ("encoder.",)},
        head=("classifier.weight", "classifier.bias"),
        optional=("decoder.", "classifier."),
        translate=from_vgg16_bn,
        smallest=SMALLEST,
        torchvision_weights=VGG16_BN_Weights,
    ),
    "deeplabv3_resnet50": _deeplab(deeplabv3_resnet50, DeepLabV3_ResNet50_Weights),
    "deeplabv3_resnet101": _deeplab(deeplabv3_resnet101, DeepLabV3_ResNet101_Weights),
    "deeplabv3_mobilenet_v3_large": _deeplab(deeplabv3_mobilenet_v3_large, DeepLabV3_MobileNet_V3_Large_Weights),
}


def model_entry(spec: JobSpec) -> ModelEntry:
    """The entry that `model.name` means.

    Raises UserError for an unknown name, and for a model of another task, that lacks what `train.freeze` names, or that
    cannot take images as small as `data.size`.
    """
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
    if spec.train.freeze not in ("none", *entry.freezable):
        raise UserError(
            f"{spec.name}: train.freeze: {name} has no {spec.train.freeze}; expected one of "
            f"{', '.join(['none', *entry.freezable])}"
        )
    if min(spec.data.size) < entry.smallest:
        raise UserError(
            f"{spec.name}: data.size: {name} needs at least {entry.smallest} pixels in height and width, and not "
            f"{spec.data.size}"
        )
    return entry


def build_model(spec: JobSpec, num_classes: int, weights: Path | None) -> FreezableModule:
    """The job's model on the CPU, in train mode: built from train.seed, filled from `weights`, frozen as told.

    The same spec gives the same weights to the bit; the global random state is left as it was. Of `weights` (a file
    that `models.weights.locate_weights` found) the head is left out where its number of classes differs; what such a
    file may lack (ModelEntry.optional) stays random.
    Raises UserError (unknown model; a weights file that does not fit, each key named).
    """
    entry = model_entry(spec)
    height, width = spec.data.size
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.train.seed)  # torch.manual_seed would reseed the GPUs as well
        model = entry.build(num_classes, (height, width), spec.model.dropout)
    if weights is not None:
        load_into(model, entry.translate(read_state_dict(weights)), entry.head, str(weights), entry.optional)
    if spec.train.freeze != "none":
        freeze(model, entry.freezable[spec.train.freeze])
    return model
