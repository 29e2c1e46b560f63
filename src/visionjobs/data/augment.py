"""Augmentation in batches on the device, with draws of its own for each SAMPLE.

An augmentation is a plain callable, not an nn.Module: kornia draws where the module lies, and `.to("cuda")` would
move the draws from the CPU's generator to the GPU's. As it is, they are a pure function of the state of torch's
global CPU generator, the same whatever the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Augmentation = Callable[[Tensor], Tensor]
"""Floats [b, 3, H, W] between 0 and 1 -> the same shape and range, each sample changed by its own draws."""


class JitterDraws(NamedTuple):
    """One batch's draws, on the CPU: factors float32 [b]; brightness_first bool [b]."""

    brightness: Tensor
    contrast: Tensor
    brightness_first: Tensor


class ColorJitter:
    """torchvision's ColorJitter for brightness and contrast, with factors and ORDER drawn for each sample.

    kornia's own draws one order for the whole batch, which is not what torchvision does to images one by one.
    Factors are uniform in [1 - x, 1 + x]. Brightness multiplies; contrast blends with the mean of the image's gray.
    """

    def __init__(self, brightness: float, contrast: float) -> None:
        from kornia import enhance

        self._brightness, self._contrast = brightness, contrast
        self._multiply = enhance.adjust_brightness_accumulative
        self._blend = enhance.adjust_contrast_with_mean_subtraction

    def draw(self, n: int) -> JitterDraws:
        """Draws for n samples from torch's global CPU generator."""
        brightness, contrast, order = torch.rand(3, n)
        return JitterDraws(
            brightness=1 + self._brightness * (2 * brightness - 1),
            contrast=1 + self._contrast * (2 * contrast - 1),
            brightness_first=order < 0.5,
        )

    def apply(self, images: Tensor, draws: JitterDraws) -> Tensor:
        """Both changes, in each sample's order: a factor of 1 on values between 0 and 1 changes nothing, to the bit."""
        before = torch.where(draws.brightness_first, draws.brightness, 1.0)
        after = torch.where(draws.brightness_first, 1.0, draws.brightness)
        changed: Tensor = self._multiply(self._blend(self._multiply(images, before), draws.contrast), after)
        return changed

    def __call__(self, images: Tensor) -> Tensor:
        """Draw and apply."""
        return self.apply(images, self.draw(len(images)))


class WildlifeAugmentation:
    """What the experiments applied to each augmented copy (question 2, part 4), in their order.

    torchvision's RandomAffine(degrees=0, translate=(.1, .1), scale=(.9, 1.1)), ColorJitter(brightness=.3, contrast=.2),
    RandomAdjustSharpness(2, p=.5) and RandomPerspective(.2, p=.5), with its default interpolation: nearest for the
    affine one, bilinear for the perspective, black outside. Two things differ: translations and corners are drawn from
    the same ranges without rounding to whole pixels, and a perspective's corners come to lie exactly where they were
    drawn (torchvision adds half a pixel before its transform and takes it off after, which moves the content by less
    than half a pixel at this distortion).
    """

    def __init__(self) -> None:
        from kornia import augmentation

        self.affine = augmentation.RandomAffine(
            degrees=0.0, translate=(0.1, 0.1), scale=(0.9, 1.1), resample="nearest", p=1.0
        )
        self.jitter = ColorJitter(brightness=0.3, contrast=0.2)
        self.sharpness = augmentation.RandomSharpness(sharpness=(2.0, 2.0), p=0.5)  # a range: exactly 2
        self.perspective = augmentation.RandomPerspective(distortion_scale=0.2, p=0.5)

    def __call__(self, images: Tensor) -> Tensor:
        """Floats [b, 3, H, W] between 0 and 1, H and W at least 3 -> the same shape and range."""
        changed: Tensor = self.perspective(self.sharpness(self.jitter(self.affine(images))))
        return changed


AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {"wildlife": WildlifeAugmentation}
"""Name in `data.augment` of a job file -> what makes the augmentation. Each needs kornia when it is made."""


@torch.no_grad()
def augment_copies(images: Tensor, copy: npt.NDArray[np.int64], augmentation: Augmentation) -> Tensor:
    """Augment the samples whose `copy` is above 0; the others come back to the bit.

    images: floats [b, 3, H, W] between 0 and 1, left as they are; copy: int64 [b] on the host, so that nobody waits
    for the device to learn which samples they are. Computed in the precision of `images`, also under autocast.
    """
    chosen = np.flatnonzero(copy)
    if len(chosen) == 0:
        return images
    with torch.autocast(images.device.type, enabled=False):
        if len(chosen) == len(images):
            return augmentation(images)
        index = torch.from_numpy(chosen).to(images.device, non_blocking=True)
        return images.index_copy(0, index, augmentation(images.index_select(0, index)))
