"""One worker of several, started by tiny_finetune.tune_in_processes: joins the others, fine-tunes, notes what it saw.

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
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


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


sys.addaudithook(only_this_machine)

from visionjobs.models.ultralytics_env import quiet_ultralytics  # noqa: E402

quiet_ultralytics()

from ultralytics.utils.torch_utils import unwrap_model  # noqa: E402

from visionjobs.training.finetune import finetune_main  # noqa: E402
from visionjobs.training.finetune_trainer import FineTuner  # noqa: E402


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def watch(seen: dict[str, Any], die_at: int, last: bool) -> None:
    """Note what the trainer does, without changing it."""
    preprocess, step, validate = FineTuner.preprocess_batch, FineTuner.optimizer_step, FineTuner.validate

    def noting(self: FineTuner, batch: dict[str, Any]) -> dict[str, Any]:
        if die_at and last and self.step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        seen["files"].setdefault(self.epoch, []).extend(Path(file).name for file in batch["im_file"])
        batch = preprocess(self, batch)
        if "local" not in seen:
            alone = deepcopy(unwrap_model(self.model))
            alone(dict(batch))[0].sum().backward()
            seen["local"] = gradients(alone)
        return batch

    def noting_step(self: FineTuner) -> None:
        if "reduced" not in seen:
            seen["reduced"] = gradients(unwrap_model(self.model))
        step(self)

    def noting_validation(self: FineTuner) -> tuple[Any, Any]:
        loader = self.test_loader
        seen["validated"] = [Path(loader.dataset.im_files[index]).name for index in loader.sampler]
        return validate(self)

    FineTuner.preprocess_batch, FineTuner.optimizer_step = noting, noting_step
    FineTuner.validate = noting_validation


def main() -> None:
    work, rank, world, meeting, die_at, notes = json.loads(sys.argv[1]), *map(str, sys.argv[2:])
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world))
    seen: dict[str, Any] = {"files": {}}
    watch(seen, int(die_at), int(rank) == int(world) - 1)
    seen["outcome"] = finetune_main(work)
    torch.save(seen, notes)
    dist.destroy_process_group()
    os._exit(0)  # as in worker_process.py


main()
