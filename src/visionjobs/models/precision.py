"""The number format that a model computes in: what `train.precision` means on a device."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch


def resolve_precision(asked: str, device: torch.device) -> str:
    """'auto' -> bf16 where the GPU has it, fp16 on other GPUs, fp32 on the CPU."""
    if asked != "auto":
        return asked
    if device.type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which a model of this precision computes its outputs."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
