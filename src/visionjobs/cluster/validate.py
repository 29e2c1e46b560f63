"""Whether the cluster and its operators will take what `render` made, with whatever an overlay changed in it.

An API server checks the schema of a RayJob; KubeRay, Kueue and Pod Security refuse much more, later and out of sight.
All of it is checked here, without a cluster. Every message names the field, what it is, and which key of the job file,
variable or part of the overlay to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from visionjobs.cluster.client import KINDS, Object
from visionjobs.cluster.kueue import QUEUE_LABEL
from visionjobs.cluster.operator_rules import at_least, rayjob_problems
from visionjobs.cluster.pod_rules import pod_problems, secret_texts
from visionjobs.cluster.pod_security import items, mapping, object_restricted_problems, pod_templates
from visionjobs.cluster.run_rules import run_problems
from visionjobs.errors import UserError

LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")

LABEL_SOURCES = {
    "visionjobs/owner": "VISIONJOBS_OWNER",
    "visionjobs/job": "the name of the job file or dataset",
    "visionjobs/run": "the name of the run or sweep",
    QUEUE_LABEL: "VISIONJOBS_QUEUE",
}
"""Label -> what to change where its value is not valid."""


def problems(objects: list[Object]) -> list[str]:
    """All that the cluster would refuse in rendered objects, now or later; empty where it takes them."""
    return [problem for obj in objects for problem in _object_problems(obj)]


def check(objects: list[Object]) -> None:
    """Raises UserError with all problems, one a line."""
    found = problems(objects)
    if found:
        raise UserError("\n".join(found))


def _object_problems(obj: Object) -> Iterator[str]:
    kind, name = str(obj.get("kind")), mapping(obj.get("metadata")).get("name")
    prefix = f"{kind} {name}: "
    if kind == "Secret":
        yield f"{prefix}a Secret in a manifest shows its values to whoever reads it: create it apart (k8s/cluster)"
        return
    if kind not in KINDS or obj.get("apiVersion") != KINDS[kind].api:
        yield f"{prefix}apiVersion is {obj.get('apiVersion')}: remove apiVersion and kind from the overlay"
        return
    yield from (prefix + problem for problem in _names(obj))
    for part in ("metadata", "spec"):
        yield from (prefix + problem for problem in secret_texts(obj.get(part), part))
    if kind == "RayJob":
        yield from (prefix + problem for problem in rayjob_problems(obj))
    if kind == "Job":
        yield from (prefix + problem for problem in _job(obj))
    for path, template in pod_templates(obj):
        yield from (prefix + problem for problem in _labels(template, f"{path}.metadata"))
        yield from (prefix + problem for problem in pod_problems(template, path))
    if kind in ("RayJob", "Job"):
        yield from (prefix + problem for problem in run_problems(obj))
    yield from object_restricted_problems(obj)


def _names(obj: Object) -> Iterator[str]:
    """The name, the namespace and the labels."""
    metadata = mapping(obj.get("metadata"))
    name, namespace = str(metadata.get("name")), str(metadata.get("namespace"))
    if obj.get("kind") != "RayJob" and not DNS_LABEL.fullmatch(name):  # a RayJob's is shorter: operator_rules.py
        yield (
            f'metadata.name "{name}" is no name: expected at most 63 lower-case letters, digits and -, a letter or '
            "digit at both ends; give the job file a shorter name, or --run-id one"
        )
    if not DNS_LABEL.fullmatch(namespace):
        yield f'metadata.namespace "{namespace}" is no name of a namespace: change VISIONJOBS_NAMESPACE'
    queue = mapping(metadata.get("labels")).get(QUEUE_LABEL)
    if queue is not None and not all(DNS_LABEL.fullmatch(part) for part in str(queue).split(".")):  # a subdomain
        yield (
            f'metadata.labels.{QUEUE_LABEL} "{queue}" can be no LocalQueue: expected lower-case letters, digits, - and '
            "., a letter or digit at both ends: change VISIONJOBS_QUEUE"
        )
    yield from _labels(obj, "metadata")


def _labels(obj: Object, where: str) -> Iterator[str]:
    for key, value in mapping(mapping(obj.get("metadata")).get("labels")).items():
        change = LABEL_SOURCES.get(key, "the overlay")
        if not LABEL_KEY.fullmatch(str(key)):
            yield f"{where}.labels: {key} is no name of a label: change {change}"
        if not isinstance(value, str) or not LABEL_VALUE.fullmatch(value):
            yield (
                f"{where}.labels.{key} is {value}; expected at most 63 letters, digits, -, _ and ., in quotes if it is "
                f"a number: change {change}"
            )


def _job(job: Object) -> Iterator[str]:
    """What the API server refuses in a batch/v1 Job, before it is asked."""
    spec = mapping(job.get("spec"))
    least = {"activeDeadlineSeconds": (1, "limits.hours"), "backoffLimit": (0, "limits.attempts")}
    for key, (bound, change) in least.items():
        yield from at_least(spec.get(key), bound, f"spec.{key}", change)
    yield from at_least(spec.get("ttlSecondsAfterFinished"), 0, "spec.ttlSecondsAfterFinished", "the overlay (job)")
    for key in ("parallelism", "completions"):
        if spec.get(key, 1) != 1:
            yield f"spec.{key} is {spec[key]}, and one pod at a time is one attempt: remove it from the overlay (job)"
    pod = mapping(mapping(spec.get("template")).get("spec"))
    if pod.get("restartPolicy") != "Never":
        yield (
            f"spec.template.spec.restartPolicy is {pod.get('restartPolicy', 'missing')}; an attempt is a pod of its "
            "own: write Never in the overlay (job)"
        )
    if "podFailurePolicy" in spec:
        yield from _failure_policy(spec, [mapping(c).get("name") for c in items(pod.get("containers"))])


def _failure_policy(spec: Object, containers: list[Any]) -> Iterator[str]:
    if spec.get("podReplacementPolicy", "Failed") != "Failed":
        yield "spec.podReplacementPolicy must be Failed beside a podFailurePolicy: change the overlay (job)"
    for number, rule in enumerate(items(mapping(spec["podFailurePolicy"]).get("rules"))):
        where = f"spec.podFailurePolicy.rules[{number}]"
        codes = mapping(mapping(rule).get("onExitCodes"))
        if codes.get("containerName") not in (None, *containers):
            yield f"{where} names the container {codes['containerName']}, which is not there: change the overlay (job)"
        if codes.get("operator") == "In" and 0 in items(codes.get("values")):
            yield f"{where} is about exit status 0, which is no failure: change the overlay (job)"
