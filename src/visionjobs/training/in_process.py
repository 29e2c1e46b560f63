"""Training and prediction by this very process, for a sweep's trial with one worker: Ray Train's start takes 25 s.

It is the workers' own function (worker_main.py), and so the same loop, checkpoints and history.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import torch

from visionjobs.cluster.sizes import Share
from visionjobs.errors import VisionjobsError, first_line
from visionjobs.runs import Attempt
from visionjobs.spec import JobSpec
from visionjobs.training.recorder import Link
from visionjobs.training.worker_main import Outcome, Work, worker_main

CONTEXT_BYTES = 2**30
"""Of a device's memory, what a process takes beside its tensors: CUDA's context, libraries' workspaces."""

Train = Callable[[Work, Share, Attempt, JobSpec], Outcome]


def trains_here(link: Link) -> Train:
    """As train_on_ray (ray_workers.py), in the thread that calls it."""
    return partial(_train_here, link)


def _train_here(link: Link, work: Work, share: Share, attempt: Attempt, spec: JobSpec) -> Outcome:
    if work.use_gpu:
        torch.cuda.set_device(0)  # Ray shows this process its own one only
        if share.gpus < 1:  # out of memory ends this trial alone
            torch.cuda.set_per_process_memory_fraction(_fraction(share.gpus, work.trials_on_device))
    try:
        if spec.task == "detection":
            from visionjobs.training.finetune import finetune_main

            return Outcome(**finetune_main(asdict(work), link))
        return Outcome(**worker_main(asdict(work), link))
    except VisionjobsError:
        raise
    except Exception as error:
        attempt.write("error.txt", traceback.format_exc())
        raise VisionjobsError(
            f"the worker failed with {type(error).__name__}: {first_line(error)}; in full in "
            f"{attempt.store.address}/error.txt"
        ) from error


def _fraction(share: float, processes: int) -> float:
    """Of the device's memory, for this process's tensors."""
    total = torch.cuda.get_device_properties(0).total_memory
    return max(0.01, share * (total - processes * CONTEXT_BYTES) / total)
