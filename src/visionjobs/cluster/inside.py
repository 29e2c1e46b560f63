"""The Ray that a driver was started in as a Ray job: a RayJob's, or one that was there before (`--backend ray`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from visionjobs.cluster.environment import NOTIFY_URL, environment
from visionjobs.cluster.local import Connection, ray_init, resources
from visionjobs.errors import UserError
from visionjobs.settings import Settings

ADDRESS = "RAY_ADDRESS"
"""Set by Ray for every job that was submitted to it."""


@contextmanager
def connect_inside(_: Settings) -> Iterator[Connection]:
    """Join it. Authentication, code and addresses come from the job's own environment, which its workers have too.

    Raises UserError outside of a Ray job, VisionjobsError where Ray does not answer.
    """
    import ray

    address = os.environ.get(ADDRESS)
    if not address:
        raise UserError(f"{ADDRESS} is not set: this is not a Ray job. `visionjobs submit` starts one")
    # The driver alone talks to wandb and tells the run's end. Ray's own processes on the head have inherited both from
    # its container, so they are blanked for the workers.
    secrets = ("WANDB_API_KEY", NOTIFY_URL)
    with environment(dict.fromkeys(secrets)):
        context = ray_init(address=address, log_to_driver=False, runtime_env={"env_vars": dict.fromkeys(secrets, "")})
        try:
            yield Connection(False, f"http://{context.dashboard_url}", resources())
        finally:
            ray.shutdown()
