"""Where things live, from the environment. Nothing secret is kept here: credentials stay in AWS_* variables."""

from __future__ import annotations

import difflib
import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from visionjobs.errors import UserError

MANIFEST_BACKENDS = ("rayjob", "job")
"""What a job is rendered as: a KubeRay RayJob, or a batch/v1 Job of one pod."""

BACKENDS = (*MANIFEST_BACKENDS, "ray")
"""Where a job that is submitted runs: one of those, or a Ray cluster that is already there."""

PREFIX = "VISIONJOBS_"

VARIABLES = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "AUTOSCALING", "CACHE", "CONTEXT", "ENDPOINT_FROM_CLUSTER", "IMAGE", "JOBS", "K8S", "NAMESPACE", "NOTIFY_URL",
        "OVERLAY", "OWNER", "PRIORITY", "QUEUE", "SECRET", "STORAGE", "STORAGE_FROM_CLUSTER",  # set by a person
        "BACKEND", "COMMIT", "RUN", "SPEC", "STOP_DIR", "STOP_SECONDS",  # set in pods
        "TEST_DATA", "WRITE_GOLDEN",  # of the tests
    )
)  # fmt: skip
"""Every variable of that prefix that anything reads."""

SWITCH = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
"""Values of a variable that is on or off, in any case."""


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
        """Read VISIONJOBS_*. Raises UserError for an overlay file that was named and is not there, and a value
        that is none."""
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
            autoscaling=_switch(env.get("VISIONJOBS_AUTOSCALING", ""), "VISIONJOBS_AUTOSCALING"),
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
        """Read VISIONJOBS_* and AWS_ENDPOINT_URL; relative folders become absolute (a Ray worker's cwd is Ray's).

        Raises UserError for what is no address, naming the variable.
        """
        storage = _absolute(env.get("VISIONJOBS_STORAGE") or "storage", "VISIONJOBS_STORAGE")
        cache = env.get("VISIONJOBS_CACHE") or str(Path(env.get("XDG_CACHE_HOME") or "~/.cache", "visionjobs"))
        endpoint = _endpoint(env, "AWS_ENDPOINT_URL")
        return cls(
            storage=storage,
            storage_from_cluster=_from_cluster(env) or storage,
            endpoint=endpoint,
            endpoint_from_cluster=_endpoint(env, "VISIONJOBS_ENDPOINT_FROM_CLUSTER") or endpoint,
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


def unknown_variables(env: Mapping[str, str] = os.environ) -> list[str]:
    """A line for each variable VISIONJOBS_* that is set and that nothing reads, with the name perhaps meant."""
    known = [name.removeprefix(PREFIX) for name in VARIABLES]
    lines = []
    for name in sorted(name for name in env if name.startswith(PREFIX) and name not in VARIABLES):
        close = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
        lines.append(f"{name} is set, and nothing reads it." + (f" Did you mean {PREFIX}{close[0]}?" if close else ""))
    return lines


def _absolute(address: str, variable: str) -> str:
    address = address.strip()
    scheme, separator, rest = address.partition("://")
    if not separator and not re.match(r"[^/.~:][^/:]*:", address):  # s3:/bucket and host:port are no folders
        return str(_folder(address, variable))
    if scheme != "s3" or not rest.strip("/"):
        raise UserError(f"{variable}: {address} is not a storage address; expected a folder or s3://bucket/prefix")
    return f"s3://{rest.strip('/')}"


def _from_cluster(env: Mapping[str, str]) -> str | None:
    """The storage's address there, None where it is not set. A folder is one of the pods, so nothing is put before it
    here; no volume can be mounted at a path with a colon."""
    variable = "VISIONJOBS_STORAGE_FROM_CLUSTER"
    address = env.get(variable, "").strip()
    if not address or "://" in address:
        return _absolute(address, variable) if address else None
    if not address.startswith("/") or ":" in address:
        raise UserError(
            f"{variable}: {address} is not an address for pods; expected s3://bucket/prefix, or the full path of a "
            "folder that the overlay mounts into them"
        )
    return str(Path(address))


def _endpoint(env: Mapping[str, str], variable: str) -> str | None:
    """The address of an S3 server, None where it is not set."""
    address = env.get(variable, "").strip()
    if not address:
        return None
    if "@" in address:  # not shown
        raise UserError(f"{variable} holds a name or password; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    if not _is_server(address):
        raise UserError(
            f"{variable}: {address} is not the address of an S3 server; expected http://HOST or https://HOST, with "
            ":PORT and /PATH where it has them"
        )
    return address


def _is_server(address: str) -> bool:
    try:
        parts = urlsplit(address)
        whole = parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # a port that is none, or half a bracket
        return False
    host = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?", parts.netloc)
    return whole and host is not None and parts.scheme in ("http", "https")


def _switch(value: str, variable: str) -> bool:
    try:
        return SWITCH[value.strip().lower()]
    except KeyError:
        raise UserError(f"{variable}: {value}: expected 1, true or yes, or 0, false or no") from None


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
