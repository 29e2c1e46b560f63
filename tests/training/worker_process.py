"""One worker of several, started by tiny.train_in_processes: joins the others, trains, prints its outcome."""

from __future__ import annotations

import json
import os
import signal
import sys

import torch.distributed as dist

from visionjobs.training.loop import Loop
from visionjobs.training.worker_main import worker_main


def main() -> None:
    work, rank, world, meeting, die_at = json.loads(sys.argv[1]), *map(str, sys.argv[2:])
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world))
    if int(die_at) and int(rank) == int(world) - 1:
        train_step = Loop.train_step

        def deadly(self: Loop, batch: object) -> None:
            if self.step == int(die_at):
                os.kill(os.getpid(), signal.SIGKILL)
            train_step(self, batch)

        Loop.train_step = deadly
    print(json.dumps(worker_main(work)), flush=True)
    dist.destroy_process_group()
    # Not by way of the interpreter's end: where a worker stops right after it was set up, threads of the libraries may
    # still be starting, and C++ then aborts the process. Ray kills its workers; what they return has been printed.
    os._exit(0)


main()
