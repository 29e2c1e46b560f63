"""`--backend ray`: the Ray Jobs API of a Ray cluster that is already there, with token authentication.

Code travels as Ray's py_modules (uploaded to the cluster, which checks no hash); addresses and the job travel as
environment variables, which Ray shows to whoever has its token: no secret is among them. The cluster's own nodes must
have the storage's credentials and the packages of constraints.txt.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from visionjobs.cluster.submission import Submission
from visionjobs.errors import ClusterError, UserError, VisionjobsError, first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ENDED = ("STOPPED", "SUCCEEDED", "FAILED")


def submission_id(run_id: str, attempt: int) -> str:
    """What the attempt is called on the Ray cluster."""
    return f"{run_id}-{attempt}"


def submit_ray(submission: Submission, address: str, tree: Path | None) -> str:
    """Start the job; returns its submission id.

    address: http(s)://host:port of the dashboard; tree: the working tree whose code travels, None for the cluster's.
    Raises UserError for a wrong token or an id that is taken, ClusterError where Ray does not answer.
    """
    name = submission_id(submission.name, submission.attempt)
    program, *arguments = submission.command
    with _client(address) as client:
        client.submit_job(
            entrypoint=shlex.join(["python", "-m", program, *arguments]),
            submission_id=name,
            runtime_env=runtime_env(submission, tree),
            metadata={"run": submission.name, "job": submission.job},
        )
    return name


def runtime_env(submission: Submission, tree: Path | None) -> dict[str, Any]:
    """What Ray gives the driver and its workers: addresses, the job, and the code."""
    variables = dict(submission.environment) | {"VISIONJOBS_BACKEND": "ray", "VISIONJOBS_RUN": submission.name}
    if submission.spec is not None:
        variables["VISIONJOBS_SPEC"] = submission.spec
    code = {} if tree is None else {"py_modules": [str(tree / "src" / "visionjobs")]}
    return {"env_vars": variables | {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}} | code


def ray_status(address: str, name: str) -> tuple[str, str] | None:
    """(PENDING | RUNNING | STOPPED | SUCCEEDED | FAILED, Ray's message), or None where Ray knows no such job."""
    with _client(address) as client:
        for job in client.list_jobs():
            if job.submission_id == name:
                return str(job.status), job.message or ""
    return None


def ray_logs(address: str, name: str) -> str:
    """All that the job has printed so far."""
    with _client(address) as client:
        return str(client.get_job_logs(name))


def follow_ray_logs(address: str, name: str) -> Iterator[str]:
    """What the job prints, in pieces as it comes, until it has ended."""
    with _client(address) as client, asyncio.Runner() as runner:
        pieces: AsyncIterator[str] = client.tail_job_logs(name)

        async def piece() -> str | None:
            return await anext(pieces, None)

        while (text := runner.run(piece())) is not None:
            yield text


def stop_ray(address: str, name: str) -> bool:
    """Ask the job to end (SIGTERM: the attempt stops with a checkpoint). Returns whether it was running."""
    with _client(address) as client:
        return bool(client.stop_job(name))


@contextmanager
def _client(address: str) -> Iterator[JobSubmissionClient]:
    """Ray's own client, with its failures explained."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    where = urlsplit(address)
    if where.scheme not in ("http", "https") or not where.hostname:
        raise UserError(f"--address {address}: expected the dashboard's address, such as http://127.0.0.1:8265")
    for name in ("ray", "ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they tell of each upload and each closed connection
    token = _token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        yield JobSubmissionClient(address, headers=headers)
    except VisionjobsError:
        raise
    except (AuthenticationError, aiohttp.WSServerHandshakeError) as error:
        given = "the token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH" if token else "no token"
        raise UserError(
            f"Ray at {address} does not let {given} in: set RAY_AUTH_TOKEN_PATH to the file that holds the cluster's "
            "(of a local one `visionjobs dashboard` tells where)"
        ) from error
    except (ConnectionError, requests.RequestException, aiohttp.ClientError, OSError) as error:
        raise ClusterError(
            f"Ray at {address} does not answer ({type(error).__name__}): is its dashboard up?"
        ) from error
    except (RuntimeError, ValueError) as error:
        if "already exists" in str(error):
            raise UserError(f"this attempt is on Ray at {address} already: see `visionjobs status`") from error
        raise UserError(f"Ray at {address} refuses it: {first_line(error)}") from error


def _token() -> str | None:
    """The cluster's token, from where Ray's own tools take it. Raises UserError for a file that cannot be read."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path("~/.ray/auth_token").expanduser()
    if not named and not path.is_file():
        return None
    try:
        return path.read_text().strip()
    except OSError as error:
        raise UserError(f"RAY_AUTH_TOKEN_PATH: {path} cannot be read ({error.strerror})") from error
