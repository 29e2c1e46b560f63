"""Who may reach whom by a run's own NetworkPolicy, as a network plugin would decide it. All else is denied."""

from __future__ import annotations

from typing import Any

import pytest
from rendering import CLUSTER, run_of, templates

from visionjobs.cluster.render import render

OBJECTS = render(run_of("deeplab", "resources.workers=4"), CLUSTER, "rayjob")
POLICY = OBJECTS[0]["spec"]
OURS = {role: template["metadata"]["labels"] for role, template in templates(OBJECTS).items()}

Labels = dict[str, str]


def selects(selector: dict[str, Any], labels: Labels) -> bool:
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))


def passes(direction: str, ours: Labels, other: Labels, port: int) -> bool:
    """Whether the policy lets a pod that it selects reach `other`, or be reached by it."""
    peers = {"egress": "to", "ingress": "from"}[direction]
    return selects(POLICY["podSelector"], ours) and any(
        any(selects(peer["podSelector"], other) for peer in rule[peers])
        and any(item["port"] == port for item in rule.get("ports", [{"port": port}]))
        for rule in POLICY[direction]
    )


def connects(source: str, target: str, port: int) -> bool:
    """Within the run: both ends have to let it pass."""
    out, into = passes("egress", OURS[source], OURS[target], port), passes("ingress", OURS[target], OURS[source], port)
    return out and into


def test_both_directions_are_restricted() -> None:
    assert POLICY["policyTypes"] == ["Ingress", "Egress"]
    assert set(OURS) == {"head", "worker", "submitter"}


@pytest.mark.parametrize(("source", "target"), [("head", "worker"), ("worker", "head"), ("worker", "worker")])
def test_head_and_workers_reach_each_other_on_all_ports(source: str, target: str) -> None:
    assert all(connects(source, target, port) for port in (6379, 8265, 10001, 43219))


def test_the_submitter_reaches_the_dashboard_alone_and_nothing_reaches_it() -> None:
    assert connects("submitter", "head", 8265)
    assert not any(connects("submitter", "head", port) for port in (6379, 10001, 8080))
    assert not any(connects(role, "submitter", 8265) for role in OURS)


@pytest.mark.parametrize("role", ["head", "worker", "submitter", "job"])
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_no_other_run_comes_in_or_is_reached(direction: str, role: str) -> None:
    other = OURS["head"] | {"visionjobs/run": "deeplab-20260101-120000-ffff", "visionjobs/role": role}
    assert not any(passes(direction, ours, other, 8265) for ours in OURS.values())
    assert not any(passes(direction, other, ours, 8265) for ours in OURS.values())  # it is not even selected
