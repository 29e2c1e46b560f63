"""The state of a job, told from objects as the operator, the controllers, the scheduler and kubelets write them."""

from __future__ import annotations

import pytest
from cluster_objects import (
    CREATED,
    LABELS,
    LATER,
    Object,
    ended,
    event,
    job,
    pod,
    rayjob,
    running,
    state,
    unschedulable,
    waiting,
)


@pytest.mark.parametrize(
    ("obj", "pods", "phase"),
    [
        (rayjob(), [], "pending"),
        (rayjob({"suspend": True}), [], "queued"),
        (rayjob(jobDeploymentStatus="Suspended"), [], "queued"),
        (rayjob(jobDeploymentStatus="Suspending"), [running()], "queued"),
        (rayjob(jobDeploymentStatus="Initializing"), [], "pending"),
        (rayjob(jobDeploymentStatus="Initializing"), [pod(node=None)], "pending"),
        (rayjob(jobDeploymentStatus="Initializing"), [running(), unschedulable("", "w", "worker")], "pending"),
        (rayjob(jobDeploymentStatus="Initializing"), [pod()], "starting"),
        (rayjob(jobDeploymentStatus="Initializing"), [waiting("ContainerCreating")], "starting"),
        (rayjob(jobDeploymentStatus="Initializing"), [waiting("ErrImagePull")], "pending"),
        (rayjob(jobDeploymentStatus="Running"), [running()], "starting"),
        (rayjob(jobDeploymentStatus="Running", jobStatus="PENDING"), [running()], "starting"),
        (rayjob(jobDeploymentStatus="Running", jobStatus="RUNNING"), [running()], "running"),
        (rayjob(jobDeploymentStatus="Retrying", failed=1), [], "starting"),
        (rayjob(jobDeploymentStatus="Complete", jobStatus="SUCCEEDED"), [], "succeeded"),
        (rayjob(jobDeploymentStatus="Complete", jobStatus="STOPPED"), [], "failed"),
        (rayjob(jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed"), [], "failed"),
        (rayjob(jobDeploymentStatus="ValidationFailed", reason="ValidationFailed"), [], "failed"),
        (rayjob(jobDeploymentStatus="Running", jobStatus="RUNNING", deleted=True), [running()], "stopping"),
        (job(), [], "pending"),
        (job({"suspend": True}), [], "queued"),
        (job(active=1), [pod()], "starting"),
        (job(active=1), [running()], "running"),
        (job(active=1, failed=1), [ended(1), running()], "running"),
        (job(failed=1), [ended(1)], "pending"),
        (job(conditions=[{"type": "Complete", "status": "True"}], succeeded=1), [ended(0)], "succeeded"),
        (job(conditions=[{"type": "Failed", "status": "True"}], failed=1), [ended(1)], "failed"),
        (job(conditions=[{"type": "Suspended", "status": "True"}]), [], "queued"),
        (job(conditions=[{"type": "Suspended", "status": "False"}], active=1), [running()], "running"),
    ],
)
def test_each_phase(obj: Object, pods: list[Object], phase: str) -> None:
    told = state(obj, *pods)
    assert told.phase == phase
    assert told.ended == (phase in ("succeeded", "failed"))
    assert all("\n" not in reason for reason in told.reasons)


def test_what_a_state_holds() -> None:
    obj = rayjob(
        jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed", failed=2, startTime=CREATED,
        endTime=LATER, message="Job entrypoint command failed with exit code 3, last available logs:\nTraceback",
    )  # fmt: skip
    told = state(obj, running("submit", "submitter"), ended(3))
    assert (told.name, told.backend, told.kind, told.job, told.owner) == (
        "deeplab-1",
        "rayjob",
        "run",
        "deeplab",
        "jane",
    )
    assert (told.created, told.started, told.finished, told.retries) == (CREATED, CREATED, LATER, 2)
    by_name = {part.name: part for part in told.pods}
    assert (by_name["submit"].role, by_name["submit"].started, by_name["submit"].ended) == ("submitter", LATER, False)
    assert (by_name["head"].node, by_name["head"].container, by_name["head"].ended) == ("n1", "ray", True)
    assert told.reasons[0].startswith("its command ended with exit status 3: it failed for good")


def test_a_volume_that_is_not_mounted_is_told_from_events() -> None:
    failed = event("Pod", "head", "FailedMount", 'MountVolume.SetUp failed for volume "x" : secret "x" not found')
    other = event("Pod", "somebody-elses", "FailedMount", "not ours")
    told = state(rayjob(jobDeploymentStatus="Initializing"), pod(), events=(failed, other))
    assert told.phase == "pending"
    assert told.reasons == [
        'head pod head: FailedMount: MountVolume.SetUp failed for volume "x" : secret "x" not found'
    ]


def test_reasons_of_equal_workers_are_one_line() -> None:
    lacks = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    workers = [unschedulable(lacks, f"w{index}", "worker") for index in range(4)]
    told = state(rayjob(jobDeploymentStatus="Initializing"), running(), *workers)
    (reason,) = told.reasons
    assert reason.startswith("4 worker pods: unschedulable: 0/2 nodes fit; 2 node(s) with too little nvidia.com/gpu")


def test_a_head_that_died_is_told_while_the_submitter_still_runs() -> None:
    obj = rayjob(jobDeploymentStatus="Running", jobStatus="RUNNING")
    (reason,) = state(obj, ended(137, "OOMKilled"), running("submit", "submitter")).reasons
    assert reason.startswith("head pod head: ray ran out of memory")


def test_the_submitter_ends_because_the_head_did() -> None:
    submitter = ended(1)
    submitter["metadata"] |= {"name": "submit", "labels": LABELS | {"visionjobs/role": "submitter"}}
    obj = rayjob(jobDeploymentStatus="Running", jobStatus="RUNNING")
    assert [reason.split(":")[0] for reason in state(obj, ended(137, "OOMKilled"), submitter).reasons] == [
        "head pod head"
    ]
    (alone,) = state(obj, running(), submitter).reasons
    assert alone.startswith("submitter pod submit: ray ended with exit status 1")
