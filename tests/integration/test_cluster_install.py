"""`kubectl apply -k k8s/cluster` on a real API server, and what a person bound to the submitter role may then do.

The server is Kubernetes 1.20: it stores all kinds of the base; it has no PodSecurity admission (the labels of the
namespace do nothing there), and Kueue's kinds only while the `kueue` fixture gives them (ClusterQueue, LocalQueue,
ResourceFlavor, WorkloadPriorityClass).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiserver import ApiRefusalError, ApiServer
from cluster_jobs import wait_for
from cluster_manifests import CLUSTER, KUSTOMIZATIONS

from visionjobs.cluster.checks_objects import AFTERWARDS, needs
from visionjobs.cluster.client import KINDS

pytestmark = pytest.mark.apiserver

GROUP = "EXAMPLE-vision-researchers"
ROOT = CLUSTER.parents[1]
KUEUE_KINDS = ("ClusterQueue", "LocalQueue", "ResourceFlavor", "WorkloadPriorityClass")


@pytest.fixture
def cluster(apiserver: ApiServer) -> Iterator[ApiServer]:
    """The base and the example bindings applied. Other tests' pods in this namespace must not meet its quota."""
    apiserver.start()
    apiserver.kubectl("apply", "-k", str(CLUSTER))
    apiserver.kubectl("apply", "-f", str(CLUSTER / "submitter-binding.example.yaml"))
    yield apiserver
    apiserver.kubectl("-n", "visionjobs", "delete", "resourcequota,limitrange,networkpolicy,pod", "--all", "--now")


def pod(name: str, **resources: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "example/visionjobs:1", "resources": resources}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


@pytest.mark.parametrize("name", [name for name in KUSTOMIZATIONS if "kueue" not in name])
def test_it_is_accepted_twice(cluster: ApiServer, name: str) -> None:
    cluster.kubectl("apply", "-k", str(CLUSTER / name))
    again = cluster.kubectl("apply", "-k", str(CLUSTER / name))
    assert again.splitlines()
    assert all(line.endswith("unchanged") for line in again.splitlines()), again


def test_the_queues_are_accepted_where_kueue_is(cluster: ApiServer, kueue: None) -> None:
    said = cluster.kubectl("apply", "-k", str(CLUSTER / "overlays" / "kueue"))
    assert said.count("kueue.x-k8s.io/visionjobs") == 7
    stored = cluster.call("GET", "/apis/kueue.x-k8s.io/v1beta2/clusterqueues/visionjobs")
    assert stored["spec"]["preemption"]["withinClusterQueue"] == "LowerPriority"


def test_without_kueue_all_but_its_kinds_are_applied_and_named(cluster: ApiServer) -> None:
    with pytest.raises(AssertionError) as failure:
        cluster.kubectl("apply", "-k", str(CLUSTER / "overlays" / "kueue"))
    assert all(f'no matches for kind "{kind}"' in str(failure.value) for kind in KUEUE_KINDS)


def created(cluster: ApiServer, pod: dict[str, Any]) -> dict[str, Any]:
    """Once the server has seen how the quota was changed: it looks at quotas in a cache."""
    end = time.monotonic() + 30
    while True:
        try:
            return cluster.create(pod, "visionjobs")
        except ApiRefusalError as refusal:
            if "quota" not in str(refusal) or time.monotonic() > end:
                raise
        time.sleep(0.1)


def test_defaults_and_quota_hold_for_pods(cluster: ApiServer) -> None:
    quota = cluster.get("resourcequotas", "visionjobs", "visionjobs")
    hard = quota["spec"]["hard"]
    cluster.set_status("resourcequotas", "visionjobs", "visionjobs", {"hard": hard, "used": dict.fromkeys(hard, "0")})
    asks_for_nothing = created(cluster, pod("nothing"))
    assert asks_for_nothing["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "1Gi"},
    }
    memory = {"memory": "8Gi"}
    rendered = pod(
        "trains", requests={"cpu": "8", "nvidia.com/gpu": "1"} | memory, limits={"nvidia.com/gpu": "1"} | memory
    )
    cpu_limit = {"cpu"} & set(cluster.create(rendered, "visionjobs")["spec"]["containers"][0]["resources"]["limits"])
    assert not cpu_limit
    too_much = pod("greedy", requests={"nvidia.com/gpu": "4"}, limits={"nvidia.com/gpu": "4"})
    with pytest.raises(ApiRefusalError, match=r"exceeded quota: visionjobs, requested: requests\.nvidia\.com/gpu=4"):
        cluster.create(too_much, "visionjobs")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dashboard"}}
    service |= {"spec": {"type": "LoadBalancer", "ports": [{"port": 8265}]}}
    with pytest.raises(ApiRefusalError, match="exceeded quota"):
        cluster.create(service, "visionjobs")


