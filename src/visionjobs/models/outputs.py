"""What a model gives: logits, and in training those of an auxiliary head beside them, where it has one."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class WithAuxiliary(NamedTuple):
    """Both of one shape."""

    logits: Tensor
    auxiliary: Tensor


Outputs = Tensor | WithAuxiliary
"""In evaluation mode always the logits alone."""


def logits_of(outputs: Outputs) -> Tensor:
    """The logits."""
    return outputs.logits if isinstance(outputs, WithAuxiliary) else outputs


def total(outputs: Outputs) -> Tensor:
    """The sum of all numbers, a scalar through which each parameter gets a gradient."""
    if isinstance(outputs, WithAuxiliary):
        return outputs.logits.float().sum() + outputs.auxiliary.float().sum()
    return outputs.float().sum()
