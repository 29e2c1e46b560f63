"""Freezing the backbone: its parameters take no gradient, and its batch-norm layers keep their statistics."""

from __future__ import annotations

from typing import Self

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # the base that nn.BatchNorm1d/2d/3d and nn.SyncBatchNorm share


class FreezableModule(nn.Module):
    """Base of every model: `train()` leaves batch-norm layers whose weights are frozen in eval mode.

    Else they would normalise by the batch and move their running statistics, and the backbone would not be frozen.
    """

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
                module.eval()
        return self


def freeze(model: FreezableModule, prefixes: tuple[str, ...]) -> None:
    """Freeze the parameters whose names begin with one of `prefixes`, in place."""
    for name, parameter in model.named_parameters():
        if name.startswith(prefixes):
            parameter.requires_grad_(False)
    model.train(model.training)