def test_priorities_reach_pods_that_name_them(cluster: ApiServer) -> None:
    cluster.delete("resourcequotas", "visionjobs", "visionjobs")
    named = pod("named")
    named["spec"]["priorityClassName"] = "visionjobs-low"
    assert created(cluster, named)["spec"]["priority"] == -10


WRITES = ("create", "patch", "get", "list", "watch", "delete")
READS = ("get", "list", "watch")
# (group, resource, name or "", verbs) that submit, status, logs, cancel and dashboard need, in the namespace
ALLOWED = [
    ("ray.io", "rayjobs", "", WRITES),
    ("batch", "jobs", "", WRITES),
    ("networking.k8s.io", "networkpolicies", "", WRITES),
    ("ray.io", "rayclusters", "", READS),
    ("", "pods", "", READS),
    ("", "events", "", READS),
    ("", "pods/log", "", ("get",)),
    ("", "pods/portforward", "", ("create", "get")),
    ("", "secrets", "visionjobs", ("get",)),
    ("", "serviceaccounts", "visionjobs", ("get",)),
    ("", "resourcequotas", "visionjobs", ("get",)),
    ("", "namespaces", "visionjobs", ("get",)),
    ("kueue.x-k8s.io", "localqueues", "visionjobs", ("get",)),
    ("kueue.x-k8s.io", "workloads", "", READS),
]
EVERYWHERE = [
    ("", "nodes", "", ("get", "list")),
    ("apiextensions.k8s.io", "customresourcedefinitions", "rayjobs.ray.io", ("get",)),
    ("scheduling.k8s.io", "priorityclasses", "visionjobs-normal", ("get",)),
    ("kueue.x-k8s.io", "clusterqueues", "visionjobs", ("get",)),
]
DENIED = [
    ("", "secrets", "", ("list", "watch", "create", "delete")),
    ("", "secrets", "visionjobs", ("update", "patch", "delete")),
    ("", "pods", "", ("create", "delete", "patch")),
    ("", "pods/exec", "", ("create", "get")),
    ("", "pods/attach", "", ("create", "get")),
    ("", "serviceaccounts/token", "visionjobs", ("create",)),
    ("", "services", "", ("create", "delete")),
    ("", "configmaps", "", ("get", "create")),
    ("", "resourcequotas", "visionjobs", ("update", "patch", "delete")),
    ("", "limitranges", "visionjobs", ("update", "patch", "delete")),
    ("", "namespaces", "visionjobs", ("delete", "patch")),
    ("ray.io", "rayclusters", "", ("create", "patch", "delete")),
    ("ray.io", "rayjobs/status", "", ("patch",)),
    ("apps", "deployments", "", ("create",)),
    ("rbac.authorization.k8s.io", "rolebindings", "", ("create", "patch")),
    ("kueue.x-k8s.io", "localqueues", "visionjobs", ("patch", "delete")),
]


