"""Whether the namespace's quotas leave room for a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from visionjobs.cluster.check import Check, look
from visionjobs.cluster.client import Cluster, Object
from visionjobs.cluster.demand import PodDemand, quantity, remedy, shown

WAITS = "its pods wait for that; with a queue (VISIONJOBS_QUEUE) jobs wait whole, and in order"

DELETE = "jobs that have ended count until they are deleted (visionjobs cancel RUN); or ask for a larger quota"

OBJECTS = {
    "RayJob": ("rayjobs.ray.io", "rayclusters.ray.io", "networkpolicies.networking.k8s.io", "jobs.batch", "services",
               "secrets"),
    "Job": ("jobs.batch",),
}  # fmt: skip
"""What comes with a job besides its pods, as quotas count it: of a RayJob its policy, made here, and what KubeRay makes
(the cluster, the submitter's Job, the head's Service, the token's Secret)."""


def check_quota(cluster: Cluster, demands: Sequence[PodDemand], queue: str | None) -> Check:
    """A job that never fits is refused; one that has to wait for others to end is told so, unless it queues.

    No queue waits for room for objects that a quota counts. Too little of it is a warning: what is submitted again
    takes the place of an object that is there, and for the rest check_accepted asks the server.
    """

    def find() -> Check | str:
        pods, objects = _needed(demands), _objects(demands)
        quotas = [quota for quota in cluster.list("ResourceQuota") if not _is_scoped(quota)]
        waits: list[Check] = []
        for name, resource, limit, used in _limits(quotas):
            amount = pods.get(resource, objects.get(resource, Decimal(0)))
            said = f'the job needs {shown(resource, amount)}, and the quota "{name}"'
            if amount > limit:
                sweep = any(demand.sweep for demand in demands)
                less = "" if resource in objects else f"{remedy(resource, sweep=sweep)}, or "
                said += f" allows {shown(resource, limit)}"
                return Check("quota", False, said, f"{less}ask for a larger quota")
            if amount and amount > limit - used and (resource in objects or not queue):
                left = f"{said} has {shown(resource, max(limit - used, Decimal(0)))} left"
                waits.append(Check("quota", None, left, DELETE if resource in objects else WAITS))
        if waits:
            return waits[0]
        return f"{len(quotas)} in the namespace, with room" if quotas else "the namespace has none"

    return look("quota", find)


def _limits(quotas: Sequence[Object]) -> Iterator[tuple[str, str, Decimal, Decimal]]:
    """(quota, resource, hard limit, used) of every line of every quota."""
    for quota in quotas:
        status = quota.get("status") or {}
        used = status.get("used") or {}
        for resource, limit in (status.get("hard") or quota["spec"].get("hard") or {}).items():
            yield quota["metadata"]["name"], resource, quantity(limit), quantity(used.get(resource, 0))


def _is_scoped(quota: Object) -> bool:
    """One that counts only some pods (by priority, say): whether these are among them is the server's to say."""
    return bool(quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"))


def _needed(demands: Sequence[PodDemand]) -> dict[str, Decimal]:
    """As quotas name it. Requests and limits are the same here, and `cpu` is another name of requests.cpu."""
    count = Decimal(sum(demand.count for demand in demands))
    total = {"pods": count, "count/pods": count}
    for demand in demands:
        for resource, amount in demand.requests.items():
            for name in (resource, f"requests.{resource}", f"limits.{resource}"):
                total[name] = total.get(name, Decimal(0)) + demand.count * amount
    return total


def _objects(demands: Sequence[PodDemand]) -> dict[str, Decimal]:
    """One of each: how quotas name what comes with a job besides its pods. Core kinds have an older name as well."""
    kind = "RayJob" if any(demand.role == "head" for demand in demands) else "Job"
    names = OBJECTS[kind] if demands else ()
    counts = [f"count/{name}" for name in names] + [name for name in names if "." not in name]
    return dict.fromkeys(counts, Decimal(1))
