"""Whether the images of a split are kept in device memory whole, and the numbers behind that decision."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from visionjobs.errors import UserError

CGROUP = Path("/sys/fs/cgroup")

Wish = Literal["auto", "always", "never"]
"""data.resident of a job file."""


@dataclass(frozen=True)
class Residence:
    """Whether a split is kept on the device whole, the bytes that it needs, the bytes it may take, and why."""

    resident: bool
    bytes: int
    budget: int
    reason: str


def decide_residence(needed: int, memory: int, resident: Wish, fraction: float, processes: int) -> Residence:
    """`needed` bytes against this process's share of `memory` bytes: fraction * memory / processes.

    Raises UserError for "always" where they do not fit.
    """
    budget = int(fraction * memory / processes)
    share = (
        f"{mib(budget)} ({fraction:.3g} of {mib(memory)}, {processes} process{'es' * (processes > 1)} on the device)"
    )
    if resident == "never":
        return Residence(False, needed, budget, 'prefetched: data.resident is "never"')
    if needed <= budget:
        return Residence(True, needed, budget, f"resident: {mib(needed)} fit in {share}")
    if resident == "always":
        raise UserError(
            f'data.resident: "always" needs {mib(needed)} of device memory, and the share of these images is {share}. '
            'Set it to "auto", take a smaller data.size, or raise data.resident_fraction.'
        )
    return Residence(False, needed, budget, f"prefetched: {mib(needed)} do not fit in {share}")


def device_memory(device: torch.device) -> int:
    """Total memory of the device in bytes; for the CPU the machine's, or the container's limit where that is lower."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    limits = [psutil.virtual_memory().total]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup v2 and v1
        with contextlib.suppress(OSError, ValueError):  # no such version here, or the word "max"
            limits.append(int(Path(CGROUP, file).read_text()))
    return min(limits)


def mib(count: int) -> str:
    """1048576 -> '1 MiB'."""
    return f"{count / 2**20:,.0f} MiB"
