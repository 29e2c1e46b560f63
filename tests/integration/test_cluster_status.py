"""`visionjobs status` against a real API server, on which a job goes through its states by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from apiserver import ApiServer
from cluster_hands import Hands, stamp
from rendering import CLUSTER
from status_cases import Ended, as_object

from visionjobs.cluster.kubeconfig import connect
from visionjobs.cluster.state import find_job, list_jobs
from visionjobs.runs import Attempt

pytest_plugins = ["status_fixtures"]
pytestmark = pytest.mark.apiserver


def test_a_rayjob_through_its_states(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt]
) -> None:
    name = submit("resources.workers=2")
    told = visionjobs("status", name)
    assert told.status == 0, told.err
    assert f"state pending job deeplab where RayJob in namespace {hands.namespace}, submitted by ada" in told.err
    assert f"visionjobs logs {name} --follow" in told.err

    pods = hands.start_rayjob(name)
    lacks = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available."
    for worker in pods.workers:
        hands.unschedulable_pod(worker, lacks)
    told = visionjobs("status", name)
    assert "pod head: Pending on node-" in told.err
    assert "why 2 worker pods: unschedulable: 0/3 nodes fit; 3 node(s) with too little nvidia.com/gpu free" in told.err
    assert "resources.workers" in told.err

    for pod in (pods.head, *pods.workers, pods.submitter):
        hands.server.set_status("pods", hands.namespace, pod, {"conditions": []})
        hands.run_pod(pod)
    assert "state starting" in visionjobs("status", name).err
    hands.rayjob(name, jobDeploymentStatus="Running", jobStatus="PENDING")
    assert "state starting" in visionjobs("status", name).err

    folder(name)
    hands.rayjob(name, jobStatus="RUNNING")
    told = visionjobs("status", name)
    assert told.status == 0
    assert "state running, attempt 1 of at most 10" in told.err
    assert "deeplab, segmentation on" in told.err
    assert "progress 2/4 epochs, step 25/40" in told.err
    assert "best val mIoU 0.3750 in epoch 2" in told.err
    assert "training ends in about 0:15:0" in told.err, "25 steps took 25 minutes, 15 are left"
    assert "GPU-hours 1.00" in told.err
    assert f"visionjobs cancel {name}" in told.err


def test_json_has_the_documented_keys(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt]
) -> None:
    name = submit()
    pods = hands.start_rayjob(name)
    hands.run_pod(pods.head)
    hands.rayjob(name, jobDeploymentStatus="Running", jobStatus="RUNNING", failed=1)
    folder(name)
    help_text = visionjobs("status", "--help").out
    told = as_object(visionjobs("status", name, "--json"))
    documented = " ".join(help_text.replace("│", " ").split()).split("Keys of --json: ")[1].split(";")[0].split()
    assert list(told) == documented
    assert (told["state"], told["backend"], told["namespace"], told["owner"]) == (
        "running",
        "rayjob",
        hands.namespace,
        "ada",
    )
    assert told["best"] == {"metric": "val_miou", "value": 0.375, "epoch": 1}
    assert told["eta_seconds"] == pytest.approx(900, abs=5)
    assert told["gpu_hours"] == pytest.approx(1, abs=0.01)
    assert (told["address"], told["finished"], told["stage"]) == (None, None, None)
    assert told["cluster"]["retries"] == 1
    roles = {pod["role"]: pod for pod in told["cluster"]["pods"]}
    assert roles["head"]["phase"] == "Running"
    assert roles["head"]["container"] == "main"
    assert set(roles) == {"head", "submitter"}


@pytest.mark.parametrize(
    ("act", "state", "told"),
    [
        ("image", "pending", ["cannot be pulled, ImagePullBackOff (no such tag)", "make push"]),
        ("secret", "pending", ["there is no Secret visionjobs in the namespace"]),
        ("oom", "running", ["main ran out of memory (OOMKilled): raise resources.memory"]),
        ("evicted", "running", ["evicted by its node", "sizeLimit"]),
        ("quota", "pending", ["ResourceQuota visionjobs", "nvidia.com/gpu: 1 more wanted, 8 of 8 used"]),
        ("fetch", "pending", ["the code that travels with the job could not be fetched (exit 4)"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rayjob(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, act: str, state: str, told: list[str]
) -> None:
    name = submit()
    pods = hands.start_rayjob(name)
    if state == "running":
        hands.rayjob(name, jobDeploymentStatus="Running", jobStatus="RUNNING")
        hands.end_pod(pods.submitter, 1)
    match act:
        case "image":
            hands.wait_pod(pods.head, "ImagePullBackOff", "no such tag")
        case "secret":
            hands.wait_pod(pods.head, "CreateContainerConfigError", 'secret "visionjobs" not found')
        case "oom":
            hands.end_pod(pods.head, 137, "OOMKilled")
        case "evicted":
            hands.evict_pod(pods.head, 'Usage of EmptyDir volume "cache" exceeds the limit "100Gi".')
        case "quota":
            message = (
                'pods "x" is forbidden: exceeded quota: visionjobs, requested: requests.nvidia.com/gpu=1, '
                "used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8"
            )
            hands.event("rayclusters", pods.name, "FailedToCreateWorkerPod", message)
        case "fetch":
            ended = {"exitCode": 4, "reason": "Error", "startedAt": stamp(), "finishedAt": stamp()}
            part = {"name": "fetch-code", "image": "x", "imageID": "", "restartCount": 0, "ready": False}
            status = {"initContainerStatuses": [part | {"state": {"terminated": ended}}]}
            hands.server.set_status("pods", hands.namespace, pods.head, status)
    found = as_object(visionjobs("status", name, "--json"))
    assert found["state"] == state
    for part in told:
        assert part in " | ".join(found["reasons"])


def test_a_job_backend_and_its_second_pod(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt]
) -> None:
    name = submit(backend="job")
    first = hands.job_pod(name)
    assert "state starting" in visionjobs("status", name).err
    hands.run_pod(first)
    assert "state running" in visionjobs("status", name).err
    folder(name, backend="job", age=0)
    hands.end_pod(first, 137, "OOMKilled")
    hands.job(name, failed=1)
    told = visionjobs("status", name)
    assert "state pending, attempt 1 of at most 10" in told.err
    assert "1 failed attempt(s) there" in told.err
    assert "OOMKilled" in told.err
    hands.job_pod(name)
    hands.end_job(name, succeeded=False, message="Job has reached the specified backoff limit")
    told = visionjobs("status", name)
    assert "state interrupted" in told.err, "its record still says running"
    assert f"visionjobs submit deeplab --run {name}" in told.err


def test_the_record_tells_how_it_ended(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt]
) -> None:
    name = submit()
    hands.rayjob(name, jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed",
                 message="Job entrypoint command failed with exit code 3, last log:\nx")  # fmt: skip
    found = as_object(visionjobs("status", name, "--json"))
    assert found["state"] == "failed to start"
    assert "exit status 3" in found["reasons"][0]
    attempt = folder(name, "failed", message="the loss of step 3 is not finite", gpu_hours=1.5)
    told = visionjobs("status", name)
    assert (told.status, "state failed" in told.err, "GPU-hours 1.50" in told.err) == (0, True, True)
    assert "message the loss of step 3 is not finite" in told.err
    hands.rayjob(name, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    attempt.update_record(state="complete", finished=stamp(1))
    told = visionjobs("status", name)
    assert "state complete" in told.err
    assert "report/report.html" in told.err


def test_waiting_in_the_queue(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, workloads: None
) -> None:
    name = submit(queue="visionjobs")
    rayjob = hands.server.patch("rayjobs", hands.namespace, name, {"spec": {"suspend": True}})
    assert "Kueue has not taken it up yet" in visionjobs("status", name).err
    condition = {
        "type": "QuotaReserved",
        "status": "False",
        "reason": "Pending",
        "message": "insufficient quota",
    }
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": name, "uid": rayjob["metadata"]["uid"]}
    workload = {
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload",
        "metadata": {"name": "rayjob-w", "ownerReferences": [owner]}, "status": {"conditions": [condition]},
    }  # fmt: skip
    hands.server.call("POST", f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{hands.namespace}/workloads", workload)
    told = visionjobs("status", name)
    assert "state queued" in told.err
    assert "waiting in the Kueue queue visionjobs: insufficient quota" in told.err


@pytest.fixture
def workloads(apiserver: ApiServer, namespace: str) -> Iterator[None]:
    """The server serves Kueue's Workload while the test runs."""
    version = {"name": "v1beta2", "served": True, "storage": True, "schema": {
        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}  # fmt: skip
    names = {"plural": "workloads", "singular": "workload", "kind": "Workload", "listKind": "WorkloadList"}
    spec = {"group": "kueue.x-k8s.io", "scope": "Namespaced", "names": names, "versions": [version]}
    metadata = {"name": "workloads.kueue.x-k8s.io",
                "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}}  # fmt: skip
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    apiserver.create(crd | {"metadata": metadata, "spec": spec})
    deadline = time.monotonic() + 30
    while True:
        try:
            apiserver.call("GET", "/apis/kueue.x-k8s.io/v1beta2/workloads")
            break
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield
    apiserver.delete("customresourcedefinitions", None, "workloads.kueue.x-k8s.io")


def test_without_kueue_a_queued_job_is_still_told(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands
) -> None:
    name = submit(queue="visionjobs")
    hands.rayjob(name, jobDeploymentStatus="Suspended")
    told = visionjobs("status", name)
    assert (told.status, "waiting in the Kueue queue visionjobs" in told.err) == (0, True)


def test_a_deleted_job_whose_pods_still_end(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands
) -> None:
    name = submit(backend="job")
    pod = hands.job_pod(name)
    hands.run_pod(pod)
    options = {"propagationPolicy": "Background"}
    hands.server.call("DELETE", f"/apis/batch/v1/namespaces/{hands.namespace}/jobs/{name}", options)
    assert visionjobs("status", name).status == 2, "its pod was not told to go: nobody collects garbage here"
    hands.server.call("DELETE", f"/api/v1/namespaces/{hands.namespace}/pods/{pod}", {})
    told = visionjobs("status", name)
    assert "state stopping" in told.err
    assert "to write a checkpoint" in told.err or "they write a checkpoint first" in told.err
    hands.server.delete("pods", hands.namespace, pod)
    assert visionjobs("status", name).status == 2


def test_the_submitter_is_no_job_of_its_own(submit: Callable[..., str], hands: Hands) -> None:
    name = submit("resources.workers=2")
    started = hands.start_rayjob(name)
    cluster = connect(replace(CLUSTER, namespace=hands.namespace))
    (job,) = list_jobs(cluster)
    assert (job.name, job.backend, len(job.pods)) == (name, "rayjob", 4)
    assert find_job(cluster, name) == job
    hands.server.delete("rayjobs", hands.namespace, name)
    assert find_job(cluster, name) is None, "its submitter, a Job of its name, is still there"
    assert started.submitter


def test_a_namespace_that_is_not_there_is_not_an_empty_one(
    visionjobs: Callable[..., Ended], apiserver: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_NAMESPACE", "visionjob")
    told = visionjobs("status")
    assert told.status == 2
    assert "there is no namespace visionjob" in told.err
    assert "VISIONJOBS_NAMESPACE" in told.err
