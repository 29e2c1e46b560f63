"""DeepLabV3 (Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017), as torchvision
builds it, with the auxiliary head that it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from visionjobs.models.freeze import FreezableModule
from visionjobs.models.outputs import Outputs, WithAuxiliary


class DeepLabV3(FreezableModule):
    """Images [N, 3, H, W], floating point, normalised as ImageNet's -> logits [N, K, H, W]; in training WithAuxiliary.

    build: torchvision's function for it, such as deeplabv3_resnet50; its state-dict keys are the model's. In training
    N is at least 2: the image pooling's batch norm has one value a channel and image.
    """

    def __init__(self, build: Callable[..., nn.Module], num_classes: int) -> None:
        super().__init__()
        theirs = build(weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=True)
        self.backbone = theirs.get_submodule("backbone")
        self.classifier = theirs.get_submodule("classifier")
        self.aux_classifier = theirs.get_submodule("aux_classifier")

    def forward(self, x: Tensor) -> Outputs:
        size, features = x.shape[-2:], self.backbone(x)
        logits = F.interpolate(self.classifier(features["out"]), size, mode="bilinear", align_corners=False)
        if not self.training:
            return logits
        auxiliary = F.interpolate(self.aux_classifier(features["aux"]), size, mode="bilinear", align_corners=False)
        return WithAuxiliary(logits, auxiliary)
