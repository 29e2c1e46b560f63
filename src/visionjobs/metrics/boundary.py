"""How well a segmentation's boundaries are placed: the boundary F-score, from counts that add up.

Source: Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013; as used
for SegNet by Badrinarayanan et al., TPAMI 2017, section 3.3. They average the scores of the classes in each image, then
those of the images ("BF"); here the counts of all images are summed first, so that the number does not depend on how
images are put together and an image with a long boundary counts for more. It is not to be compared with theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from visionjobs.metrics.segmentation import occurrences

SHARE = 0.0075
"""Of the image's diagonal: how far apart two boundary pixels may be and still match (Badrinarayanan et al., section
3.3; the default of MATLAB's bfscore, too, which is made after Csurka et al.)."""

PREDICTED, PREDICTED_NEAR, TRUE, TRUE_NEAR = range(4)
"""What `boundary_counts` counts."""

BITS = 32
"""Classes that are looked at together, as the bits of one int32 a pixel."""


def tolerance(height: int, width: int) -> float:
    """In pixels, for images of this size."""
    return SHARE * math.hypot(height, width)


@torch.no_grad()
def boundary_counts(truth: Tensor, predicted: Tensor, num_classes: int, pixels: float) -> Tensor:
    """int64 [b, K, 4] of two masks uint8 [b, H, W], on their device and without waiting for it.

    A boundary pixel is one with a pixel of another class above, below, left or right of it; it counts for its own
    class; the image's border is no boundary. Of each class: its predicted boundary pixels, those of them within
    `pixels` (Euclidean, at most) of a true boundary pixel of the class; its true boundary pixels, those of them within
    `pixels` of a predicted one.
    """
    counts = truth.new_zeros((len(truth), num_classes, 4), dtype=torch.int64)
    for first in range(0, num_classes, BITS):
        classes = slice(first, first + BITS)
        said, true = (_places(masks.int() - first) for masks in (predicted, truth))
        near_said, near_true = (_spread(_bits(places), pixels) for places in (said, true))
        counts[:, classes, PREDICTED : PREDICTED_NEAR + 1] = _count(said, near_true)[:, : num_classes - first]
        counts[:, classes, TRUE : TRUE_NEAR + 1] = _count(true, near_said)[:, : num_classes - first]
    return counts


def _places(numbers: Tensor) -> Tensor:
    """int32 [b, H, W]: the number of each boundary pixel where it is one of 0..BITS-1, elsewhere -1."""
    edge = torch.zeros_like(numbers, dtype=torch.bool)
    down = numbers[:, 1:] != numbers[:, :-1]
    across = numbers[:, :, 1:] != numbers[:, :, :-1]
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    return torch.where(edge & (numbers >= 0) & (numbers < BITS), numbers, -1)


def _bits(places: Tensor) -> Tensor:
    """int32: bit 0 for place 0, ..., no bit for -1."""
    return torch.where(places >= 0, torch.ones_like(places) << places.clamp(min=0), 0)


def _spread(bits: Tensor, pixels: float) -> Tensor:
    """Each bit of int32 [b, H, W] at every place within `pixels` of one where it is set.

    The disc is put together from its rows: each is a run of pixels, and runs are grown from shorter ones.
    """
    reach, height = int(pixels), bits.shape[1]
    half_widths = [max(x for x in range(reach + 1) if math.hypot(x, y) <= pixels) for y in range(reach + 1)]
    run, spread = bits.clone(), torch.zeros_like(bits)
    for half in range(reach + 1):
        if half:
            run[:, :, half:] |= bits[:, :, :-half]
            run[:, :, :-half] |= bits[:, :, half:]
        for row in range(min(reach + 1, height)):
            if half_widths[row] == half:
                spread[:, row:] |= run[:, : height - row]
                spread[:, : height - row] |= run[:, row:]
    return spread


def _count(places: Tensor, near: Tensor) -> Tensor:
    """int64 [b, BITS, 2]: of each place the pixels, and those of them where its bit in `near` is set."""
    hit = (near >> places.clamp(min=0)) & 1
    codes = torch.where(places >= 0, 2 * places + hit, 2 * BITS)
    found = occurrences(codes.long().flatten(1), 2 * BITS + 1)[:, :-1].reshape(-1, BITS, 2)
    return torch.stack([found.sum(2), found[..., 1]], dim=2)


def boundary_scores(counts: npt.NDArray[np.int64], names: Sequence[str]) -> dict[str, Any]:
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
