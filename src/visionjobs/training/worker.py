"""One worker among the others: who it is, its device, and the few collectives that the loop needs.

Works the same in a Ray Train worker, under torch.distributed without Ray, and alone in a process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from visionjobs.errors import VisionjobsError, error_from


@dataclass(frozen=True)
class Worker:
    """rank of world; device; processes_on_device: how many workers share that device's memory."""

    rank: int
    world: int
    device: torch.device
    processes_on_device: int = 1

    @classmethod
    def current(cls, use_gpu: bool, trials_on_device: int = 1) -> Worker:
        """This process's place, from the process group if there is one.

        On the CPU all workers of a node share its memory; a GPU is not shared between workers of one run, but perhaps
        by several trials of a sweep.
        """
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        if use_gpu:
            return cls(rank, world, torch.device("cuda", torch.cuda.current_device()), trials_on_device)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        return cls(rank, world, torch.device("cpu"), here * trials_on_device)

    @property
    def is_main(self) -> bool:
        """Whether this worker writes what is written once."""
        return self.rank == 0

    def sum(self, counts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each tensor summed over the workers, on every worker. The arguments stay as they are."""
        if self.world == 1:
            return counts
        summed = {name: tensor.clone() for name, tensor in counts.items()}
        for tensor in summed.values():
            dist.all_reduce(tensor)
        return summed

    def minimum(self, value: Tensor) -> Tensor:
        """Elementwise minimum over the workers; `value` may be overwritten."""
        if self.world > 1:
            dist.all_reduce(value, op=dist.ReduceOp.MIN)
        return value

    def gather(self, counts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each tensor stacked over the workers, [world, ...]."""
        if self.world == 1:
            return {name: tensor[None] for name, tensor in counts.items()}
        gathered = {}
        for name, tensor in counts.items():
            parts = [torch.empty_like(tensor) for _ in range(self.world)]
            dist.all_gather(parts, tensor.contiguous())
            gathered[name] = torch.stack(parts)
        return gathered

    def gather_rows(self, rows: Tensor | None) -> Tensor:
        """Rows [n_r, ...] of every worker one after the other, on every worker; None where a worker has none.

        One worker at least must have some. Workers may have different numbers of rows.
        """
        if self.world == 1:
            if rows is None:
                raise ValueError("there are no rows on any worker")
            return rows
        shapes: list[tuple[int, ...] | None] = [None] * self.world
        dist.all_gather_object(shapes, None if rows is None else tuple(rows.shape))
        dtypes: list[torch.dtype | None] = [None] * self.world
        dist.all_gather_object(dtypes, None if rows is None else rows.dtype)
        like = next(number for number, shape in enumerate(shapes) if shape is not None)
        lengths = [0 if shape is None else shape[0] for shape in shapes]
        padded = torch.zeros((max(lengths), *(shapes[like] or ())[1:]), dtype=dtypes[like], device=self.device)
        if rows is not None:
            padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def broadcast_bytes(self, data: bytes | None) -> bytes | None:
        """The main worker's bytes, on every worker; None stays None."""
        if self.world == 1:
            return data
        size = torch.tensor([-1 if data is None else len(data)], dtype=torch.int64, device=self.device)
        dist.broadcast(size, src=0)
        length = int(size.item())
        if length < 0:
            return None
        buffer = torch.empty(length, dtype=torch.uint8, device=self.device)
        if data is not None and self.is_main:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(buffer, src=0)
        return buffer.cpu().numpy().tobytes()

    def first_error(self, error: VisionjobsError | None) -> VisionjobsError | None:
        """The error of the first worker that has one, on every worker: all stop together, or none."""
        if self.world == 1:
            return error
        errors: list[tuple[str, int] | None] = [None] * self.world
        dist.all_gather_object(errors, (str(error), error.exit_status) if error else None)
        first = next((found for found in errors if found), None)
        return error_from(*first) if first else None

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        """Every worker takes the main worker's buffers (batch-norm statistics), as DDP does before a forward pass."""
        if self.world > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)