def may(server: ApiServer, groups: list[str], namespace: str, group: str, what: str, name: str, verb: str) -> bool:
    """What the server's own authoriser says about a user with these groups (as `kubectl auth can-i --as` asks)."""
    resource, _, subresource = what.partition("/")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "jane", "groups": groups, "resourceAttributes": attributes | {"subresource": subresource}},
    }
    return bool(server.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"])


def test_the_submitter_may_do_what_our_commands_do_and_no_more(cluster: ApiServer) -> None:
    cluster.call("DELETE", "/apis/rbac.authorization.k8s.io/v1/namespaces/visionjobs/rolebindings/visionjobs-dashboard")
    for table, namespace, expected in (
        (ALLOWED, "visionjobs", True),
        (EVERYWHERE, "", True),
        (DENIED, "visionjobs", False),
    ):
        for group, what, name, verbs in table:
            for verb in verbs:
                assert may(cluster, [GROUP], namespace, group, what, name, verb) is expected, f"{verb} {what} {name}"
    for group, what, name, verbs in ALLOWED:
        elsewhere = "default"
        assert not any(may(cluster, [GROUP], elsewhere, group, what, name, verb) for verb in verbs), what
        assert not any(may(cluster, ["others"], "visionjobs", group, what, name, verb) for verb in verbs), what
    token = ("secrets", "resnet-1-abcde-auth", "get")
    assert not may(cluster, [GROUP], "visionjobs", "", *token)
    cluster.kubectl("apply", "-f", str(CLUSTER / "submitter-binding.example.yaml"))
    wait_for(lambda: may(cluster, [GROUP], "visionjobs", "", *token), "the binding")
    assert may(cluster, [GROUP], "visionjobs", "", "pods/exec", "", "create")
    assert not may(cluster, [GROUP], "visionjobs", "", "secrets", "", "list")


def test_the_role_is_what_the_checks_before_a_submit_ask_for(cluster: ApiServer) -> None:
    for verb, kind, part in [*needs("rayjob"), *needs("job"), *AFTERWARDS]:
        group, what = KINDS[kind].api.rpartition("/")[0], KINDS[kind].plural + (f"/{part}" if part else "")
        assert may(cluster, [GROUP], "visionjobs", group, what, "", verb), f"{verb} {what}"


def test_the_accounts_of_pods_may_do_nothing(cluster: ApiServer) -> None:
    groups = ["system:serviceaccounts", "system:serviceaccounts:visionjobs"]
    for group, what, name, verbs in ALLOWED + EVERYWHERE:
        assert not any(may(cluster, groups, "visionjobs", group, what, name, verb) for verb in verbs), what


def test_a_submitter_applies_reads_and_deletes_a_rayjob(cluster: ApiServer, tmp_path: Path) -> None:
    template = {"spec": {"containers": [{"name": "ray", "image": "example/visionjobs:1"}]}}
    head = {"rayStartParams": {}, "template": template}
    rayjob = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "one", "namespace": "visionjobs"},
        "spec": {"entrypoint": "true", "rayClusterSpec": {"rayVersion": "2.60.0", "headGroupSpec": head}},
    }
    path = tmp_path / "rayjob.yaml"
    path.write_text(yaml.safe_dump(rayjob))
    person = ["--as", "jane", "--as-group", GROUP, "-n", "visionjobs"]
    cluster.kubectl(*person, "apply", "--server-side", "--validate=false", "-f", str(path))
    assert "one" in cluster.kubectl(*person, "get", "rayjobs,pods,events")
    for name in ("namespace/visionjobs", "serviceaccount/visionjobs", "resourcequota/visionjobs", "nodes"):
        cluster.kubectl(*person, "get", name)
    cluster.kubectl(*person, "delete", "rayjob", "one")
    with pytest.raises(AssertionError, match="Forbidden"):
        cluster.kubectl(
            "--as", "jane", "-n", "visionjobs", "apply", "--server-side", "--validate=false", "-f", str(path)
        )


def test_the_secret_is_made_as_its_example_says(apiserver: ApiServer, namespace: str) -> None:
    lines = (CLUSTER / "secret.example.yaml").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if "env | grep" in line)
    command = "\n".join(line.lstrip("# ") for line in lines[start : start + 2])
    assert "--from-env-file=/dev/stdin" in command
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(apiserver.kubeconfig), "HOME": "/nonexistent"}
    values = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "a/b+c=", "OTHER": "left out"}
    subprocess.run(
        ["bash", "-c", command.replace("-n visionjobs", f"-n {namespace}")], env=environment | values, check=True
    )
    stored = apiserver.get("secrets", namespace, "visionjobs")
    assert set(stored["data"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert stored["data"]["AWS_SECRET_ACCESS_KEY"] == "YS9iK2M9"


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "cluster-install", *arguments]
    full = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | environment
    return subprocess.run(command, cwd=ROOT, env=full, capture_output=True, text=True, check=False, timeout=120)


def test_make_cluster_install(cluster: ApiServer) -> None:
    done = make("OVERLAY=one-gpu", KUBECONFIG=str(cluster.kubeconfig))
    assert done.returncode == 0, done.stderr
    assert "resourcequota/visionjobs configured" in done.stdout
    quota = cluster.get("resourcequotas", "visionjobs", "visionjobs")
    assert quota["spec"]["hard"]["requests.nvidia.com/gpu"] == "1"


def test_make_cluster_install_says_what_is_missing(tmp_path: Path) -> None:
    unknown = make("OVERLAY=two-gpus")
    assert unknown.returncode == 2
    assert "OVERLAY=two-gpus: expected one of kueue multi-gpu one-gpu" in unknown.stderr
    nowhere = make(KUBECONFIG=str(tmp_path / "none"))
    assert nowhere.returncode == 2
    assert "no cluster answers" in nowhere.stderr
    for tool in ("make", "sh", "bash", "dirname", "cat"):
        (tmp_path / tool).symlink_to(Path("/usr/bin") / tool)
    without = make(PATH=str(tmp_path))
    assert without.returncode == 2
    assert "kubectl is not installed" in without.stderr
