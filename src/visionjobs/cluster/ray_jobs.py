"""`--backend ray`: the Ray Jobs API of a Ray cluster that is already there, with token authentication.

Code travels as Ray's py_modules (uploaded to the cluster, which checks no hash); addresses and the job travel as
environment variables, which Ray shows to whoever has its token: no secret is among them. The cluster's own nodes must
have the storage's credentials and the packages of constraints.txt.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from visionjobs.cluster.job_reasons import failure
from visionjobs.cluster.phases import Phase
from visionjobs.cluster.pod_reasons import one_line
from visionjobs.cluster.state import JobState
from visionjobs.cluster.submission import Submission
from visionjobs.errors import ClusterError, UserError, VisionjobsError, first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PHASES: dict[str, Phase] = {
    "PENDING": "starting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "failed",
}
"""Ray's status of a job -> phase."""

ANSWER_SECONDS = 5.0
"""How long Ray may take to tell a job's state."""

LOOK_SECONDS = 2.0
"""Between two looks at it."""


def submission_id(run_id: str) -> str:
    """A new name for a job of the run, which submission.json keeps. Not the attempt's number: Ray keeps the names of
    ended jobs, and a job may end before it claims an attempt."""
    return f"{run_id}-{secrets.token_hex(3)}"


def submit_ray(submission: Submission, name: str, address: str, tree: Path | None) -> None:
    """Start the job under that submission id.

    address: http(s)://host:port of the dashboard; tree: the working tree whose code travels, None for the cluster's.
    Raises UserError for a wrong token or what Ray refuses, ClusterError where it does not answer.
    """
    program, *arguments = submission.command
    with _client(address) as client:
        client.submit_job(
            entrypoint=shlex.join(["python", "-m", program, *arguments]),
            submission_id=name,
            runtime_env=runtime_env(submission, tree),
            metadata={"run": submission.name, "job": submission.job, "kind": submission.kind},
        )


def runtime_env(submission: Submission, tree: Path | None) -> dict[str, Any]:
    """What Ray gives the driver and its workers: addresses, the job, and the code."""
    variables = dict(submission.environment) | {"VISIONJOBS_BACKEND": "ray", "VISIONJOBS_RUN": submission.name}
    if submission.spec is not None:
        variables["VISIONJOBS_SPEC"] = submission.spec
    code = {} if tree is None else {"py_modules": [str(tree / "src" / "visionjobs")]}
    return {"env_vars": variables | {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}} | code


def ray_state(address: str, name: str) -> JobState | None:
    """The job of that submission id, None where Ray knows none. Raises UserError (it does not let us in) and
    ClusterError (no answer within ANSWER_SECONDS)."""
    import requests

    with _explained(address):  # not by Ray's client, which waits for ever
        url = f"{address.rstrip('/')}/api/jobs/{quote(name)}"
        answer = requests.get(url, headers=_headers(), timeout=ANSWER_SECONDS)
        if answer.status_code in (401, 403):
            raise _not_let_in(address)
        if answer.status_code == 404 and "does not exist" in answer.text:
            return None
        if answer.status_code != 200:
            raise ClusterError(f"{address} does not answer as Ray's dashboard does (HTTP {answer.status_code})")
        return job_state(name, answer.json())


def job_state(name: str, details: Mapping[str, Any]) -> JobState:
    """Pure: the state that Ray's JobDetails tell; its times are in ms since 1970. A job has no pods here."""
    status, message = str(details["status"]), details.get("message") or ""
    about = details.get("metadata") or {}
    reasons = {
        "PENDING": one_line(message),
        "FAILED": failure("AppFailed" if "exit code" in message else "", message),
        "STOPPED": "it was stopped (Ray job STOPPED): it may be continued",
    }
    created = _time(details.get("start_time") or 0)
    return JobState(
        name=about.get("run", name), backend="ray", kind=about.get("kind", "run"), job=about.get("job", ""), owner="",
        phase=PHASES[status], reasons=[reasons[status]] if reasons.get(status) else [], created=created,
        started=created, finished=_time(details["end_time"]) if details.get("end_time") else None, retries=0, pods=[],
    )  # fmt: skip


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat()


def ray_logs(address: str, name: str) -> str:
    """All that the job has printed so far."""
    with _client(address) as client:
        return str(client.get_job_logs(name))


def follow_ray(address: str, name: str, emit: Callable[[str], object]) -> JobState | None:
    """Hand on what the job prints, in pieces as it comes, until it has ended; the job as it was then."""
    for piece in _follow_logs(address, name):
        emit(piece)
    while (state := ray_state(address, name)) is not None and not state.ended:
        time.sleep(LOOK_SECONDS)  # its log broke off before
    return state


def _follow_logs(address: str, name: str) -> Iterator[str]:
    with _client(address) as client, asyncio.Runner() as runner:
        pieces: AsyncIterator[str] = client.tail_job_logs(name)

        async def piece() -> str | None:
            return await anext(pieces, None)

        while (text := runner.run(piece())) is not None:
            yield text


def stop_ray(address: str, name: str) -> bool:
    """End the job: Ray sends SIGTERM, and kills it 3 seconds later. That is time to say so in the record, and none for
    a checkpoint, which only a stop.json in the storage gives (runs.request_stop). Returns whether it was running."""
    with _client(address) as client:
        return bool(client.stop_job(name))


@contextmanager
def _client(address: str) -> Iterator[JobSubmissionClient]:
    """Ray's own client, with its failures explained."""
    with _explained(address):
        import aiohttp
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        for name in ("ray", "ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they tell of each upload and each closed connection
        try:
            yield JobSubmissionClient(address, headers=_headers())
        except (AuthenticationError, aiohttp.WSServerHandshakeError) as error:
            raise _not_let_in(address) from error
        except aiohttp.ClientError as error:
            raise _no_answer(address, error) from error


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Raises UserError and ClusterError for what goes wrong in the block. They are told with `address`."""
    import requests

    where = urlsplit(address)
    if where.scheme not in ("http", "https") or not where.hostname:
        raise UserError(f"--address {address}: expected the dashboard's address, such as http://127.0.0.1:8265")
    try:
        yield
    except VisionjobsError:
        raise
    except (ConnectionError, requests.RequestException, OSError) as error:
        raise _no_answer(address, error) from error
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"Ray at {address} refuses it: {first_line(error)}") from error


def _no_answer(address: str, error: Exception) -> ClusterError:
    return ClusterError(f"Ray at {address} does not answer ({type(error).__name__}): is its dashboard up?")


def _not_let_in(address: str) -> UserError:
    given = "the token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH" if _token() else "no token"
    return UserError(
        f"Ray at {address} does not let {given} in: set RAY_AUTH_TOKEN_PATH to the file that holds the cluster's "
        "(of a local one `visionjobs dashboard` tells where)"
    )


def _headers() -> dict[str, str]:
    token = _token()
    return {"Authorization": f"Bearer {token}"} if token else {}


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
