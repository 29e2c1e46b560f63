"""What KubeRay 1.7 and Kueue 0.19 refuse in a RayJob beyond its schema.

Their API server takes such an object; the operator then fails it, or never starts it. Source: KubeRay's
controllers/ray/utils/validation.go (ValidateRayJobMetadata, ValidateRayJobSpec, ValidateRayClusterSpec,
validateDeletionConfiguration), and Kueue's documentation of RayJobs (kueue.sigs.k8s.io/docs/tasks/run/rayjobs).
Features behind gates that are off by default in KubeRay are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from visionjobs.cluster.client import Object
from visionjobs.cluster.kueue import QUEUE_LABEL
from visionjobs.cluster.pod_security import items, mapping
from visionjobs.errors import nearest

MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")

RAYJOB_NAME = 47
"""Longest name: the operator adds to it for the RayCluster and its pods."""

DNS_1035 = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")

TOKEN_RAY = (2, 52)
"""The first Ray with token authentication."""

KUEUE_GROUPS = 17
"""Most worker groups: a Workload has room for them, the head and the submitter."""

RAY_RESOURCES = {"num-cpus": "cpu", "num-gpus": "nvidia.com/gpu", "memory": "memory", "resources": None}
"""Parameters of `ray start` that say what a container's resources say too."""

GATED = ("networkPolicy", "tlsOptions", "historyServerOptions")
"""Parts of rayClusterSpec behind feature gates."""

DELETION_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")

REMOVE = "remove it from the overlay (rayjob)"
WRITE_MODE = "write submissionMode: K8sJobMode in the overlay (rayjob)"


def rayjob_problems(rayjob: Object) -> list[str]:
    """All that KubeRay and Kueue refuse in a RayJob."""
    spec = mapping(rayjob.get("spec"))
    ray = mapping(spec.get("rayClusterSpec"))
    parts = (_name(rayjob), _mode(spec), _submitter(spec), _ends(spec), _numbers(spec), _deletion(spec), _cluster(ray))
    found = [problem for part in parts for problem in part]
    found += [problem for path, group in groups(ray) for problem in _group(path, group, ray)]
    if QUEUE_LABEL in mapping(mapping(rayjob.get("metadata")).get("labels")):
        found += _kueue(spec, ray)
    return found


def _name(rayjob: Object) -> Iterator[str]:
    name = str(mapping(rayjob.get("metadata")).get("name"))
    if len(name) > RAYJOB_NAME:
        yield (
            f"metadata.name has {len(name)} characters, and a RayJob's has at most {RAYJOB_NAME}: give the job file a "
            "shorter name, or --run-id one"
        )
    if not DNS_1035.fullmatch(name):
        yield (
            f'metadata.name "{name}" is no DNS-1035 label (a letter, then letters, digits and -, in lower case, not '
            "- at the end): give the job file such a name, or --run-id one"
        )


def _mode(spec: Object) -> Iterator[str]:
    """submissionMode, and what each mode excludes."""
    mode = spec.get("submissionMode", "K8sJobMode")
    selector = mapping(spec.get("clusterSelector"))
    if mode not in MODES:
        yield f'spec.submissionMode "{mode}" is none of {", ".join(MODES)}.{nearest(str(mode), MODES)} {WRITE_MODE}'
    if mode == "SidecarMode":
        yield from _sidecar(spec)
    if mode == "InteractiveMode" and spec.get("backoffLimit"):
        yield f"spec.backoffLimit does not go with InteractiveMode: {WRITE_MODE}"
    if mode != "InteractiveMode" and not str(spec.get("entrypoint") or "").strip():
        yield "spec.entrypoint is empty: the overlay has removed it; leave it to visionjobs"
    if selector and spec.get("backoffLimit"):
        yield "spec.backoffLimit does not go with clusterSelector: remove clusterSelector from the overlay (rayjob)"
    if selector and not selector.get("ray.io/cluster"):
        yield f"spec.clusterSelector names no ray.io/cluster: {REMOVE}"
    if not selector and not isinstance(spec.get("rayClusterSpec"), dict):
        yield "spec.rayClusterSpec is missing: the overlay has removed it; leave it to visionjobs"


def _sidecar(spec: Object) -> Iterator[str]:
    head = mapping(mapping(spec.get("rayClusterSpec")).get("headGroupSpec"))
    policy = mapping(mapping(head.get("template")).get("spec")).get("restartPolicy")
    for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
        if spec.get(key):
            yield f"spec.{key} does not go with SidecarMode: {WRITE_MODE}"
    if policy not in (None, "", "Never"):
        yield f"the head's restartPolicy is {policy}, and SidecarMode takes Never: {WRITE_MODE}"


def _submitter(spec: Object) -> Iterator[str]:
    """The submitter is a batch/v1 Job that the operator makes: what that Job would be refused for."""
    template = spec.get("submitterPodTemplate")
    if template is None:
        return
    policy = mapping(mapping(template).get("spec")).get("restartPolicy")
    if policy not in ("Never", "OnFailure"):
        yield (
            f"spec.submitterPodTemplate.spec.restartPolicy is {policy or 'missing'}; a Job takes Never or OnFailure: "
            "write Never in the overlay (rayjob)"
        )


