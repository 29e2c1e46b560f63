"""One worker of several: fine-tunes and notes what it saw. Started by tiny_finetune.tune_in_processes (it joins the
others first), or imported in a worker of Ray Train.

Notes: outcome; files: epoch -> names of the images that it trained on, in order; local, reduced: the gradients of the
first step, of its own batch alone and as the optimiser got them; validated: names of the images in its
last validation.
A connection to anywhere but this machine, and a look for an address, end it with 97.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from visionjobs.models.ultralytics_env import quiet_ultralytics
from visionjobs.training.finetune import finetune_main

CHECKPOINTS = "runs/{run_id}/attempts/*/checkpoints/*/manifest.json"


def only_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook. It cannot be switched off, nor be caught by who opens the connection."""
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        if event == "socket.connect" and not isinstance(address, tuple):
            return  # a Unix socket
        if host not in ("127.0.0.1", "::1", "localhost"):
            print(f"{event} {address}", file=sys.stderr, flush=True)
            os._exit(97)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def watched(work: dict[str, Any], die_at: int = 0) -> dict[str, Any]:
    """Fine-tune, noting what the trainer does without changing it. At step `die_at` the process kills itself."""
    quiet_ultralytics()
    from ultralytics.utils.torch_utils import unwrap_model

    from visionjobs.training.finetune_trainer import FineTuner

    seen: dict[str, Any] = {"files": {}}
    preprocess, step, validate = FineTuner.preprocess_batch, FineTuner.optimizer_step, FineTuner.validate

    def noting(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        if die_at and self.step == die_at:
            while not list(Path(work["storage"]).glob(CHECKPOINTS.format(**work))):
                time.sleep(0.01)  # the first epoch's is written beside the training, by another process
            os.kill(os.getpid(), signal.SIGKILL)
        seen["files"].setdefault(self.epoch, []).extend(Path(file).name for file in batch["im_file"])
        batch = preprocess(self, batch)
        if "local" not in seen:
            alone = deepcopy(unwrap_model(self.model))
            alone(dict(batch))[0].sum().backward()
            seen["local"] = gradients(alone)
        return batch

    def noting_step(self: Any) -> None:
        if "reduced" not in seen:
            seen["reduced"] = gradients(unwrap_model(self.model))
        step(self)

    def noting_validation(self: Any) -> tuple[Any, Any]:
        loader = self.test_loader
        seen["validated"] = [Path(loader.dataset.im_files[index]).name for index in loader.sampler]
        return validate(self)

    FineTuner.preprocess_batch, FineTuner.optimizer_step = noting, noting_step
    FineTuner.validate = noting_validation
    seen["outcome"] = finetune_main(work)
    return seen


def in_ray_worker(config: dict[str, Any]) -> None:
    """config: work, and the folder to which each worker's notes go."""
    torch.save(watched(config["work"]), Path(config["folder"]) / f"{dist.get_rank()}.pt")


def main() -> None:
    sys.addaudithook(only_this_machine)
    work, rank, world, meeting, die_at, notes = json.loads(sys.argv[1]), *map(str, sys.argv[2:])
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world))
    last = int(rank) == int(world) - 1
    torch.save(watched(work, int(die_at) if last else 0), notes)
    dist.destroy_process_group()
    os._exit(0)  # as in worker_process.py


if __name__ == "__main__":
    main()
