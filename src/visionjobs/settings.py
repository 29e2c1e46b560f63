"""Where things live, from the environment. Nothing secret is kept here: credentials stay in AWS_* variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from visionjobs.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Addresses, as seen from this machine. Made once at the start of a command and handed down.

    storage: folder or `s3://bucket/prefix` under which `runs/`, `datasets/` and `weights/` lie.
    storage_from_cluster, endpoint_from_cluster: the same storage as pods of the cluster address it.
    endpoint: S3 server other than AWS (AWS_ENDPOINT_URL).
    cache: node-local folder for fetched shards and weights.
    jobs: folder of the job files.
    """

    storage: str
    storage_from_cluster: str
    endpoint: str | None
    endpoint_from_cluster: str | None
    cache: Path
    jobs: Path

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read VISIONJOBS_* and AWS_ENDPOINT_URL; relative folders become absolute (a Ray worker's cwd is Ray's)."""
        storage = _absolute(env.get("VISIONJOBS_STORAGE") or "storage", "VISIONJOBS_STORAGE")
        cache = env.get("VISIONJOBS_CACHE") or str(Path(env.get("XDG_CACHE_HOME") or "~/.cache", "visionjobs"))
        endpoint = env.get("AWS_ENDPOINT_URL") or None
        return cls(
            storage=storage,
            storage_from_cluster=_absolute(
                env.get("VISIONJOBS_STORAGE_FROM_CLUSTER") or storage, "VISIONJOBS_STORAGE_FROM_CLUSTER"
            ),
            endpoint=endpoint,
            endpoint_from_cluster=env.get("VISIONJOBS_ENDPOINT_FROM_CLUSTER") or endpoint,
            cache=_folder(cache, "VISIONJOBS_CACHE"),
            jobs=_folder(env.get("VISIONJOBS_JOBS") or "jobs", "VISIONJOBS_JOBS"),
        )

    def as_cluster_env(self) -> dict[str, str]:
        """The variables with which a process inside the cluster finds the same storage. No credentials."""
        env = {"VISIONJOBS_STORAGE": self.storage_from_cluster}
        if self.endpoint_from_cluster:
            env["AWS_ENDPOINT_URL"] = self.endpoint_from_cluster
        return env


def _absolute(address: str, variable: str) -> str:
    scheme, separator, rest = address.strip().partition("://")
    if not separator:
        return str(_folder(address.strip(), variable))
    if scheme != "s3" or not rest.strip("/"):
        raise UserError(f"{variable}: {address} is not a storage address; expected a folder or s3://bucket/prefix")
    return f"s3://{rest.strip('/')}"


def _folder(path: str, variable: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # no such user, or one without a home, as in many containers
        raise UserError(f"{variable}: {path}: whose home folder that is cannot be told; give a full path") from error
