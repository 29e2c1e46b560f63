"""What each branch of DeepLabV3's atrous spatial pyramid pooling (ASPP) sees and costs, with and without dilation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from visionjobs.models.deeplab import DeepLabV3
from visionjobs.theory import conv_multiply_adds, model_receptive_field


@dataclass(frozen=True)
class Reach:
    """receptive_field: (height, width) in pixels of the input image, the backbone's included, which may be more than
    the image has; multiply_adds: of the branch's convolution, for one image.
    """

    receptive_field: tuple[int, ...]
    multiply_adds: int


@dataclass(frozen=True)
class Branch:
    """name: its kernel, such as "3x3", or "image pooling"; rate: its dilation, with that and without."""

    name: str
    rate: int
    dilated: Reach
    undilated: Reach


def aspp_branches(model: DeepLabV3, size: tuple[int, int]) -> list[Branch]:
    """The branches in the model's order, for images of `size` (height, width) in pixels. The model is left as it is.

    Image pooling sees the whole image, and convolves one vector. Source: Chen et al. 2017, section 3.3 and figure 5;
    that dilation costs nothing: the experiments, question 1, 3c.
    """
    features = _feature_size(model, size)
    branches = []
    for branch in model.classifier.get_submodule("0.convs").children():
        conv = next(module for module in branch.modules() if isinstance(module, nn.Conv2d))
        rate = conv.dilation[0]
        if any(isinstance(module, nn.AdaptiveAvgPool2d) for module in branch.modules()):
            whole = Reach(size, conv_multiply_adds((1, 1), conv.in_channels, conv.out_channels, conv.kernel_size))
            branches.append(Branch("image pooling", rate, whole, whole))
        else:
            name = "x".join(map(str, conv.kernel_size))
            reaches = (_reach(model, conv, dilation, features) for dilation in (rate, 1))
            branches.append(Branch(name, rate, *reaches))
    return branches


class _Path(nn.Module):
    """From the image through the backbone and one more convolution; to be traced, not computed."""

    def __init__(self, backbone: nn.Module, conv: nn.Module) -> None:
        super().__init__()
        self.backbone, self.conv = backbone, conv

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv(self.backbone(x)["out"])
        return features


def _reach(model: DeepLabV3, conv: nn.Conv2d, rate: int, features: tuple[int, int]) -> Reach:
    """Of `conv` with another dilation, padded so that the feature map keeps its size."""
    kernel = conv.kernel_size[0]
    other = nn.Conv2d(conv.in_channels, conv.out_channels, kernel, dilation=rate, device="meta")
    cost = conv_multiply_adds(
        features, conv.in_channels, conv.out_channels, conv.kernel_size, padding=rate * (kernel // 2), dilation=rate
    )
    return Reach(model_receptive_field(_Path(model.backbone, other)), cost)


def _feature_size(model: DeepLabV3, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the backbone's output, found from shapes alone."""
    training, device = model.training, next(model.parameters()).device
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        height, width = model.eval().backbone(torch.empty(1, 3, *size, device=device))["out"].shape[-2:]
    model.train(training)
    return height, width
