"""A cluster that is a few dicts, for the checks before a submit; a real API server is asked in tests/integration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from visionjobs.cluster.check import Check, one_line
from visionjobs.cluster.client import ForbiddenError, NotFoundError
from visionjobs.cluster.demand import GPU, PodDemand, quantity
from visionjobs.errors import VisionjobsError

Object = dict[str, Any]
RAYJOB_SCHEMA = {"properties": {"spec": {"properties": {"preRunningDeadlineSeconds": {}}}}}
RAYJOBS = {
    "metadata": {"name": "rayjobs.ray.io"},
    "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": RAYJOB_SCHEMA}}]},
}


def named(name: str, **content: Any) -> Object:
    return {"metadata": {"name": name}} | content


@dataclass
class SmallCluster:
    """Answers as `Cluster` does. objects: of each kind that is served; closed: kinds that this user may not see."""

    objects: dict[str, list[Object]] = field(default_factory=dict)
    closed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    refusal: VisionjobsError | None = None
    namespace: str = "visionjobs"
    server: str = "https://cluster.example"

    def list(self, kind: str, labels: Mapping[str, str] | None = None, **_: str) -> list[Object]:
        if kind in self.closed:
            raise ForbiddenError(f"not permitted: {kind}")
        if kind not in self.objects:
            raise NotFoundError(f"{kind} is not served")
        return self.objects[kind]

    def get(self, kind: str, name: str) -> Object | None:
        if kind in self.closed:
            raise ForbiddenError(f"not permitted: {kind}")
        return next((obj for obj in self.objects.get(kind, []) if obj["metadata"]["name"] == name), None)

    def may(self, verb: str, kind: str, *, subresource: str | None = None, name: str | None = None) -> bool:
        return f"{verb} {kind}" not in self.denied

    def apply(self, obj: Object, *, dry_run: bool) -> Object:
        assert dry_run
        if self.refusal:
            raise self.refusal
        return obj


def node(name: str = "n", labels: Mapping[str, str] | None = None, taints: Sequence[str] = (), **there: str) -> Object:
    """A node with `key=value:Effect` taints; there: allocatable, `gpus` for nvidia.com/gpu."""
    split = [(taint.partition("=")[0], *taint.partition("=")[2].partition(":")[::2]) for taint in taints]
    allocatable = {"cpu": "16", "memory": "64Gi"} | {
        GPU if key == "gpus" else key: value for key, value in there.items()
    }
    return {
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {"taints": [{"key": key, "value": value, "effect": effect} for key, value, effect in split]},
        "status": {"allocatable": allocatable},
    }


def pods(count: int = 1, role: str = "worker", selector: Mapping[str, str] | None = None, **requests: str) -> PodDemand:
    amounts = {GPU if key == "gpus" else key: quantity(value) for key, value in requests.items()}
    toleration = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
    return PodDemand(role, count, amounts, selector or {}, [toleration])


def told(check: Check, ok: bool | None, *words: str) -> None:
    assert check.ok is ok, check
    for word in words:
        assert word in one_line(check), one_line(check)
    assert "\n" not in one_line(check)
