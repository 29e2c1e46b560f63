"""The kustomizations of k8s/cluster, built, and what their network policies allow, evaluated."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parents[2] / "k8s" / "cluster"
OVERLAYS = ("one-gpu", "multi-gpu", "kueue")
KUSTOMIZATIONS = (".", *(f"overlays/{name}" for name in OVERLAYS))

Object = dict[str, Any]


@cache
def build(name: str) -> tuple[Object, ...]:
    """The objects that `kubectl apply -k k8s/cluster/NAME` sends."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(CLUSTER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(kind: str, name: str = ".") -> dict[str, Object]:
    """The objects of one kind in a kustomization, by name."""
    return {item["metadata"]["name"]: item for item in build(name) if item["kind"] == kind}


def allowed(direction: str, pod: dict[str, str], peer: Object, port: int, protocol: str = "TCP") -> bool:
    """Whether the base's policies let a pod with these labels be reached by (ingress) or reach (egress) the peer.

    peer: {"ip": "1.2.3.4"}, or {"namespace": its labels, "pod": its labels}. A pod that no policy selects for the
    direction may do everything; else one rule must match (Kubernetes' NetworkPolicy v1).
    """
    selecting = [
        policy["spec"]
        for policy in of_kind("NetworkPolicy").values()
        if _selects(policy["spec"]["podSelector"], pod) and direction.capitalize() in policy["spec"]["policyTypes"]
    ]
    if not selecting:
        return True
    side = {"ingress": "from", "egress": "to"}[direction]
    rules = [rule for spec in selecting for rule in spec.get(direction, [])]
    return any(
        any(_is_peer(entry, peer) for entry in rule[side])
        and any((entry["port"], entry["protocol"]) == (port, protocol) for entry in rule["ports"])
        for rule in rules
    )


def _is_peer(entry: Object, peer: Object) -> bool:
    if "ipBlock" in entry:
        if "ip" not in peer:
            return False
        address, block = ipaddress.ip_address(peer["ip"]), entry["ipBlock"]
        excepted = any(address in ipaddress.ip_network(cidr) for cidr in block.get("except", []))
        return address in ipaddress.ip_network(block["cidr"]) and not excepted
    if "ip" in peer:
        return False
    namespaces, pods = entry.get("namespaceSelector"), entry.get("podSelector", {})
    return namespaces is not None and _selects(namespaces, peer["namespace"]) and _selects(pods, peer["pod"])


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] in ("In", "Exists") for expression in expressions), expressions
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        expression["key"] in labels
        and (expression["operator"] == "Exists" or labels[expression["key"]] in expression["values"])
        for expression in expressions
    )
