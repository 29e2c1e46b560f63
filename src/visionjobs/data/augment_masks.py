"""Augmentation of images together with their masks, in batches on the device, with draws of its own for each SAMPLE.

As in data/augment.py an augmentation is a plain callable whose draws come from torch's global CPU generator: the same
whatever the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from visionjobs.data.augment import ColorJitter, JitterDraws

MaskAugmentation = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(floats [b, 3, H, W] between 0 and 1, masks uint8 [b, H, W]) -> the same shapes and range, moved together."""

ZOOM = 2.0
"""Largest enlargement along either axis; the smallest is 1."""

ASPECT = 1.1
"""An image becomes at most so much wider or narrower against its height."""

BRIGHTNESS, CONTRAST, SATURATION = 0.3, 0.3, 0.3
"""Factors are uniform in [1 - x, 1 + x]."""

HUE = 0.03
"""Hues turn by at most this share of the colour circle, either way."""


class Draws(NamedTuple):
    """One batch's draws, on the CPU.

    height, width: float32 [b], the crop's share of the image, between 1 / ZOOM and 1; top, left: float32 [b], between 0
    and 1, its place among all that lie inside the image; flip: bool [b], left and right exchanged. jitter: brightness
    and contrast; saturation: factors float32 [b]; hue: float32 [b] in radians.
    """

    height: Tensor
    width: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor
    jitter: JitterDraws
    saturation: Tensor
    hue: Tensor


class CamVidAugmentation:
    """Flip, enlarged crop and colours, for images of streets: image bilinear, mask nearest, by the same geometry.

    The crop lies inside the image, so that there is nothing to fill. size: (height, width) in pixels of what comes out.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        from kornia import enhance

        self._size = size
        self._jitter = ColorJitter(BRIGHTNESS, CONTRAST)
        self._saturate = enhance.adjust_saturation_with_gray_subtraction
        self._turn_hue = enhance.adjust_hue

    def draw(self, n: int) -> Draws:
        """Draws for n samples from torch's global CPU generator. Zoom and aspect are uniform in their logarithms."""
        zoom, aspect, top, left, flip, saturation, hue = torch.rand(7, n)
        side = ZOOM**-zoom
        stretch = ASPECT ** (aspect - 0.5)  # the square root of the aspect: a part for each axis
        return Draws(
            height=(side * stretch).clamp(1 / ZOOM, 1),
            width=(side / stretch).clamp(1 / ZOOM, 1),
            top=top,
            left=left,
            flip=flip < 0.5,
            jitter=self._jitter.draw(n),
            saturation=1 + SATURATION * (2 * saturation - 1),
            hue=2 * math.pi * HUE * (2 * hue - 1),
        )

    def apply(self, images: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Geometry of both, then the colours of the images."""
        grid = self._grid(draws, images.device)
        # A pixel at the crop's edge is interpolated beyond the outermost centres: "border" repeats the pixel there.
        moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        floats = masks[:, None].to(grid.dtype)  # class numbers are exact in it
        classes = F.grid_sample(floats, grid, mode="nearest", padding_mode="border", align_corners=False)
        # Interpolation may leave the range by rounding; the changes of colour clamp what they make.
        return self._colours(moved.clamp(0, 1), draws), classes[:, 0].to(torch.uint8)

    def _colours(self, images: Tensor, draws: Draws) -> Tensor:
        changed: Tensor = self._turn_hue(
            self._saturate(self._jitter.apply(images, draws.jitter), draws.saturation), draws.hue
        )
        return changed.clamp(0, 1)

    def _grid(self, draws: Draws, device: torch.device) -> Tensor:
        """Where each new pixel comes from: float32 [b, *size, 2], x and y between -1 and 1, the edges of the image."""
        theta = torch.zeros(len(draws.flip), 2, 3)
        theta[:, 0, 0] = torch.where(draws.flip, -draws.width, draws.width)
        theta[:, 1, 1] = draws.height
        theta[:, 0, 2] = (1 - draws.width) * (2 * draws.left - 1)
        theta[:, 1, 2] = (1 - draws.height) * (2 * draws.top - 1)
        if device.type == "cuda":
            theta = theta.pin_memory().to(device, non_blocking=True)
        return F.affine_grid(theta, [len(theta), 1, *self._size], align_corners=False)

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Draw and apply."""
        return self.apply(images, masks, self.draw(len(images)))


MASK_AUGMENTATIONS: dict[str, Callable[[tuple[int, int]], MaskAugmentation]] = {"camvid": CamVidAugmentation}
"""Name in `data.augment` of a job file -> what makes the augmentation of a size. Each needs kornia when it is made."""


@torch.no_grad()
def augment_with_masks(images: Tensor, masks: Tensor, augmentation: MaskAugmentation) -> tuple[Tensor, Tensor]:
    """uint8 images [b, H, W, 3] and masks [b, H, W] -> floats [b, 3, H, W] between 0 and 1, and masks uint8.

    Computed on their device, in float32 also under autocast.
    """
    with torch.autocast(images.device.type, enabled=False):
        return augmentation(images.permute(0, 3, 1, 2).float().div_(255), masks)
