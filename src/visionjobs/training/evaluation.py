"""Evaluation: every sample of a split exactly once over the workers, and what is kept of each one at the end of a run.

Sums are reduced as counts. What is kept comes together on every worker in the order of the split, so that whatever
is computed from it does not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from visionjobs.arrays import Arrays
from visionjobs.data.loader import Batch, Images
from visionjobs.data.order import PlannedBatch, evaluation_plan, shared_batches
from visionjobs.tasks.base import Task
from visionjobs.training.worker import Worker

FEATURE_SAMPLES = 20_000
"""Of larger splits, the features of so many samples are kept, evenly spaced over the split: 40 MB at 512 numbers."""


def _nobody(_samples: int) -> None:
    """Nobody wants to know how far it is."""


def go_on(_number: int) -> None:
    """Nobody asks it to stop."""


@dataclass(frozen=True)
class Evaluator:
    """One worker's means to evaluate. model: the bare module; batch: samples at once on this worker.

    on_samples: called with the number of samples that this worker has just been through; look: with the number, from
    1, of each batch that every worker has, so by all of them equally often: it may raise.
    """

    worker: Worker
    task: Task
    model: nn.Module
    batch: int
    to_input: Callable[[Batch], Tensor]
    autocast: Callable[[], AbstractContextManager[Any]]
    on_samples: Callable[[int], None] = _nobody
    look: Callable[[int], None] = go_on

    def metrics(self, images: Images) -> dict[str, Any]:
        """The metrics of the current weights on a split, from counts summed over the workers."""
        return self._evaluate(images, None)

    def metrics_and_samples(self, images: Images) -> tuple[dict[str, Any], Arrays]:
        """The metrics, and what the task keeps of each sample: name -> [n, ...], in the order of the split."""
        kept: list[dict[str, Tensor]] = []
        metrics = self._evaluate(images, kept)
        names = self.task.kept
        return metrics, {name: self._together([part[name] for part in kept]) for name in names}

    @torch.inference_mode()
    def features(self, images: Images, layer: str) -> Arrays:
        """What reaches the module `layer`, flattened: "index" int64 [m], rows of the split; "features" float32 [m, D].

        m is the number of samples, but at most FEATURE_SAMPLES.
        """
        index = np.linspace(0, len(images) - 1, min(len(images), FEATURE_SAMPLES)).astype(np.int64)
        planned = evaluation_plan(len(index), self.batch, self.worker.rank, self.worker.world)
        plan = (PlannedBatch(part.step, index[part.sample], part.copy) for part in planned)
        found: list[Tensor] = []
        hook = self.model.get_submodule(layer).register_forward_pre_hook(
            lambda _module, inputs: found.append(inputs[0].flatten(1).float())
        )
        try:
            for _batch, _outputs in self._forward(images, plan, len(index)):
                pass
        finally:
            hook.remove()
        return {"index": index, "features": self._together(found)}

    @torch.inference_mode()
    def _evaluate(self, images: Images, kept: list[dict[str, Tensor]] | None) -> dict[str, Any]:
        counts = self.task.eval_counts(self.worker.device)
        plan = evaluation_plan(len(images), self.batch, self.worker.rank, self.worker.world)
        for batch, outputs in self._forward(images, plan, len(images)):
            self.task.count_eval(counts, outputs, batch.targets)
            if kept is not None:
                found = self.task.keep(outputs, batch.targets)
                kept.append({name: tensor.cpu() for name, tensor in found.items()})  # all of them: too much for a GPU
        return self.task.result(self.worker.sum(counts)).to_dict()

    def _forward(self, images: Images, plan: Iterable[PlannedBatch], samples: int) -> Iterator[tuple[Batch, Tensor]]:
        self.worker.broadcast_buffers(self.model)
        self.model.eval()
        shared = shared_batches(samples, self.batch, self.worker.world)
        for number, batch in enumerate(images.batches(plan), 1):
            with self.autocast():
                outputs = self.model(self.to_input(batch))
            yield batch, outputs
            self.on_samples(len(batch.targets))
            if number <= shared:
                self.look(number)

    def _together(self, parts: list[Tensor]) -> npt.NDArray[Any]:
        rows = self.worker.gather_rows(torch.cat(parts) if parts else None)
        return np.asarray(rows.cpu().numpy())
