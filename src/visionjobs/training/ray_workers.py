"""Ray Train: the workers of one attempt, restarted when they die.

Ray never sees a checkpoint: it hands out damaged ones unchecked. The workers find the newest whole one themselves at
every start (training/checkpoint.py), so a restarted group and a new attempt resume in the same way.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import Any

from visionjobs.errors import UserError, VisionjobsError
from visionjobs.runs import Attempt
from visionjobs.spec import JobSpec
from visionjobs.training.worker_main import Outcome, Work, worker_main

RAY_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # the dashboard's Train page
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else every line is printed twice
}


@dataclass(frozen=True)
class Share:
    """What each worker gets, resolved: whole CPUs, and 0 or 1 GPU."""

    workers: int
    cpus: int
    gpus: int


def resolve_share(spec: JobSpec, cpus: int, gpus: int) -> tuple[Share, str | None]:
    """`auto` against what the cluster has in all; a number is a demand. Returns a warning too, or None.

    Raises UserError where a demand cannot be met (Ray would wait for ever).
    """
    asked, workers = spec.resources, spec.resources.workers
    demanded = 0 if asked.gpus == "auto" else asked.gpus * workers
    if demanded > gpus:
        raise UserError(
            f"resources.gpus: {workers} worker(s) with {asked.gpus} GPU each need {demanded}, and Ray sees {gpus}; "
            "lower resources.workers, or set resources.gpus to auto or 0"
        )
    per_worker = (1 if gpus >= workers else 0) if asked.gpus == "auto" else asked.gpus
    cpu_share = max(1, math.floor(cpus / workers)) if asked.cpus == "auto" else asked.cpus
    if cpu_share * workers > cpus:
        raise UserError(
            f"resources.cpus: {workers} worker(s) with {cpu_share} CPU(s) each need {cpu_share * workers}, and Ray "
            f"sees {cpus}; lower resources.workers or resources.cpus"
        )
    warning = None
    if asked.gpus == "auto" and 0 < gpus < workers:
        warning = f"{gpus} GPU(s) for {workers} workers: training on the CPU; to use them set resources.workers={gpus}"
    return Share(workers, cpu_share, per_worker), warning


def train_on_ray(work: Work, share: Share, attempt: Attempt, spec: JobSpec) -> Outcome:
    """Run the workers to the end under Ray Train. Needs `ray.init` before.

    Raises VisionjobsError when the workers died more often than limits.worker_failures allows.
    """
    os.environ.update(RAY_ENVIRONMENT)
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    resources: dict[str, float] = {"CPU": share.cpus}
    if share.gpus:
        resources["GPU"] = share.gpus
    failures = spec.limits.worker_failures
    trainer = TorchTrainer(
        _in_ray_worker,
        train_loop_config=asdict(work),
        scaling_config=ScalingConfig(
            num_workers=share.workers, use_gpu=bool(share.gpus), resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=f"{attempt.run.id}-{attempt.number}",
            storage_path=f"{attempt.store.address}/ray",
            failure_config=FailureConfig(
                max_failures=failures, controller_failure_limit=failures, max_preemption_failures=spec.limits.attempts
            ),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        attempt.write("error.txt", str(error))  # a private Ray's own logs end with it
        raise VisionjobsError(f"{_reason(error, failures)}; in full in {attempt.store.address}/error.txt") from error
    return Outcome(**result.return_value)


def _in_ray_worker(config: dict[str, Any]) -> dict[str, Any]:
    if config["use_gpu"]:
        import torch
        from ray.train.torch import get_device

        torch.cuda.set_device(get_device())
    return worker_main(config)


def _reason(error: BaseException, failures: int) -> str:
    """The last line of what a worker raised, without Ray's frames around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return f"the workers failed more often than limits.worker_failures = {failures} allows, at last with: {last}"
