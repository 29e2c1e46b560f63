"""Ray Train: the workers of one attempt, restarted when they die.

Ray never sees a checkpoint: it hands out damaged ones unchecked. The workers find the newest whole one themselves at
every start (training/checkpoint.py), so a restarted group and a new attempt resume in the same way.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from visionjobs.cluster.local import Connection, Resources
from visionjobs.cluster.sizes import Share
from visionjobs.errors import UserError, VisionjobsError, first_line
from visionjobs.runs import Attempt
from visionjobs.spec import JobSpec
from visionjobs.training.worker_main import Outcome, Work, out_of_memory, worker_main

if TYPE_CHECKING:
    from ray.train import WorkerGroupError

RAY_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # the dashboard's Train page
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else every line is printed twice
}

FREE_SECONDS = 10


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


def check_free(share: Share, connection: Connection, what: str = "this run") -> None:
    """Raises UserError where another run holds what `what` needs: Ray would try for minutes, and then give up."""
    needed = Resources(share.workers * share.cpus, math.ceil(share.workers * share.gpus))
    for _ in range(FREE_SECONDS):
        free = connection.free()
        if free.cpus >= needed.cpus and free.gpus >= needed.gpus:
            return
        time.sleep(1)  # a run that has just ended gives back what it held in a moment
    raise UserError(
        f"resources: {what} needs {needed.cpus} CPU(s) and {needed.gpus} GPU(s), and other runs on this Ray leave "
        f"{free.cpus} and {free.gpus}: wait for them, or lower resources.workers or resources.cpus"
    )


def train_on_ray(work: Work, share: Share, attempt: Attempt, spec: JobSpec) -> Outcome:
    """Run the workers to the end under Ray Train. Needs `ray.init` before.

    Raises VisionjobsError when the workers died more often than limits.worker_failures allows.
    """
    os.environ.update(RAY_ENVIRONMENT)
    from ray.exceptions import RayError
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
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
    except RayError as error:
        raise VisionjobsError(f"Ray ended under the run: {first_line(error)}") from error
    except TrainingFailedError as error:
        attempt.write("error.txt", str(error))  # a private Ray's own logs end with it
        where = f"in full in {attempt.store.address}/error.txt"
        if isinstance(error, WorkerGroupError):
            _explain_workers(error, failures, where)
        raise VisionjobsError(f"Ray could not start the workers: {first_line(error)}; {where}") from error
    return Outcome(**result.return_value)


def _in_ray_worker(config: dict[str, Any]) -> dict[str, Any]:
    if config["use_gpu"]:
        import torch
        from ray.train.torch import get_device

        torch.cuda.set_device(get_device())
    if config["spec"]["task"] == "detection":
        from visionjobs.training.finetune import finetune_main

        return finetune_main(config)
    return worker_main(config)


def _explain_workers(error: WorkerGroupError, failures: int, where: str) -> NoReturn:
    """Raise what the workers died of: out of memory is final; a lost connection is what the others saw of it."""
    import torch

    problems = list(error.worker_failures.values()) or [error]
    for problem in problems:
        if isinstance(problem, torch.OutOfMemoryError):
            raise out_of_memory(problem) from error
    first = next((problem for problem in problems if "onnection" not in str(problem)), problems[0])
    raise VisionjobsError(
        f"the workers failed more often than limits.worker_failures = {failures} allows, at last with "
        f"{type(first).__name__}: {first_line(first)}; {where}"
    ) from error
