"""What a job's pods ask of the cluster, read from the very objects that are applied, so that an overlay counts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from visionjobs.cluster.client import Object

GPU = "nvidia.com/gpu"

_SUFFIXES = {
    "": Decimal(1), "m": Decimal("0.001"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip


@dataclass(frozen=True)
class PodDemand:
    """Pods of one template. requests: resource -> amount for one pod (CPUs, bytes, devices); account: service account,
    "" for the namespace's default one; sweep: whether they are a sweep's."""

    role: str
    count: int
    requests: Mapping[str, Decimal]
    selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, Any]]
    account: str = ""
    sweep: bool = False


def quantity(value: Any) -> Decimal:
    """A Kubernetes quantity as a number: '500m' -> 0.5, '4Gi' -> 4294967296. 0 for what is none."""
    found = re.fullmatch(r"([0-9.]+(?:[eE][0-9]+)?)([A-Za-z]{0,2})", str(value))
    return Decimal(0) if found is None else Decimal(found[1]) * _SUFFIXES.get(found[2], Decimal(0))


def pod_demands(objects: Sequence[Object]) -> list[PodDemand]:
    """What the RayJob or Job among `objects` asks for at one time."""
    found: list[PodDemand] = []
    for obj in objects:
        spec = obj.get("spec") or {}
        if obj["kind"] == "Job":
            found.append(_demand("job", 1, spec["template"]))
        if obj["kind"] == "RayJob":
            cluster = spec["rayClusterSpec"]
            found.append(_demand("head", 1, cluster["headGroupSpec"]["template"]))
            for group in cluster.get("workerGroupSpecs") or []:
                found.append(_demand("worker", int(group.get("replicas", 1)), group["template"]))
            if "submitterPodTemplate" in spec:
                found.append(_demand("submitter", 1, spec["submitterPodTemplate"]))
    return found


def total_demand(demands: Sequence[PodDemand]) -> str:
    """What all pods ask for together, in words: '2 pods (1 head, 1 worker): 6 CPUs, 1 GPU, 22.0 GiB of memory'."""
    resources = list(dict.fromkeys(resource for demand in demands for resource in demand.requests))
    sums = {name: sum((each.count * each.requests.get(name, Decimal(0)) for each in demands), Decimal(0))
            for name in sorted(resources, key=_rank)}  # fmt: skip
    roles = ", ".join(f"{demand.count} {demand.role}" for demand in demands)
    told = ", ".join(shown(name, amount) for name, amount in sums.items() if amount)
    return f"{counted(sum(demand.count for demand in demands), 'pod')} ({roles}): {told}"


def _rank(resource: str) -> int:
    """CPUs, GPUs, memory, then the rest."""
    return next((place for place, name in enumerate(("cpu", GPU, "memory")) if resource.endswith(name)), 3)


def shown(resource: str, amount: Decimal) -> str:
    """'2.0 GiB of memory', '4 CPUs', '8 GPUs', for a resource as pods or quotas name it."""
    if resource.endswith(("memory", "storage")):
        return f"{amount / 2**30:.1f} GiB of {resource.rpartition('.')[2]}"
    if resource.endswith((GPU, "cpu")):
        return counted(amount, "GPU" if resource.endswith(GPU) else "CPU")
    return f"{amount.normalize():f} {resource.removeprefix('count/')}"


def counted(amount: Decimal | int, thing: str) -> str:
    """'1 GPU', '8 GPUs'."""
    return f"{Decimal(amount).normalize():f} {thing}{'' if amount == 1 else 's'}"


def remedy(resource: str, *, sweep: bool) -> str:
    """Which key of the job lowers the demand. sweep: fewer trials at once do, too."""
    keys = {
        "cpu": "resources.cpus or resources.workers_per_pod",
        "memory": "resources.memory or resources.workers_per_pod",
        GPU: "resources.workers, resources.workers_per_pod or resources.gpus",
    }
    found = next((key for name, key in keys.items() if resource.endswith(name)), "what resources ask for")
    return f"lower {'sweep.at_once, ' if sweep else ''}{found} (--set), or choose another cluster"


def _demand(role: str, count: int, template: Object) -> PodDemand:
    """The containers' requests together, or an init container's where that is more, as the scheduler reckons."""
    spec = template["spec"]
    total: dict[str, Decimal] = {}
    for container in spec["containers"]:
        for resource, amount in _requests(container).items():
            total[resource] = total.get(resource, Decimal(0)) + amount
    for container in spec.get("initContainers") or []:
        for resource, amount in _requests(container).items():
            total[resource] = max(total.get(resource, Decimal(0)), amount)
    selector, tolerations = spec.get("nodeSelector") or {}, spec.get("tolerations") or []
    kind = ((template.get("metadata") or {}).get("labels") or {}).get("visionjobs/kind")
    account = spec.get("serviceAccountName") or ""
    return PodDemand(role, count, total, selector, tolerations, account, kind == "sweep")


def _requests(container: Object) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    asked = (resources.get("limits") or {}) | (resources.get("requests") or {})
    return {key: quantity(value) for key, value in asked.items()}
