"""The order of samples: which sample, in which copy, goes into which batch of which rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Indices = npt.NDArray[np.int64]


class EpochOrder(NamedTuple):
    """The samples of an epoch in training order. Copy 0 is the image as it is; 1, 2, ... are to be augmented."""

    sample: Indices
    copy: Indices


class PlannedBatch(NamedTuple):
    """What one rank takes at one step of the epoch: sample indices and copy numbers, int64 [b] each."""

    step: int
    sample: Indices
    copy: Indices


def epoch_order(n: int, copies: int, seed: int, epoch: int) -> EpochOrder:
    """A permutation of all (image, copy) pairs, n * (1 + copies) of them: a pure function of its arguments.

    It is drawn on the CPU, so that it is the same whatever the device.
    """
    # SeedSequence mixes the two numbers, so that seed 0 epoch 1 and seed 1 epoch 0 have nothing in common.
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])
    generator = torch.Generator().manual_seed(mixed)
    pairs = torch.randperm(n * (1 + copies), generator=generator).numpy()
    return EpochOrder(sample=pairs % n, copy=pairs // n) if n else EpochOrder(pairs, pairs)


def batch_plan(
    order: EpochOrder, global_batch: int, rank: int, world: int, start_step: int = 0
) -> Iterator[PlannedBatch]:
    """The batches of `rank` from `start_step` of the epoch on: the rank-th equal part of each global batch.

    The last incomplete global batch is dropped. Raises ValueError unless `world` divides `global_batch`.
    """
    if global_batch % world:
        raise ValueError(f"a global batch of {global_batch} cannot be divided equally among {world} ranks")
    share = global_batch // world
    starts = (
        (step, step * global_batch + rank * share) for step in range(start_step, len(order.sample) // global_batch)
    )
    return (PlannedBatch(step, order.sample[at : at + share], order.copy[at : at + share]) for step, at in starts)


def evaluation_plan(n: int, batch: int, rank: int, world: int) -> Iterator[PlannedBatch]:
    """Every sample exactly once over the ranks, in order: rank r has a contiguous share, sizes differ by at most one.

    A rank has no batch at all where there are fewer samples than ranks. `batch` is the size on one rank.
    """
    first, last = n * rank // world, n * (rank + 1) // world
    for step, start in enumerate(range(first, last, batch)):
        sample = np.arange(start, min(start + batch, last), dtype=np.int64)
        yield PlannedBatch(step, sample, np.zeros_like(sample))


def shared_batches(n: int, batch: int, world: int) -> int:
    """How many batches of `evaluation_plan` every rank has: as many as the rank with the fewest samples."""
    return -(-(n // world) // batch)
