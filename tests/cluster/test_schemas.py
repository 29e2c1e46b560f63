"""The stand-in for an API server (schemas.py) refuses what a real one would: at any depth, and by every CEL rule."""

from __future__ import annotations

from typing import Any

import pytest
from good_objects import good_job, good_rayjob, planted
from schemas import cel_problems, cel_rules, rayjob_schema, schema_problems, server_problems

RAY = "spec.rayClusterSpec"
HEAD = f"{RAY}.headGroupSpec"
WORKERS = f"{RAY}.workerGroupSpecs.0"
MAIN = f"{WORKERS}.template.spec.containers.0"
BOTH_STATES = {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed"}


def test_good_objects_pass():
    assert [server_problems(obj) for obj in (good_rayjob(groups=3), good_job())] == [[], []]


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("spec.ttlSecondsAfterFinishd", 60, "ttlSecondsAfterFinishd"),
        (f"{HEAD}.template.spec.securityContext.runAsNonRot", True, "runAsNonRot"),
        (f"{WORKERS}.template.spec.containers.0.resources.limit", {}, "limit"),
        (f"{MAIN}.env.1.valueFrom.secretKeyRef.nam", "x", "nam"),
        ("spec.submitterPodTemplate.spec.volumes.1.emptyDir.sizelimit", "1Gi", "sizelimit"),
        (f"{WORKERS}.replicas", "2", "integer"),
        (f"{WORKERS}.replicas", 2**31, "maximum"),
        (f"{RAY}.authOptions.mode", "tokens", "not one of"),
        (f"{MAIN}.resources.limits.memory", "8GB", "match"),
        (f"{MAIN}.resources.limits.memory", 1.5, "valid under any"),
        ("metadata.label", {}, "label"),
    ],
)
def test_the_schema_bites_at_any_depth(path: str, value: Any, what: str):
    found = schema_problems(planted(good_rayjob(), path, value))
    assert len(found) == 1
    assert what in found[0]


def test_the_built_in_schemas_bite():
    for path in ("spec.backofLimit", "spec.template.spec.containers.0.lifecycle.preStop.exec.cmd", "metadata.label"):
        assert server_problems(planted(good_job(), path, "x"))


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("spec.deletionStrategy", {}, "requires either BOTH"),
        ("spec.deletionStrategy", {"onSuccess": {"policy": "DeleteSelf"}}, "requires either BOTH"),
        (
            "spec.deletionStrategy",
            {"onSuccess": {"policy": "DeleteSelf"}, "onFailure": {"policy": "DeleteSelf"}, "deletionRules": []},
            "cannot be used together",
        ),
        (
            "spec.deletionStrategy",
            {"deletionRules": [{"policy": "DeleteSelf", "condition": {"ttlSeconds": 1}}]},
            "either the JobStatus or",
        ),
        (
            "spec.deletionStrategy",
            {"deletionRules": [{"policy": "DeleteSelf", "condition": BOTH_STATES}]},
            "cannot be used together within the same deletion condition",
        ),
        ("spec.managedBy", "me", "managedBy field value"),
        (f"{RAY}.managedBy", "me", "managedBy field value"),
    ],
)  # fmt: skip
def test_the_cel_rules_bite(path: str, value: Any, what: str):
    found = cel_problems(planted(good_rayjob(), path, value), rayjob_schema())
    assert len(found) == 1
    assert what in found[0]


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("spec.managedBy", "ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
        (f"{RAY}.managedBy", "ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"),
        (f"{RAY}.gcsFaultToleranceOptions.backend", "redis", "rocksdb"),
    ],
)
def test_the_cel_rules_of_updates_bite(path: str, before: str, after: str):
    old, new = (planted(good_rayjob(), path, value) for value in (before, after))
    assert cel_problems(new, rayjob_schema()) == []
    assert cel_problems(old, rayjob_schema(), old) == []
    assert "immutable" in cel_problems(new, rayjob_schema(), old)[0]


def test_all_cel_rules_are_there():
    """Nine of them: four of the deletion strategy, two of each managedBy, one of the GCS's backend."""
    assert len(cel_rules(rayjob_schema())) == 9
