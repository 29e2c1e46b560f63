"""Batches for ultralytics' trainer: its dataset and augmentation, our order of samples.

Ultralytics' own loader goes on from epoch to epoch without a stop: what it has loaded ahead, and the state of its
random generators, would be lost in a kill. Here each epoch begins anew and is a pure function of (seed, epoch, rank).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Sampler
from ultralytics.data.build import seed_worker
from ultralytics.data.dataset import YOLODataset

from visionjobs.data.order import batch_plan, epoch_order
from visionjobs.training.worker import Worker


class BoxDataset(YOLODataset):  # type: ignore[misc]
    """Ultralytics' dataset without its cache of labels, which is a pickle beside them that other runs read."""

    buffer: list[int]

    def _load_or_scan_cache(self, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
        """The labels, read anew and written nowhere that stays."""
        with tempfile.TemporaryDirectory() as folder:
            return self.cache_labels(Path(folder) / cache_path.name), False

    def forget(self) -> None:
        """Let go of the images loaded last, from which mosaics are put together: each epoch begins without any."""
        for index in self.buffer:
            self.ims[index], self.im_hw0[index], self.im_hw[index] = None, None, None
        self.buffer.clear()


class EpochSampler(Sampler[int]):
    """One rank's samples of an epoch in training order: its equal part of each global batch.

    The ranks' parts are disjoint. The last incomplete global batch is dropped, other samples each epoch.
    """

    def __init__(self, samples: int, global_batch: int, seed: int, worker: Worker) -> None:
        self.samples, self.global_batch, self.seed = samples, global_batch, seed
        self.rank, self.world = worker.rank, worker.world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """That of the passes to come."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples // self.global_batch * (self.global_batch // self.world)

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.samples, 0, self.seed, self.epoch)
        for planned in batch_plan(order, self.global_batch, self.rank, self.world):
            yield from planned.sample.tolist()


class EpochLoader(DataLoader[Any]):
    """Starts its processes anew in each epoch. wait_seconds: how long the training has waited for batches so far."""

    def __init__(self, dataset: BoxDataset, batch: int, sampler: EpochSampler, processes: int, pin: bool) -> None:
        """batch: samples of a batch on this rank."""
        self.wait_seconds = 0.0
        super().__init__(
            dataset,
            batch_size=batch,
            sampler=sampler,
            num_workers=processes,
            pin_memory=pin,
            collate_fn=dataset.collate_fn,
            worker_init_fn=seed_worker,
            prefetch_factor=4 if processes else None,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Nothing is started before the first batch is asked for: the trainer changes the dataset in between."""
        batches = super().__iter__()
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.wait_seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def reset(self) -> None:
        """Called by the trainer when it closes the mosaic: the next pass sees the dataset as it is then."""
