"""How well a segmentation's boundaries are placed: the boundary F-score, from counts that add up.

Source: Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013,
section 2.2. They average the scores of images; here the counts of all images are summed first, so that the number does
not depend on how images are put together and an image with a long boundary counts for more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

SHARE = 0.0075
"""Of the image's diagonal: how far apart two boundary pixels may be and still match (Csurka et al., section 2.2)."""

PREDICTED, PREDICTED_NEAR, TRUE, TRUE_NEAR = range(4)
"""What `boundary_counts` counts."""

BITS = 63
"""Classes that are looked at together, as the bits of one int64 a pixel."""


def tolerance(height: int, width: int) -> float:
    """In pixels, for images of this size."""
    return SHARE * math.hypot(height, width)


@torch.no_grad()
def boundary_counts(truth: Tensor, predicted: Tensor, num_classes: int, pixels: float) -> Tensor:
    """int64 [b, K, 4] of two masks uint8 [b, H, W], on their device and without waiting for it.

    A boundary pixel is one with a pixel of another class above, below, left or right of it; it counts for its own
    class. Of each class: its predicted boundary pixels, those of them within `pixels` (Euclidean) of a true boundary
    pixel of the class; its true boundary pixels, those of them within `pixels` of a predicted one.
    """
    counts = torch.zeros((len(truth), num_classes, 4), dtype=torch.int64, device=truth.device)
    for first in range(0, num_classes, BITS):
        places = [_places(masks.long() - first) for masks in (predicted, truth)]
        spread = [_spread(_bits(place), pixels) for place in places]
        for column, place, other in ((PREDICTED, places[0], spread[1]), (TRUE, places[1], spread[0])):
            at = place.clamp(min=0)
            on, near = place >= 0, (other >> at) & 1
            cells = (at + first).clamp(max=num_classes - 1).flatten(1)
            counts[:, :, column].scatter_add_(1, cells, on.flatten(1).long())
            counts[:, :, column + 1].scatter_add_(1, cells, (near * on).flatten(1))
    return counts


def _places(numbers: Tensor) -> Tensor:
    """int64 [b, H, W]: the class of each boundary pixel where it is one of 0..BITS-1, elsewhere -1."""
    edge = torch.zeros_like(numbers, dtype=torch.bool)
    down = numbers[:, 1:] != numbers[:, :-1]
    across = numbers[:, :, 1:] != numbers[:, :, :-1]
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    return torch.where(edge & (numbers >= 0) & (numbers < BITS), numbers, -1)


def _bits(places: Tensor) -> Tensor:
    return torch.where(places >= 0, torch.ones_like(places) << places.clamp(min=0), 0)


def _spread(bits: Tensor, pixels: float) -> Tensor:
    """Each bit at every place within `pixels` of one where it is set."""
    reach, (height, width) = int(pixels), bits.shape[1:]
    padded = F.pad(bits, (reach, reach, reach, reach))
    spread = torch.zeros_like(bits)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if math.hypot(down, right) <= pixels:
                top, left = reach + down, reach + right
                spread |= padded[:, top : top + height, left : left + width]
    return spread


def boundary_scores(counts: npt.NDArray[np.int64], names: list[str]) -> dict[str, Any]:
    """`f`, the mean over the classes with true boundary pixels, and per_class.<name>.{f, precision, recall, pixels}.

    counts: int64 [K, 4], those of all images summed. precision: the share of the predicted boundary pixels that are
    near a true one, None where nothing is predicted; recall: of the true ones, near a predicted one; f: their harmonic
    mean, 0 where nothing is predicted. All are None for a class without true boundary pixels (`pixels` is 0).
    """
    per_class: dict[str, dict[str, float | int | None]] = {}
    for name, row in zip(names, counts.tolist(), strict=True):
        if not row[TRUE]:
            per_class[name] = {"f": None, "precision": None, "recall": None, "pixels": 0}
            continue
        precision = row[PREDICTED_NEAR] / row[PREDICTED] if row[PREDICTED] else None
        recall = row[TRUE_NEAR] / row[TRUE]
        both = (precision or 0.0) + recall
        f = 2 * (precision or 0.0) * recall / both if both else 0.0
        per_class[name] = {"f": f, "precision": precision, "recall": recall, "pixels": row[TRUE]}
    scores = [float(found["f"]) for found in per_class.values() if found["f"] is not None]
    return {"f": math.fsum(scores) / len(scores) if scores else None, "per_class": per_class}
