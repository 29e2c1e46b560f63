"""Where things live, from the environment. Nothing secret is kept here: credentials stay in AWS_* variables."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from visionjobs.errors import UserError

BACKENDS = ("rayjob", "job", "ray")
"""Where a job that is submitted runs: a KubeRay RayJob, a batch/v1 Job, or a Ray cluster that is already there."""


@dataclass(frozen=True)
class ClusterSettings:
    """What `render` and `submit` know of the cluster besides the job. Names of secrets, never their values.

    image: reference of the container image, None where it is not set yet.
    context: of the kubeconfig; None: its current one. queue: Kueue LocalQueue; priority: PriorityClass; each may be
    None. secret: name of the Secret with S3 and wandb credentials. overlay: file that is merged into every manifest,
    None where there is none. skeletons: folder of the manifests onto which a job is rendered. autoscaling: whether
    nodes are added when they are needed, so that too few of them are no reason to refuse a job.
    """

    image: str | None
    namespace: str
    context: str | None
    queue: str | None
    priority: str | None
    secret: str
    owner: str
    overlay: Path | None
    skeletons: Path
    autoscaling: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> ClusterSettings:
        """Read VISIONJOBS_*. Raises UserError for an overlay file that was named and is not there."""
        skeletons = _folder(env.get("VISIONJOBS_K8S") or "k8s/job", "VISIONJOBS_K8S")
        named = env.get("VISIONJOBS_OVERLAY")
        overlay = _folder(named, "VISIONJOBS_OVERLAY") if named else skeletons / "overlay.yaml"
        if named and not overlay.is_file():
            raise UserError(f"VISIONJOBS_OVERLAY: {overlay} is not a file")
        return cls(
            image=env.get("VISIONJOBS_IMAGE") or None,
            namespace=env.get("VISIONJOBS_NAMESPACE") or "visionjobs",
            context=env.get("VISIONJOBS_CONTEXT") or None,
            queue=env.get("VISIONJOBS_QUEUE") or None,
            priority=env.get("VISIONJOBS_PRIORITY") or None,
            secret=env.get("VISIONJOBS_SECRET") or "visionjobs",
            owner=label_value(env.get("VISIONJOBS_OWNER") or _user()),
            overlay=overlay if overlay.is_file() else None,
            skeletons=skeletons,
            autoscaling=env.get("VISIONJOBS_AUTOSCALING", "") not in ("", "0"),
        )


@dataclass(frozen=True)
class Settings:
    """Addresses, as seen from this machine. Made once at the start of a command and handed down.

    storage: folder or `s3://bucket/prefix` under which `runs/`, `datasets/` and `weights/` lie.
    storage_from_cluster, endpoint_from_cluster: the same storage as pods of the cluster address it.
    endpoint: S3 server other than AWS (AWS_ENDPOINT_URL).
    region: of AWS, None where it is not set.
    cache: node-local folder for fetched shards and weights.
    jobs: folder of the job files.
    """

    storage: str
    storage_from_cluster: str
    endpoint: str | None
    endpoint_from_cluster: str | None
    region: str | None
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
            region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or None,
            cache=_folder(cache, "VISIONJOBS_CACHE"),
            jobs=_folder(env.get("VISIONJOBS_JOBS") or "jobs", "VISIONJOBS_JOBS"),
        )

    def as_cluster_env(self) -> dict[str, str]:
        """The variables with which a process inside the cluster finds the same storage. No credentials."""
        env = {"VISIONJOBS_STORAGE": self.storage_from_cluster}
        if self.endpoint_from_cluster:
            env["AWS_ENDPOINT_URL"] = self.endpoint_from_cluster
            env["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"  # other servers than AWS store its framing
        if self.region:
            env["AWS_REGION"] = self.region
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


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a uid without a name, as in containers
        return f"uid-{os.getuid()}"


def label_value(text: str) -> str:
    """`text` as a Kubernetes label's value: at most 63 letters, digits, '-', '_' and '.', a letter or digit at both
    ends."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("-_.") or "unknown"
