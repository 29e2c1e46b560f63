"""Whether the namespace's quotas leave room for a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from visionjobs.cluster.check import Check, look
from visionjobs.cluster.client import Cluster, Object
from visionjobs.cluster.demand import PodDemand, quantity, remedy, shown

WAITS = "its pods wait for that; with a queue (VISIONJOBS_QUEUE) jobs wait whole, and in order"


def check_quota(cluster: Cluster, demands: Sequence[PodDemand], queue: str | None) -> Check:
    """A job that never fits is refused; one that has to wait for others to end is told so, unless it queues."""

    def find() -> Check | str:
        needed = _needed(demands)
        quotas = [quota for quota in cluster.list("ResourceQuota") if not _is_scoped(quota)]
        waits: list[str] = []
        for name, resource, limit, used in _limits(quotas):
            amount = needed.get(resource, Decimal(0))
            if amount > limit:
                said = (
                    f'the job needs {shown(resource, amount)}, and the quota "{name}" allows {shown(resource, limit)}'
                )
                return Check("quota", False, said, f"{remedy(resource)}, or ask for a larger quota")
            if amount > limit - used:
                waits.append(f'the job needs {shown(resource, amount)}, and the quota "{name}" has '
                             f"{shown(resource, limit - used)} left")  # fmt: skip
        if waits and not queue:
            return Check("quota", None, waits[0], WAITS)
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
    total = {"pods": Decimal(sum(demand.count for demand in demands))}
    for demand in demands:
        for resource, amount in demand.requests.items():
            for name in (resource, f"requests.{resource}", f"limits.{resource}"):
                total[name] = total.get(name, Decimal(0)) + demand.count * amount
    return total
