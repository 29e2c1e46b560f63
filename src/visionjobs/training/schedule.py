"""The learning rate of each step: a pure function of the step, so that a resumed run goes on where it was."""

from __future__ import annotations

import math

from visionjobs.spec import Train

POWER = 0.9
"""Of the polynomial schedule (Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017,
section 4.1)."""


def learning_rate(train: Train, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps` in all, from train.lr down to nearly 0.

    constant: lr; polynomial: lr (1 - step/steps)^0.9; cosine: lr (1 + cos(pi step/steps)) / 2, without restarts
    (Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5). Where a run is continued to more epochs, `steps` is the new
    number, and the rate rises again to what it is there.
    """
    match train.schedule:
        case "constant":
            return train.lr
        case "polynomial":
            return float(train.lr * (1 - step / steps) ** POWER)
        case "cosine":
            return train.lr * (1 + math.cos(math.pi * step / steps)) / 2