def _ends(spec: Object) -> Iterator[str]:
    """What needs shutdownAfterJobFinishes, and what suspend excludes."""
    shuts_down = spec.get("shutdownAfterJobFinishes") is True
    if spec.get("ttlSecondsAfterFinished") and not shuts_down:
        yield "spec.ttlSecondsAfterFinished needs shutdownAfterJobFinishes: true: write that in the overlay (rayjob)"
    if spec.get("suspend") and not shuts_down:
        yield "spec.suspend needs shutdownAfterJobFinishes: true: remove suspend from the overlay (rayjob)"
    if spec.get("suspend") and spec.get("clusterSelector"):
        yield "spec.suspend does not go with clusterSelector: remove both from the overlay (rayjob)"
    try:
        yaml.safe_load(str(spec.get("runtimeEnvYAML") or ""))
    except yaml.YAMLError:
        yield "spec.runtimeEnvYAML is no YAML: remove it from the overlay (rayjob); code travels by itself"


def _numbers(spec: Object) -> Iterator[str]:
    least = {
        "activeDeadlineSeconds": (1, "limits.hours"),
        "preRunningDeadlineSeconds": (1, "the overlay (rayjob)"),
        "backoffLimit": (0, "limits.attempts"),
        "ttlSecondsAfterFinished": (0, "the overlay (rayjob)"),
    }
    for key, (bound, change) in least.items():
        yield from at_least(spec.get(key), bound, f"spec.{key}", change)
    config = mapping(spec.get("submitterConfig"))
    yield from at_least(config.get("backoffLimit"), 0, "spec.submitterConfig.backoffLimit", "the overlay (rayjob)")


