"""Whether a cluster could hold a job's pods at all: nodes, GPUs in all, quotas."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from rendering import CLUSTER, dataset_import, run_of
from small_cluster import Object, SmallCluster, named, node, pods, told

from visionjobs.cluster.checks_nodes import check_nodes, count_gpus
from visionjobs.cluster.checks_quota import check_quota
from visionjobs.cluster.demand import GPU, PodDemand, pod_demands, quantity
from visionjobs.cluster.preflight import account
from visionjobs.cluster.render import render


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", "2"), ("500m", "0.5"), ("4Gi", 4 * 2**30), ("1k", "1000"), ("1.5Gi", 1.5 * 2**30), ("1e3", "1000"), ("", 0),
     (3, "3"), ("banana", 0)],
)  # fmt: skip
def test_quantities(text: Any, value: Any) -> None:
    assert quantity(text) == Decimal(value)


def test_demands_are_those_of_the_rendered_pods() -> None:
    sets = ("resources.workers=4", "resources.gpus=1", "resources.cpus=3", "resources.memory=8Gi")
    submission = run_of("deeplab", *sets)
    assert submission.layout is not None
    worker = submission.layout.worker
    assert worker is not None
    objects = render(submission, CLUSTER, "rayjob")
    by_role = {demand.role: demand for demand in pod_demands(objects)}
    assert {role: demand.count for role, demand in by_role.items()} == {"head": 1, "worker": 4, "submitter": 1}
    assert by_role["worker"].requests[GPU] == 1
    assert by_role["worker"].requests["cpu"] == 3
    assert by_role["worker"].requests["memory"] == worker.mib * 2**20
    assert GPU not in by_role["head"].requests
    assert any(toleration["key"] == GPU for toleration in by_role["worker"].tolerations)
    (job,) = pod_demands(render(dataset_import(), CLUSTER, "job"))
    assert (job.role, job.count, GPU in job.requests) == ("job", 1, False)
    assert account(objects) == "visionjobs"
    assert account([]) == "visionjobs"


@pytest.mark.parametrize(
    ("nodes", "demands", "words"),
    [
        ([], [pods(cpu="1")], ["no nodes"]),
        ([node(gpus="2")], [pods(gpus="1", count=2)], []),
        ([node(gpus="2")], [pods(gpus="1", count=3)], ["asks for 3 GPUs", "have 2 in all", "resources.workers"]),
        ([node(gpus="4"), node(gpus="4")], [pods(gpus="8")], ["asks for 8 GPUs", "has 4 GPUs", "workers_per_pod"]),
        ([node()], [pods(gpus="1")], ["has 0 GPUs"]),
        ([node()], [pods(cpu="32")], ["asks for 32 CPUs", "has 16 CPUs", "resources.cpus"]),
        ([node()], [pods(memory="100Gi")], ["100.0 GiB of memory", "64.0 GiB", "resources.memory"]),
        ([node(gpus="8", cpu="4"), node(cpu="64")], [pods(gpus="1", cpu="8")], ["no node has all", "1 GPU, 8 CPUs"]),
        ([node(gpus="8", taints=[f"{GPU}=present:NoSchedule"])], [pods(gpus="8")], []),
        ([node(gpus="8", taints=["team=a:NoSchedule"])], [pods(gpus="8")], ["team=a:NoSchedule", "toleration"]),
        ([node(gpus="8", taints=["slow=yes:PreferNoSchedule"])], [pods(gpus="8")], []),
        ([node(gpus="8", taints=[f"{GPU}=x:NoExecute"])], [pods(gpus="8")], ["does not tolerate"]),
        ([node(gpus="8", labels={"gpu": "l4"})], [pods(selector={"gpu": "a100"}, gpus="1")],
         ["label gpu=a100", "overlay"]),
        ([node(gpus="1", labels={"gpu": "a100"}), node(gpus="8")], [pods(2, selector={"gpu": "a100"}, gpus="1")],
         ["asks for 2 GPUs", "have 1 in all"]),
    ],
)  # fmt: skip
def test_nodes(nodes: list[Object], demands: list[PodDemand], words: list[str]) -> None:
    cluster: Any = SmallCluster({"Node": nodes})
    told(check_nodes(cluster, demands, autoscaling=False), not words, *words)
    growing = check_nodes(cluster, demands, autoscaling=True)
    told(growing, None if words else True, *words)
    assert ("VISIONJOBS_AUTOSCALING" in check_nodes(cluster, demands, autoscaling=False).hint) == bool(words)


def test_nodes_that_may_not_be_seen_and_how_many_gpus_there_are() -> None:
    closed: Any = SmallCluster(closed=("Node",))
    told(check_nodes(closed, [pods(gpus="1")], autoscaling=False), None, "may not look", "visionjobs-submitter")
    told(count_gpus(SmallCluster({"Node": [node(gpus="8"), node(gpus="2"), node()]})), True, "10 GPUs", "at most 8")
    told(count_gpus(SmallCluster({"Node": []})), True, "0 nodes with 0 GPUs")
    assert count_gpus(SmallCluster({"Node": [node(gpus="1")]})).message == "1 node with 1 GPU"
    fits = check_nodes(SmallCluster({"Node": [node(gpus="1")]}), [pods(gpus="1")], autoscaling=False)
    assert fits.message == "1 node, with room for every pod and its 1 GPU"


GPUS = f"requests.{GPU}"


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> Object:
    return named("team", spec={"hard": hard} | spec, status={"hard": hard, "used": used or {}})


@pytest.mark.parametrize(
    ("hard", "used", "ok", "words"),
    [
        ({GPUS: "4"}, {}, True, []),
        ({GPUS: "3"}, {}, False, ["needs 4 GPUs", 'quota "team" allows 3 GPUs', "resources.workers"]),
        ({GPUS: "6"}, {GPUS: "3"}, None, ["has 3 GPUs left", "VISIONJOBS_QUEUE"]),
        ({"limits.cpu": "15"}, {}, False, ["needs 16 CPUs"]),
        ({"cpu": "15"}, {}, False, ["needs 16 CPUs"]),
        ({"memory": "1Gi"}, {}, False, ["GiB of memory", "resources.memory"]),
        ({"pods": "3"}, {}, False, ["4 pods"]),
        ({"count/pods": "3"}, {}, False, ["4 pods"]),
        ({"persistentvolumeclaims": "0", "count/configmaps": "0"}, {"persistentvolumeclaims": "1"}, True, []),
    ],
)  # fmt: skip
def test_quotas(hard: dict[str, str], used: dict[str, str], ok: bool | None, words: list[str]) -> None:
    demands = [pods(4, gpus="1", cpu="4", memory="4Gi")]
    cluster: Any = SmallCluster({"ResourceQuota": [quota(hard, used)]})
    told(check_quota(cluster, demands, None), ok, *words)
    told(check_quota(cluster, demands, "gpus"), ok is not False)
    scoped: Any = SmallCluster({"ResourceQuota": [quota(hard, used, scopes=["BestEffort"])]})
    told(check_quota(scoped, demands, None), True)


@pytest.mark.parametrize(
    "resource",
    ["count/rayjobs.ray.io", "count/rayclusters.ray.io", "count/networkpolicies.networking.k8s.io", "count/jobs.batch",
     "count/services", "services", "count/secrets", "secrets"],
)  # fmt: skip
@pytest.mark.parametrize("queue", [None, "gpus"])
def test_quotas_of_objects(resource: str, queue: str | None) -> None:
    """One more of each comes with a RayJob; a Job is but a Job."""
    roles = [pods(role="head"), pods(role="submitter")]
    cases: list[tuple[str, str, bool | None, list[str]]] = [
        ("2", "1", True, []),
        ("1", "1", None, [f"1 {resource.removeprefix('count/')}, and the quota", "has 0", "visionjobs cancel"]),
        ("1", "3", None, ["has 0"]),
        ("0", "0", False, ["allows 0", "ask for a larger quota"]),
    ]
    for hard, used, ok, words in cases:
        cluster: Any = SmallCluster({"ResourceQuota": [quota({resource: hard}, {resource: used})]})
        check = check_quota(cluster, roles, queue)
        told(check, ok, *words)
        assert "resources" not in check.hint, "no smaller job would help"
        job = check_quota(cluster, [pods(role="job")], queue)
        assert job.ok is (ok if resource == "count/jobs.batch" else True)
