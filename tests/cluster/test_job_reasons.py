"""Why a RayJob or a Job is where it is: refusals, quotas, the queue, and how it failed."""

from __future__ import annotations

import pytest
from cluster_objects import (
    CREATED,
    LATER,
    Object,
    ended,
    event,
    job,
    rayjob,
    running,
    state,
)

QUOTA = (
    'pods "deeplab-1-head" is forbidden: exceeded quota: visionjobs, requested: requests.nvidia.com/gpu=4, '
    "used: requests.nvidia.com/gpu=6, limited: requests.nvidia.com/gpu=8"
)


@pytest.mark.parametrize(
    ("kind", "about", "reason"),
    [("RayCluster", "deeplab-1-abcde", "FailedToCreateHeadPod"), ("Job", "deeplab-1", "FailedCreate")],
)
def test_a_full_quota_is_told_from_events(kind: str, about: str, reason: str) -> None:
    obj = job(active=0) if kind == "Job" else rayjob(jobDeploymentStatus="Initializing", rayClusterName=about)
    told = state(obj, events=(event(kind, about, reason, QUOTA), event(kind, "another", reason, "not ours")))
    assert told.phase == "pending"
    (line,) = told.reasons
    assert "ResourceQuota visionjobs leaves too little: requests.nvidia.com/gpu: 4 more wanted, 6 of 8 used" in line


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
            "Pod Security level restricted:latest",
        ),
        (
            'pods "x" is forbidden: no PriorityClass with name visionjobs-high was found',
            "no PriorityClass visionjobs-high",
        ),
        (
            'forbidden: error looking up service account a/visionjobs: serviceaccount "visionjobs" not found',
            "no service account",
        ),
        ("something else", "its pods are refused: something else"),
    ],
)
def test_pods_that_admission_refuses(message: str, told: str) -> None:
    obj = rayjob(jobDeploymentStatus="Initializing", rayClusterName="c")
    (line,) = state(obj, events=(event("RayCluster", "c", "FailedToCreateHeadPod", message),)).reasons
    assert told in line


def test_a_worker_that_is_refused_keeps_the_job_pending() -> None:
    obj = rayjob(jobDeploymentStatus="Initializing", rayClusterName="c")
    told = state(obj, running(), events=(event("RayCluster", "c", "FailedToCreateWorkerPod", QUOTA),))
    assert (told.phase, len(told.reasons)) == ("pending", 1)


def test_an_old_refusal_is_not_told_once_there_are_pods() -> None:
    obj, late = job(active=1), running()
    late["metadata"]["creationTimestamp"] = "2026-01-31T11:00:00Z"
    late["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ContainerCreating"}}
    late["status"]["phase"] = "Pending"
    assert state(obj, late, events=(event("Job", "deeplab-1", "FailedCreate", QUOTA),)).reasons == []


def workload(*conditions: tuple[str, str, str, str], uid: str = "u1") -> Object:
    keys = ("type", "status", "reason", "message")
    told = [dict(zip(keys, condition, strict=True)) for condition in conditions]
    metadata = {"name": "w", "creationTimestamp": CREATED, "ownerReferences": [{"uid": uid}]}
    return {"metadata": metadata, "status": {"conditions": told}}


NO_QUOTA = ("QuotaReserved", "False", "Pending", "insufficient unused quota for nvidia.com/gpu, 4 more needed")


@pytest.mark.parametrize(
    ("workloads", "told"),
    [
        ([workload(NO_QUOTA)], "waiting in the Kueue queue gpus: insufficient unused quota for nvidia.com/gpu"),
        (
            [
                workload(("QuotaReserved", "True", "", "")),
            ],
            "its quota is reserved, and it waits for admission",
        ),
        (
            [workload(NO_QUOTA, ("Evicted", "True", "Preempted", "to accommodate a workload"))],
            "taken out again (Preempted: to accom",
        ),
        ([workload(NO_QUOTA, uid="another")], "Kueue has not taken it up yet"),
        ([], "Kueue has not taken it up yet"),
        (None, "why is not told"),
    ],
)
def test_waiting_in_the_queue(workloads: list[Object] | None, told: str) -> None:
    for obj in (rayjob({"suspend": True}, queue="gpus"), job({"suspend": True}) | {}):
        obj["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"
        (line,) = state(obj, workloads=workloads).reasons
        assert told in line


def test_suspended_by_hand() -> None:
    (line,) = state(rayjob({"suspend": True})).reasons
    assert "spec.suspend" in line


@pytest.mark.parametrize(
    ("reason", "message", "told"),
    [
        (
            "AppFailed",
            "Job entrypoint command failed with exit code 1, last logs:\nx",
            "exit status 1: see `visionjobs logs`",
        ),
        ("SubmissionFailed", "", "submitter pod's log"),
        ("DeadlineExceeded", "the RayJob exceeds its activeDeadlineSeconds", "limits.hours"),
        ("PreRunningDeadlineExceeded", "", "not ready in time"),
        (
            "ValidationFailed",
            "backoffLimit must be positive",
            "the operator refuses it (backoffLimit must be positive)",
        ),
        ("SomethingNew", "words", "it failed (SomethingNew) (words)"),
    ],
)
def test_why_a_rayjob_failed(reason: str, message: str, told: str) -> None:
    line = state(rayjob(jobDeploymentStatus="Failed", jobStatus="FAILED", reason=reason, message=message)).reasons[0]
    assert told in line


@pytest.mark.parametrize(
    ("reason", "message", "told"),
    [
        ("BackoffLimitExceeded", "Job has reached the specified backoff limit", "all its attempts here failed"),
        ("DeadlineExceeded", "Job was active longer than specified deadline", "limits.hours"),
        (
            "PodFailurePolicy",
            "Container job for pod a/b failed with exit code 3 matching FailJob rule at index 0",
            "exit status 3: it failed for good",
        ),
    ],
)
def test_why_a_job_failed(reason: str, message: str, told: str) -> None:
    condition = {"type": "Failed", "status": "True", "reason": reason, "message": message, "lastTransitionTime": LATER}
    told_state = state(job(conditions=[condition], failed=2), ended(3), ended(3) | {})
    assert told in told_state.reasons[0]
    assert told_state.reasons[1].startswith("2 head pods: ray ended with exit status 3")
    assert told_state.finished == LATER


def test_a_job_between_two_pods_says_why_the_last_ended() -> None:
    last = ended(137, "OOMKilled")
    last["metadata"]["labels"]["visionjobs/role"] = "job"
    told = state(job(failed=1), last)
    assert told.retries == 1
    assert "the next begins" in told.reasons[0]
    assert "OOMKilled" in told.reasons[1]


def test_an_operator_that_is_not_there() -> None:
    assert "KubeRay operator has not taken it up" in state(rayjob()).reasons[0]


def test_a_retry_of_the_operator() -> None:
    (line,) = state(rayjob(jobDeploymentStatus="Retrying", failed=1, message="Job failed\nlog")).reasons
    assert line == "an attempt failed (Job failed), and the operator begins the next"
