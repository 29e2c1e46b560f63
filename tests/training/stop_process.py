"""One worker of several, each with a folder of its own for what its pod is told; the last one's is told to go while it
does step `told_at`. Prints its outcome, and the numbers of steps after which it compared notes."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch.distributed as dist

from visionjobs.training.loop import Loop
from visionjobs.training.stop import Lookout
from visionjobs.training.worker_main import worker_main


def main() -> None:
    work, rank, world, meeting, told_at, slow = json.loads(sys.argv[1]), *sys.argv[2:7]
    own = Path(f"{meeting}-pod-{rank}")
    own.mkdir()
    os.environ["VISIONJOBS_STOP_DIR"] = str(own)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(world))
    last = int(rank) == int(world) - 1
    train_step, take, intervals = Loop.train_step, Lookout.take, []

    def told(self: Loop, batch: object) -> None:
        train_step(self, batch)
        if last:
            time.sleep(float(slow))  # after the gradients were shared: only this worker's steps look slow
            if self.step == int(told_at):
                (own / "stop").touch()

    def noted(self: Lookout, interval: int, seen: int) -> str | None:
        intervals.append(interval)
        return take(self, interval, seen)

    Loop.train_step, Lookout.take = told, noted
    outcome = worker_main(work)
    left = sorted(path.name for path in own.glob("running-*"))
    print(json.dumps({"outcome": outcome, "intervals": intervals, "left": left}), flush=True)
    dist.destroy_process_group()
    os._exit(0)  # as in worker_process.py


main()
