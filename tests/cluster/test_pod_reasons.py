"""Why a pod does not run, told from what the scheduler, kubelets and controllers write."""

from __future__ import annotations

import pytest
from cluster_objects import (
    LATER,
    Object,
    container,
    ended,
    pod,
    running,
    waiting,
)

from visionjobs.cluster.pod_reasons import explain_unschedulable, pod_reason


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "0/5 nodes are available: 5 Insufficient nvidia.com/gpu.",
            ["0/5 nodes fit", "5 node(s) with too little nvidia.com/gpu", "resources.workers"],
        ),
        (
            "0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient memory. "
            "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
            ["too little cpu", "resources.cpus", "too little memory", "resources.memory"],
        ),
        (
            "0/2 nodes are available: 2 node(s) had untolerated taint {nvidia.com/gpu: present}.",
            ["taint nvidia.com/gpu", "toleration", "overlay"],
        ),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", ["nodeSelector"]),
        ("0/2 nodes are available: 2 node(s) were unschedulable.", ["cordoned"]),
        ("0/1 nodes are available: 1 Too many pods.", ["wait"]),
        ("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", ["PersistentVolumeClaim"]),
        ("0/2 nodes are available: 2 Insufficient example.com/fpga.", ["example.com/fpga", "overlay"]),
        ("no nodes available to schedule pods", ["no nodes available"]),
        ("0/2 nodes are available: 2 something new. preemption: not helpful.", ["2 something new"]),
        ("", ["no node fits"]),
    ],
)
def test_unschedulable_names_the_resource(message: str, told: list[str]) -> None:
    explained = explain_unschedulable(message)
    assert all(part in explained for part in told), explained
    assert "preemption" not in explained


DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
FETCH = {"terminated": {"exitCode": 4, "reason": "Error"}}


@pytest.mark.parametrize(
    ("obj", "told"),
    [
        (waiting("ErrImagePull", "manifest unknown"), ["example/visionjobs:1", "manifest unknown", "VISIONJOBS_IMAGE"]),
        (waiting("ImagePullBackOff"), ["cannot be pulled, ImagePullBackOff", "make push"]),
        (waiting("InvalidImageName"), ["InvalidImageName"]),
        (waiting("CreateContainerConfigError", 'secret "visionjobs" not found'), ["no Secret visionjobs"]),
        (
            waiting("CreateContainerConfigError", "couldn't find key AWS_ACCESS_KEY_ID in Secret team/visionjobs"),
            ["Secret visionjobs has no key AWS_ACCESS_KEY_ID"],
        ),
        (waiting("CreateContainerError", "no such device"), ["cannot be made", "no such device"]),
        (waiting("CrashLoopBackOff", "back-off 10s"), ["CrashLoopBackOff: back-off 10s"]),
        (ended(137, "OOMKilled"), ["OOMKilled", "resources.memory", "train.batch"]),
        (
            pod(
                phase="Running",
                containerStatuses=container(
                    {"waiting": {"reason": "CrashLoopBackOff"}},
                    last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                ),
            ),
            ["OOMKilled"],
        ),
        (ended(137), ["was killed (exit 137)"]),
        (ended(3), ["exit status 3", "failed for good"]),
        (ended(2), ["exit status 2", "mistake"]),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
            ["evicted", "resources.memory"],
        ),
        (
            pod(phase="Failed", reason="Evicted", message='Usage of EmptyDir volume "cache" exceeds the limit "1Gi".'),
            ["evicted", "sizeLimit in the overlay"],
        ),
        (
            pod(phase="Failed", reason="Preempting", message="Preempted in order to admit critical pod"),
            ["preempted", "next attempt"],
        ),
        (pod(phase="Failed", conditions=DISRUPTED), ["preempted by a pod of higher priority"]),
        (
            pod(phase="Failed", reason="OutOfnvidia.com/gpu", message="not enough"),
            ["OutOfnvidia.com/gpu", "not enough"],
        ),
        (pod(initContainerStatuses=container(FETCH, "fetch-code")), ["code that travels", "exit 4"]),
        (pod(initContainerStatuses=container(FETCH, "wait-gcs")), ["init container wait-gcs failed"]),
        (pod(phase="Unknown"), ["node does not answer"]),
        (
            pod(node=None, conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]),
            ["queue"],
        ),
    ],
)
def test_each_reason_of_a_pod(obj: Object, told: list[str]) -> None:
    reason = pod_reason(obj, [])
    assert reason is not None
    assert all(part in reason for part in told), reason
    assert "\n" not in reason


def test_nothing_wrong_is_no_reason() -> None:
    for obj in (pod(), running(), ended(0, "Completed"), waiting("ContainerCreating"), waiting("PodInitializing")):
        assert pod_reason(obj, []) is None


def test_a_pod_that_was_told_to_stop() -> None:
    obj = running()
    obj["metadata"] |= {"deletionTimestamp": LATER, "deletionGracePeriodSeconds": 180}
    assert "180 s to write a checkpoint" in (pod_reason(obj, []) or "")
