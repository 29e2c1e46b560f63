"""The environment that Ray's processes and its driver run in: what is set, what travels to workers, what stays here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visionjobs.settings import Settings

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")

NOTIFY_URL = "VISIONJOBS_NOTIFY_URL"
"""Whoever knows this address may write to the channel behind it: a secret, for the driver alone (notify.py)."""

TRAVELLING = ("AWS_ENDPOINT_URL", "AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Variables, besides VISIONJOBS_*, that workers of an attached Ray are given. Nothing secret: Ray's API shows them."""


def ray_env(token: Path) -> dict[str, str | None]:
    """Variables of every Ray process and of the driver; None: to be absent."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_AUTH_TOKEN": None,  # would win over the file
        NOTIFY_URL: None,
        "WANDB_API_KEY": None,  # the driver alone talks to wandb: workers need no key (tracking/)
        "RAY_ADDRESS": None,  # would lead Ray's own tools to another cluster
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # one node only: Ray then binds every port to 127.0.0.1
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # for the dashboard's Train page
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else every line of a worker shows twice
        "RAY_DEDUP_LOGS": "0",  # else equal lines of several workers show as one
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def worker_env(settings: Settings) -> dict[str, str]:
    """The variables that a worker needs and that are no secret; folders are absolute, as its cwd is Ray's."""
    env = {
        key: value
        for key, value in os.environ.items()
        if (key.startswith("VISIONJOBS_") and key != NOTIFY_URL) or key in TRAVELLING
    }
    own = {"VISIONJOBS_STORAGE": settings.storage, "VISIONJOBS_CACHE": settings.cache, "VISIONJOBS_JOBS": settings.jobs}
    return env | {key: str(value) for key, value in own.items()}


def credentials() -> tuple[str, ...]:
    """Names of the credential variables that are set."""
    return tuple(name for name in CREDENTIALS if os.environ.get(name))


@contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """os.environ with `changes` in it; as it was afterwards."""
    before = {key: os.environ.get(key) for key in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for key, value in values.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


@contextmanager
def ray_environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """`environment` that Ray follows even if it is imported already: it reads these variables once, at its import."""
    from ray._private import ray_constants, ray_logging

    before = ray_constants.ENABLE_RAY_CLUSTER, ray_logging.RAY_DEDUP_LOGS
    try:
        with environment(changes):
            ray_constants.ENABLE_RAY_CLUSTER = ray_logging.RAY_DEDUP_LOGS = False
            _read_authentication_again()
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER, ray_logging.RAY_DEDUP_LOGS = before
        _read_authentication_again()


def _read_authentication_again() -> None:
    from ray import _raylet  # as ray._private.authentication does when it turns tokens on by itself

    raylet: Any = _raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