def at_least(value: Any, bound: int, where: str, change: str) -> Iterator[str]:
    """A problem where `value` is there and is no whole number from `bound` to the largest of Kubernetes' int32."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and bound <= value < 2**31):
        return
    yield f"{where} is {value}; expected a whole number from {bound} to {2**31 - 1}: change {change}"


def _deletion(spec: Object) -> Iterator[str]:
    strategy = spec.get("deletionStrategy")
    if strategy is None:
        return
    where, todo = "spec.deletionStrategy", "remove deletionStrategy from the overlay (rayjob)"
    rules = [mapping(rule) for rule in items(mapping(strategy).get("deletionRules"))]
    legacy = [key for key in ("onSuccess", "onFailure") if key in mapping(strategy)]
    if rules and spec.get("shutdownAfterJobFinishes"):
        yield f"{where}.deletionRules does not go with shutdownAfterJobFinishes, which Kueue and the TTL need: {todo}"
    if rules and legacy:
        yield f"{where} has deletionRules and {' and '.join(legacy)}: {todo}"
    if not rules and len(legacy) != 2:
        yield f"{where} has neither deletionRules nor both onSuccess and onFailure: {todo}"
    policies = [mapping(mapping(strategy)[key]).get("policy") for key in legacy]
    if None in policies:
        yield f"{where} has no policy in {' and '.join(legacy)}: {todo}"
    if "DeleteNone" in policies and spec.get("shutdownAfterJobFinishes"):
        yield f"{where} says DeleteNone and shutdownAfterJobFinishes is true: {todo}"
    yield from (f"{where}.deletionRules {problem}: {todo}" for problem in _deletion_rules(rules))


def _deletion_rules(rules: list[Object]) -> Iterator[str]:
    seen: dict[tuple[str, str], dict[str, int]] = {}
    for rule in rules:
        condition, policy = mapping(rule.get("condition")), str(rule.get("policy"))
        if ("jobStatus" in condition) == ("jobDeploymentStatus" in condition):
            yield "need one of jobStatus and jobDeploymentStatus each"
        yield from at_least(condition.get("ttlSeconds"), 0, "have a ttlSeconds that", "it")
        seconds = condition.get("ttlSeconds")
        ends = seen.setdefault((str(condition.get("jobStatus")), str(condition.get("jobDeploymentStatus"))), {})
        if policy in ends:
            yield f"say {policy} twice for the same state"
        ends[policy] = seconds if isinstance(seconds, int) else 0
    for ends in seen.values():
        order = [ends[policy] for policy in DELETION_ORDER if policy in ends]
        if order != sorted(order):
            yield "delete the job before its cluster, or the cluster before its workers"


def _cluster(ray: Object) -> Iterator[str]:
    """The RayCluster as a whole."""
    version, auth = str(ray.get("rayVersion") or ""), mapping(ray.get("authOptions"))
    if auth.get("mode") != "token":
        yield (
            f"spec.rayClusterSpec.authOptions.mode is {auth.get('mode', 'missing')}: whoever reaches the dashboard may "
            "run anything; write token in the overlay (rayjob)"
        )
    number = re.match(r"(\d+)\.(\d+)", version)
    if number is None or tuple(map(int, number.groups())) < TOKEN_RAY:
        yield (
            f"spec.rayClusterSpec.rayVersion is {version or 'missing'}; tokens need 2.52 or newer: leave "
            "it to visionjobs"
        )
    if auth.get("enableK8sTokenAuth"):
        yield f"spec.rayClusterSpec.authOptions.enableK8sTokenAuth is not for RayJobs: {REMOVE}"
    for key in GATED:
        if key in ray:
            yield f"spec.rayClusterSpec.{key} needs a feature gate of the operator: {REMOVE}"
    if mapping(ray.get("upgradeStrategy")).get("type"):
        yield f"spec.rayClusterSpec.upgradeStrategy is not for RayJobs: {REMOVE}"
    env = {
        str(mapping(entry).get("name")): mapping(entry).get("value") for entry in items(_ray_container(ray).get("env"))
    }
    if "RAY_REDIS_ADDRESS" in env or "REDIS_USERNAME" in env:
        yield "the head's RAY_REDIS_ADDRESS or REDIS_USERNAME is for a GCS in Redis: remove it from the overlay"
    if env.get("RAY_enable_autoscaler_v2") in ("1", "true") and not ray.get("enableInTreeAutoscaling"):
        yield "the head's RAY_enable_autoscaler_v2 needs enableInTreeAutoscaling: remove it from the overlay"


def _ray_container(group: Object) -> Object:
    """The container that runs Ray: the first."""
    head = mapping(group.get("headGroupSpec")) if "headGroupSpec" in group else group
    containers = items(mapping(mapping(head.get("template")).get("spec")).get("containers"))
    return mapping(containers[0]) if containers else {}


def groups(ray: Object) -> Iterator[tuple[str, Object]]:
    """The head and the groups of workers of a rayClusterSpec, each after its path in the RayJob."""
    yield "spec.rayClusterSpec.headGroupSpec", mapping(ray.get("headGroupSpec"))
    for number, group in enumerate(items(ray.get("workerGroupSpecs"))):
        yield f"spec.rayClusterSpec.workerGroupSpecs[{number}]", mapping(group)


def _group(path: str, group: Object, ray: Object) -> Iterator[str]:
    """The head, or a group of workers."""
    params = mapping(group.get("rayStartParams"))
    given = mapping(mapping(_ray_container(group).get("resources")).get("limits"))
    for key, resource in RAY_RESOURCES.items():
        if key in params and group.get("resources"):
            yield f"{path} has {key} in rayStartParams, and `resources` too: {REMOVE}"
        elif key in params and resource in given:
            yield f"{path} has {key} in rayStartParams, and its container has {resource}: {REMOVE}"
    if "labels" in params:
        yield f"{path} has labels in rayStartParams: write them into its `labels` in the overlay (rayjob)"
    for key in sorted({"redis-username", "redis-password"} & params.keys()):
        yield f"{path} has {key} in rayStartParams, which is for a GCS in Redis: {REMOVE}"
    if "workerGroupSpecs" in path:
        yield from _replicas(path, group, bool(ray.get("enableInTreeAutoscaling")))


def _replicas(path: str, group: Object, autoscales: bool) -> Iterator[str]:
    name = str(group.get("groupName"))
    if not DNS_1035.fullmatch(name):  # it becomes part of the names of the pods
        yield f'{path}.groupName "{name}" is no DNS-1035 label: change it in the overlay (rayjob)'
    counts = {key: group.get(key) for key in ("minReplicas", "replicas", "maxReplicas")}
    for key, value in counts.items():
        if value is None and not (autoscales and key != "replicas"):
            yield f"{path}.{key} is missing: the overlay has removed it; leave it to visionjobs (resources.workers)"
        yield from at_least(value, 0, f"{path}.{key}", "resources.workers in the job file")
    whole = [value for value in counts.values() if isinstance(value, int)]
    if whole != sorted(whole):
        yield f"{path}: minReplicas, replicas and maxReplicas are {counts}: change resources.workers in the job file"
    if group.get("suspend"):
        yield f"{path}.suspend needs a feature gate of the operator: {REMOVE}"
    if group.get("idleTimeoutSeconds") is not None and not autoscales:
        yield f"{path}.idleTimeoutSeconds is for the autoscaler: {REMOVE}"


def _kueue(spec: Object, ray: Object) -> Iterator[str]:
    """Limits of Kueue, for a RayJob that names a queue."""
    todo = "change the overlay (rayjob), or unset VISIONJOBS_QUEUE"
    groups = [str(mapping(group).get("groupName")) for group in items(ray.get("workerGroupSpecs"))]
    if len(groups) > KUEUE_GROUPS:
        yield f"spec.rayClusterSpec.workerGroupSpecs has {len(groups)} groups, and Kueue takes {KUEUE_GROUPS}: {todo}"
    if "head" in groups:
        yield f'spec.rayClusterSpec.workerGroupSpecs: Kueue keeps the name "head" for the head: {todo}'
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield f"spec.shutdownAfterJobFinishes must be true for Kueue, or its quota is never free again: {todo}"
    if spec.get("clusterSelector"):
        yield f"spec.clusterSelector does not go with Kueue: {todo}"
    if ray.get("enableInTreeAutoscaling"):
        yield f"spec.rayClusterSpec.enableInTreeAutoscaling does not go with Kueue: {todo}"
