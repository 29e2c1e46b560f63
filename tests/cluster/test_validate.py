"""Every rule refuses what breaks it, with the field and what to change; good objects pass."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from good_objects import Object, good_job, good_rayjob, planted

from visionjobs.cluster.validate import check, problems
from visionjobs.errors import UserError

RAY = "spec.rayClusterSpec"
HEAD = f"{RAY}.headGroupSpec"
WORKERS = f"{RAY}.workerGroupSpecs.0"
MAIN = f"{WORKERS}.template.spec.containers.0"
QUEUE = "metadata.labels.kueue"
LABELS = {"kueue.x-k8s.io/queue-name": "visionjobs"}

RAYJOB_BREAKS: list[tuple[str, Any, str, str]] = [
    # path, value, a word of what is wrong, what to change
    ("apiVersion", "ray.io/v1alpha1", "apiVersion is ray.io/v1alpha1", "overlay"),
    ("kind", "CronJob", "apiVersion is", "overlay"),
    ("metadata.name", "a" * 48, "at most 47", "job file"),
    ("metadata.name", "1run", "DNS-1035", "--run-id"),
    ("metadata.name", "run_1", "DNS-1035", "--run-id"),
    ("metadata.name", "run-", "DNS-1035", "--run-id"),
    ("metadata.namespace", "Vision", "namespace", "VISIONJOBS_NAMESPACE"),
    ("metadata.labels", {"visionjobs/owner": "jane doe"}, "visionjobs/owner", "VISIONJOBS_OWNER"),
    ("metadata.labels", {"visionjobs/job": "a" * 64}, "visionjobs/job", "job file"),
    ("metadata.labels", {"kueue.x-k8s.io/queue-name": "my queue"}, "queue-name", "VISIONJOBS_QUEUE"),
    ("metadata.labels", {"a b": "c"}, "no name of a label", "overlay"),
    (f"{WORKERS}.template.metadata.labels", {"team": 7}, "is 7", "overlay"),
    ("spec.submissionMode", "K8SJobMode", 'mean "K8sJobMode"', "overlay"),
    ("spec.submissionMode", "SidecarMode", "submitterPodTemplate does not go", "K8sJobMode"),
    ("spec.submissionMode", "SidecarMode", "submitterConfig does not go", "K8sJobMode"),
    ("spec.submissionMode", "InteractiveMode", "backoffLimit", "K8sJobMode"),
    ("spec.entrypoint", "", "entrypoint is empty", "visionjobs"),
    ("spec.clusterSelector", {"ray.io/cluster": "c"}, "backoffLimit", "overlay"),
    ("spec.clusterSelector", {"other": "c"}, "no ray.io/cluster", "overlay"),
    ("spec.rayClusterSpec", None, "rayClusterSpec is missing", "overlay"),
    ("spec.shutdownAfterJobFinishes", False, "ttlSecondsAfterFinished needs", "overlay"),
    ("spec.ttlSecondsAfterFinished", -1, "is -1", "overlay"),
    ("spec.activeDeadlineSeconds", 0, "is 0", "limits.hours"),
    ("spec.preRunningDeadlineSeconds", 0, "is 0", "overlay"),
    ("spec.backoffLimit", -1, "is -1", "limits.attempts"),
    ("spec.backoffLimit", 1.5, "is 1.5", "limits.attempts"),
    ("spec.submitterConfig.backoffLimit", -1, "is -1", "overlay"),
    ("spec.runtimeEnvYAML", "a: [", "no YAML", "overlay"),
    ("spec.submitterPodTemplate", None, "no securityContext", "k8s/job"),
    ("spec.submitterPodTemplate.spec.restartPolicy", None, "restartPolicy is missing", "overlay"),
    ("spec.submitterPodTemplate.spec.restartPolicy", "Always", "restartPolicy is Always", "overlay"),
    ("spec.submitterPodTemplate.spec.containers", [], "containers is empty", "overlay"),
    ("spec.deletionStrategy", {"deletionRules": [{"policy": "DeleteSelf"}]}, "deletionRules does not go", "overlay"),
    ("spec.deletionStrategy", {}, "neither", "overlay"),
    ("spec.deletionStrategy", {"onSuccess": {"policy": "DeleteSelf"}}, "neither", "overlay"),
    (
        "spec.deletionStrategy",
        {"onSuccess": {"policy": "DeleteNone"}, "onFailure": {"policy": "DeleteSelf"}},
        "DeleteNone",
        "overlay",
    ),
    ("spec.deletionStrategy", {"onSuccess": {}, "onFailure": {"policy": "DeleteSelf"}}, "no policy", "overlay"),
    (f"{RAY}.authOptions", {}, "authOptions.mode is missing", "overlay"),
    (f"{RAY}.authOptions.mode", "disabled", "authOptions.mode is disabled", "overlay"),
    (f"{RAY}.authOptions.enableK8sTokenAuth", True, "enableK8sTokenAuth", "overlay"),
    (f"{RAY}.rayVersion", "2.9.3", "2.52", "visionjobs"),
    (f"{RAY}.rayVersion", "2.51.9", "2.52", "visionjobs"),
    (f"{RAY}.rayVersion", None, "rayVersion is missing", "visionjobs"),
    (f"{RAY}.networkPolicy", {}, "feature gate", "overlay"),
    (f"{RAY}.tlsOptions", {"enabled": True}, "feature gate", "overlay"),
    (f"{RAY}.historyServerOptions", {}, "feature gate", "overlay"),
    (f"{RAY}.upgradeStrategy", {"type": "Recreate"}, "upgradeStrategy", "overlay"),
    (f"{HEAD}.template.spec.containers.0.env", [{"name": "RAY_REDIS_ADDRESS", "value": "r:6379"}], "Redis", "overlay"),
    (
        f"{HEAD}.template.spec.containers.0.env",
        [{"name": "RAY_enable_autoscaler_v2", "value": "1"}],
        "enableInTreeAutoscaling",
        "overlay",
    ),
    (f"{HEAD}.rayStartParams.num-cpus", "0", "`resources` too", "overlay"),
    (f"{WORKERS}.rayStartParams.num-gpus", "1", "its container has nvidia.com/gpu", "overlay"),
    (f"{WORKERS}.rayStartParams.memory", "1", "its container has memory", "overlay"),
    (f"{WORKERS}.rayStartParams.labels", "a=b", "labels in rayStartParams", "overlay"),
    (f"{HEAD}.rayStartParams.redis-password", "x", "redis-password", "overlay"),
    (f"{WORKERS}.groupName", "Group 1", "DNS-1035", "overlay"),
    (f"{WORKERS}.minReplicas", None, "minReplicas is missing", "resources.workers"),
    (f"{WORKERS}.maxReplicas", None, "maxReplicas is missing", "resources.workers"),
    (f"{WORKERS}.replicas", -2, "is -2", "resources.workers"),
    (f"{WORKERS}.minReplicas", 3, "minReplicas, replicas and maxReplicas", "resources.workers"),
    (f"{WORKERS}.suspend", True, "feature gate", "overlay"),
    (f"{WORKERS}.idleTimeoutSeconds", 60, "autoscaler", "overlay"),
    (f"{MAIN}.resources.limits", {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "0.5"}, "whole", "resources.gpus"),
    (f"{MAIN}.resources.limits", {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": 2}, "the same", "resources.gpus"),
    (f"{MAIN}.resources.limits", {"cpu": "4", "memory": "8Gi"}, "nvidia.com/gpu is missing", "resources.gpus"),
    (f"{MAIN}.resources.limits.memory", "9Gi", "the same", "resources.memory"),
    (f"{MAIN}.resources.limits.memory", "8GB", "no amount", "resources.memory"),
    (f"{MAIN}.resources.limits.cpu", None, "cpu is missing", "resources.cpus"),
    (f"{MAIN}.resources.requests.cpu", "-1", "no amount", "resources.cpus"),
    (f"{WORKERS}.template.spec.volumes.1.emptyDir.sizeLimit", "9Gi", "in memory", "resources.memory"),
    (f"{WORKERS}.template.spec.volumes.1.emptyDir.sizeLimit", None, "without a sizeLimit", "overlay"),
    (f"{WORKERS}.template.spec.volumes.0.persistentVolumeClaim", {"claimName": "c"}, "keep one", "null"),
    (f"{WORKERS}.template.spec.volumes.0.name", "shm", "stands twice", "overlay"),
    (f"{WORKERS}.template.spec.volumes.0.name", "scratch", "not there", "overlay"),
    (f"{MAIN}.name", "code", "stands twice", "overlay"),
    (f"{MAIN}.volumeMounts.0.mountPath", "/dev/shm", "two volumes", "overlay"),  # noqa: S108
    (f"{MAIN}.image", "registry:5000/visionjobs", "latest", "VISIONJOBS_IMAGE"),
    (f"{MAIN}.image", "visionjobs:latest", "latest", "VISIONJOBS_IMAGE"),
    (f"{MAIN}.image", None, "names no image", "VISIONJOBS_IMAGE"),
    (f"{MAIN}.image", "vision jobs:1", "names no image", "VISIONJOBS_IMAGE"),
    (f"{MAIN}.env.0", {"name": "WANDB_API_KEY", "value": "x"}, "credential", "secretKeyRef"),
    (f"{MAIN}.env.0", {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}, "stands twice", "overlay"),
    (f"{MAIN}.env.1.value", "x", "credential", "secretKeyRef"),
    (f"{MAIN}.env.0", {"name": "AWS_SESSION_TOKEN", "value": ""}, "credential", "secretKeyRef"),
    (f"{MAIN}.env.0", {"name": "DB_PASSWORD", "valueFrom": {"configMapKeyRef": {}}}, "credential", "secretKeyRef"),
    (f"{MAIN}.env.0", {"name": "VISIONJOBS_NOTIFY_URL", "value": "https://h"}, "credential", "secretKeyRef"),
    (f"{MAIN}.env.0", {"name": "AWS_ENDPOINT_URL", "value": "http://me:pw@s3:1"}, "password", "VISIONJOBS_SECRET"),
    ("metadata.annotations", {"note": "AKIAABCDEFGHIJKLMNOP"}, "AWS access key", "VISIONJOBS_SECRET"),
    ("spec.entrypoint", "visionjobs import s3://k:secret@bucket/x", "password", "VISIONJOBS_SECRET"),
    ("metadata.annotations", {"note": "-----BEGIN RSA PRIVATE KEY-----"}, "private key", "VISIONJOBS_SECRET"),
    (f"{WORKERS}.template.spec.terminationGracePeriodSeconds", 119, "is 119", "overlay"),
    (f"{WORKERS}.template.spec.terminationGracePeriodSeconds", None, "missing (30)", "overlay"),
    (f"{WORKERS}.template.spec.hostNetwork", True, "hostNetwork", "leave it out"),
]

JOB_BREAKS: list[tuple[str, Any, str, str]] = [
    ("metadata.name", "a" * 64, "at most 63", "job file"),
    ("metadata.name", "run_1", "no name", "--run-id"),
    ("spec.backoffLimit", -1, "is -1", "limits.attempts"),
    ("spec.activeDeadlineSeconds", 0, "is 0", "limits.hours"),
    ("spec.ttlSecondsAfterFinished", -1, "is -1", "overlay"),
    ("spec.parallelism", 2, "one pod at a time", "overlay"),
    ("spec.completions", 2, "one pod at a time", "overlay"),
    ("spec.template.spec.restartPolicy", "OnFailure", "is OnFailure", "overlay"),
    ("spec.podReplacementPolicy", "TerminatingOrFailed", "podReplacementPolicy", "overlay"),
    ("spec.podFailurePolicy.rules.0.onExitCodes.containerName", "main", "container main", "overlay"),
    ("spec.podFailurePolicy.rules.0.onExitCodes.values", [0, 3], "exit status 0", "overlay"),
    ("spec.template.spec.containers.0.image", "visionjobs", "latest", "VISIONJOBS_IMAGE"),
    ("spec.template.spec.terminationGracePeriodSeconds", 30, "is 30", "overlay"),
    ("spec.template.spec.hostNetwork", True, "hostNetwork", "leave it out"),
    ("spec.template.spec.containers", None, "containers is empty", "overlay"),
]


def ids(breaks: list[tuple[str, Any, str, str]]) -> list[str]:
    return [f"{path}-{what}" for path, _, what, _ in breaks]


def test_good_objects_pass():
    check([good_rayjob(), good_rayjob(groups=3), good_job()])


@pytest.mark.parametrize(("path", "value", "what", "change"), RAYJOB_BREAKS, ids=ids(RAYJOB_BREAKS))
def test_a_rayjob(path: str, value: Any, what: str, change: str):
    found = problems([planted(good_rayjob(), path, value)])
    assert any(what in problem and change in problem for problem in found), found
    assert all(problem.startswith(("RayJob ", "CronJob ")) and "\n" not in problem for problem in found)


@pytest.mark.parametrize(("path", "value", "what", "change"), JOB_BREAKS, ids=ids(JOB_BREAKS))
def test_a_job(path: str, value: Any, what: str, change: str):
    found = problems([planted(good_job(), path, value)])
    assert any(what in problem and change in problem for problem in found), found


def test_one_mistake_is_one_message():
    for path, value in (("metadata.name", "a" * 48), (f"{WORKERS}.template.spec.hostNetwork", True)):
        assert len(problems([planted(good_rayjob(), path, value)])) == 1


@pytest.mark.parametrize("mode", ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"])
def test_each_mode_has_its_own_rules(mode: str):
    """Without what a mode excludes, only what no pod of ours may do is left."""
    rayjob = planted(good_rayjob(), "spec.submissionMode", mode)
    if mode != "K8sJobMode":
        del rayjob["spec"]["submitterPodTemplate"], rayjob["spec"]["submitterConfig"], rayjob["spec"]["backoffLimit"]
    found = problems([rayjob])
    assert all("restricted" in problem for problem in found), found
    assert bool(found) is (mode == "SidecarMode")
    planted(rayjob, f"{HEAD}.template.spec.restartPolicy", "Always")
    told = any("SidecarMode takes Never" in problem for problem in problems([rayjob]))
    assert told is (mode == "SidecarMode")


def test_suspend():
    rayjob = planted(good_rayjob(), "spec.suspend", True)
    assert problems([rayjob]) == []
    selecting = planted(copy.deepcopy(rayjob), "spec.clusterSelector", {"ray.io/cluster": "c"})
    assert any("spec.suspend does not go with clusterSelector" in problem for problem in problems([selecting]))
    del rayjob["spec"]["ttlSecondsAfterFinished"]
    planted(rayjob, "spec.shutdownAfterJobFinishes", False)
    assert len(problems([rayjob])) == 1
    assert "spec.suspend needs shutdownAfterJobFinishes" in problems([rayjob])[0]


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        ([("DeleteSelf", "SUCCEEDED", 10), ("DeleteCluster", "SUCCEEDED", 20)], "before its cluster"),
        ([("DeleteSelf", "SUCCEEDED", 10), ("DeleteSelf", "SUCCEEDED", 20)], "twice"),
        ([("DeleteSelf", "SUCCEEDED", -1)], "is -1"),
        ([("DeleteSelf", None, 1)], "one of jobStatus"),
    ],
)
def test_deletion_rules(rules: list[tuple[str, str | None, int]], what: str):
    def strategy(cases: list[tuple[str, str | None, int]]) -> Object:
        made = []
        for policy, status, seconds in cases:
            condition = {"ttlSeconds": seconds} | ({"jobStatus": status} if status else {})
            made.append({"policy": policy, "condition": condition})
        return {"deletionRules": made}

    rayjob = planted(good_rayjob(), "spec.shutdownAfterJobFinishes", None)
    del rayjob["spec"]["ttlSecondsAfterFinished"]
    good = strategy([("DeleteCluster", "SUCCEEDED", 10), ("DeleteSelf", "SUCCEEDED", 20), ("DeleteSelf", "FAILED", 0)])
    assert problems([planted(rayjob, "spec.deletionStrategy", good)]) == []
    both = good | {key: {"policy": "DeleteSelf"} for key in ("onSuccess", "onFailure")}
    found = problems([planted(rayjob, "spec.deletionStrategy", both)])
    assert len(found) == 1
    assert "has deletionRules and onSuccess and onFailure" in found[0]
    found = problems([planted(rayjob, "spec.deletionStrategy", strategy(rules))])
    assert len(found) == 1
    assert what in found[0]


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (f"{WORKERS}.groupName", "head", '"head"'),
        ("spec.shutdownAfterJobFinishes", False, "must be true for Kueue"),
        ("spec.clusterSelector", {"ray.io/cluster": "c"}, "clusterSelector does not go with Kueue"),
        (f"{RAY}.enableInTreeAutoscaling", True, "enableInTreeAutoscaling"),
    ],
)
def test_kueue(path: str, value: Any, what: str):
    queued = planted(good_rayjob(groups=17), "metadata.labels", LABELS)
    assert problems([queued]) == []
    found = problems([planted(queued, path, value)])
    assert any(what in problem and "VISIONJOBS_QUEUE" in problem for problem in found)
    del queued["metadata"]["labels"]
    assert not any("Kueue" in problem for problem in problems([queued]))


def test_kueue_counts_groups():
    rayjob = good_rayjob(groups=18)
    assert problems([rayjob]) == []
    found = problems([planted(rayjob, "metadata.labels", LABELS)])
    assert len(found) == 1
    assert "18 groups, and Kueue takes 17" in found[0]


def test_check_tells_all_problems_at_once():
    rayjob = planted(planted(good_rayjob(), "spec.backoffLimit", -1), f"{MAIN}.image", "visionjobs")
    with pytest.raises(UserError) as raised:
        check([rayjob, good_job()])
    assert len(str(raised.value).splitlines()) == 2
    assert raised.value.exit_status == 2


@pytest.mark.parametrize("value", [None, 3, "text", [], [3], {}, {"a": 1}])
def test_what_an_overlay_may_have_made_is_no_traceback(value: Any):
    for obj in (good_rayjob(), good_job()):
        for path in paths_of(obj):
            problems([planted(copy.deepcopy(obj), path, value)])


def paths_of(node: Any, prefix: str = "") -> list[str]:
    """Every path in an object."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    keys = [(f"{prefix}{key}", item) for key, item in entries if "." not in str(key)]
    return [path for key, item in keys for path in (key, *paths_of(item, f"{key}."))]
