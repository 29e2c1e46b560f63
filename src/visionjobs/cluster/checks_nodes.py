"""Whether the cluster has nodes that could hold a job's pods at all.

What other jobs hold at the moment is no obstacle: a job waits for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from visionjobs.cluster.check import Check, look
from visionjobs.cluster.client import Cluster, Object
from visionjobs.cluster.demand import GPU, PodDemand, counted, quantity, remedy, shown

NOT_NODES = ("ephemeral-storage",)
"""Nodes tell of it in ways that differ: left to the scheduler."""

AUTOSCALING = "where nodes are added when needed, set VISIONJOBS_AUTOSCALING=1: it is a warning then"

Lack = tuple[str, str]
"""What is missing, and what to do."""


def check_nodes(cluster: Cluster, demands: Sequence[PodDemand], autoscaling: bool) -> Check:
    """For each pod a node that could hold it, and all together no more GPUs than there are.

    autoscaling: what is not there may come, so that a lack is a warning.
    """

    def find() -> Check | str:
        nodes = cluster.list("Node")
        lacks = [lack for demand in demands if (lack := _lack(demand, nodes))] or _lack_in_all(demands, nodes)
        if lacks:
            message, hint = lacks[0]
            if autoscaling:
                return Check("nodes", None, message, hint)
            return Check("nodes", False, message, f"{hint}; {AUTOSCALING}")
        gpus = sum(demand.count * demand.requests.get(GPU, Decimal(0)) for demand in demands)
        room = f"{counted(len(nodes), 'node')}, with room for every pod"
        return f"{room} and its {shown(GPU, gpus)}" if gpus else room

    return look("nodes", find)


def count_gpus(cluster: Cluster) -> Check:
    """How many GPUs the cluster has, without a job that asks for some."""

    def find() -> str:
        nodes = cluster.list("Node")
        counts = [_allocatable(node).get(GPU, Decimal(0)) for node in nodes] or [Decimal(0)]
        there = f"{counted(len(nodes), 'node')} with {shown(GPU, sum(counts, Decimal(0)))}"
        return there if len(nodes) < 2 else f"{there}, at most {max(counts):f} in one"

    return look("nodes", find)


def _lack(demand: PodDemand, nodes: Sequence[Object]) -> Lack | None:
    """Why no node can ever hold one of these pods."""
    chosen = [node for node in nodes if _matches(demand.selector, node)]
    if not chosen:
        if not demand.selector:
            return "the cluster has no nodes", "add some"
        labels = ", ".join(f"{key}={value}" for key, value in demand.selector.items())
        return f"no node has the label {labels}, which the {demand.role} pod asks for", "change it in the overlay"
    untainted = [node for node in chosen if not _taints(demand, node)]
    if not untainted:
        taints = sorted({taint for node in chosen for taint in _taints(demand, node)})
        said = f"every node for the {demand.role} pod has a taint that it does not tolerate ({', '.join(taints)})"
        return said, "add a toleration to the overlay, or wait for the nodes"
    in_one = demand.sweep and demand.role == "job"  # its pod holds all trials
    requests = {key: amount for key, amount in demand.requests.items() if key not in NOT_NODES}
    if any(_holds(node, requests) for node in untainted):
        return None
    for resource, amount in requests.items():
        most = max(_allocatable(node).get(resource, Decimal(0)) for node in untainted)
        if most < amount:
            said = f"the {demand.role} pod asks for {shown(resource, amount)}, and the largest node for it has "
            return said + shown(resource, most), remedy(resource, sweep=in_one)
    together = ", ".join(shown(resource, amount) for resource, amount in requests.items())
    return f"no node has all that the {demand.role} pod asks for at once ({together})", remedy("", sweep=in_one)


def _lack_in_all(demands: Sequence[PodDemand], nodes: Sequence[Object]) -> list[Lack]:
    asking = [demand for demand in demands if demand.requests.get(GPU)]
    wanted = sum(demand.count * demand.requests[GPU] for demand in asking)
    usable = [node for node in nodes if any(_matches(x.selector, node) and not _taints(x, node) for x in asking)]
    there = sum(_allocatable(node).get(GPU, Decimal(0)) for node in usable)
    if wanted <= there:
        return []
    said = f"the job asks for {shown(GPU, Decimal(wanted))}, and the nodes that it may use have {there:f} in all"
    return [(said, remedy(GPU, sweep=any(demand.sweep for demand in asking)))]


def _matches(selector: Mapping[str, str], node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def _taints(demand: PodDemand, node: Object) -> list[str]:
    """The node's taints that keep such a pod away (Kubernetes documentation, Taints and Tolerations)."""
    return [
        f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
        for taint in (node.get("spec") or {}).get("taints") or []
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(each, taint) for each in demand.tolerations)
    ]


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    exists = toleration.get("operator") == "Exists"
    if not toleration.get("key"):
        return exists
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration["key"] == taint["key"] and (exists or same_value)


def _allocatable(node: Object) -> dict[str, Decimal]:
    return {key: quantity(value) for key, value in ((node.get("status") or {}).get("allocatable") or {}).items()}


def _holds(node: Object, requests: Mapping[str, Decimal]) -> bool:
    there = _allocatable(node)
    return all(there.get(resource, Decimal(0)) >= amount for resource, amount in requests.items())
