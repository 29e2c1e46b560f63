"""ResNet-18 (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016), as torchvision builds it."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from visionjobs.models.freeze import FreezableModule


class ResNet18(FreezableModule, ResNet):  # type: ignore[misc]  # torchvision has no types
    """Images [N, 3, H, W] of any size, normalised as ImageNet's -> logits [N, num_classes].

    Its state-dict keys are those of torchvision's resnet18.
    """

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes)
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout))  # without weights: no key changes
