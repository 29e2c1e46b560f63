"""Kueue's types for the API server of the tests, with the fields that visionjobs writes or reads.

    def test_x(kueue, apiserver, namespace):            # the types are there while the test runs, and gone afterwards
        apiserver.create({"apiVersion": KUEUE, "kind": "LocalQueue", ...}, namespace)

SCHEMAS is a hand-checked part of kubernetes-sigs/kueue, apis/kueue/v1beta2/{clusterqueue,localqueue,resourceflavor,
workloadpriorityclass,workload}_types.go (main, late 2026: 0.19 and later): a field that is not here is refused by
`check`, whether or not Kueue has it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from apiserver import ApiRefusalError, ApiServer

KUEUE = "kueue.x-k8s.io/v1beta2"
STRING, INTEGER = {"type": "string"}, {"type": "integer"}
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _object(required: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields} | ({"required": required} if required else {})


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


NAMES = {"type": "object", "additionalProperties": STRING}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"}
TOLERATION = _object(key=STRING, operator=_one_of("Equal", "Exists"), value=STRING, effect=STRING)
QUOTA = _object(["name", "nominalQuota"], name=STRING, nominalQuota=QUANTITY)
FLAVOR_QUOTAS = _object(["name", "resources"], name=STRING, resources=_list(QUOTA))
RESOURCE_GROUP = _object(["coveredResources", "flavors"], coveredResources=_list(STRING), flavors=_list(FLAVOR_QUOTAS))
PREEMPTION = _object(
    reclaimWithinCohort=_one_of("Never", "LowerPriority", "Any"),
    withinClusterQueue=_one_of("Never", "LowerPriority", "LowerOrNewerEqualPriority"),
)
CLUSTER_QUEUE = _object(
    namespaceSelector=_object(matchLabels=NAMES),
    queueingStrategy=_one_of("StrictFIFO", "BestEffortFIFO"),
    resourceGroups=_list(RESOURCE_GROUP),
    preemption=PREEMPTION,
    cohortName=STRING,
    stopPolicy=_one_of("None", "Hold", "HoldAndDrain"),
)
LOCAL_QUEUE = _object(clusterQueue=STRING, stopPolicy=_one_of("None", "Hold", "HoldAndDrain"))
FLAVOR = _object(nodeLabels=NAMES, nodeTaints={"type": "array", "items": ANYTHING}, tolerations=_list(TOLERATION))

# kind: (plural, namespaced, what stands beside metadata)
SCHEMAS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "ClusterQueue": ("clusterqueues", False, {"spec": CLUSTER_QUEUE, "status": ANYTHING}),
    "LocalQueue": ("localqueues", True, {"spec": LOCAL_QUEUE, "status": ANYTHING}),
    "ResourceFlavor": ("resourceflavors", False, {"spec": FLAVOR}),
    "WorkloadPriorityClass": ("workloadpriorityclasses", False, {"value": INTEGER, "description": STRING}),
    "Workload": ("workloads", True, {"spec": ANYTHING, "status": ANYTHING}),
}


def check(manifest: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError for a field that is not in SCHEMAS or a value of the wrong kind."""
    assert manifest["apiVersion"] == KUEUE, manifest["apiVersion"]
    beside = SCHEMAS[manifest["kind"]][2]
    jsonschema.validate({key: value for key, value in manifest.items() if key in beside}, _closed(_object(**beside)))
    known = {"apiVersion", "kind", "metadata", *beside}
    if set(manifest) - known:
        raise jsonschema.ValidationError(f"{manifest['kind']} has no {sorted(set(manifest) - known)}")


def _closed(schema: Any) -> Any:
    """The same schema, with no other fields allowed at any depth."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    return closed | {"additionalProperties": False} if "properties" in schema else closed


def _definition(kind: str) -> dict[str, Any]:
    plural, namespaced, beside = SCHEMAS[kind]
    version = {
        "name": KUEUE.split("/")[1],
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _object(**beside)},
    }
    if "status" in beside:
        version["subresources"] = {"status": {}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.kueue.x-k8s.io",
            # the group is protected: the server wants to see who approved the type
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/kueue/pull/1"},
        },
        "spec": {
            "group": "kueue.x-k8s.io",
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": names,
            "versions": [version],
        },
    }


@pytest.fixture
def kueue(apiserver: ApiServer) -> Iterator[None]:
    """Kueue's types are served: its controllers are not there, so nothing is admitted until a test says so."""
    for kind in SCHEMAS:
        apiserver.create(_definition(kind))
    _wait(apiserver, served=True)
    yield
    for kind in SCHEMAS:
        apiserver.delete("customresourcedefinitions", None, f"{SCHEMAS[kind][0]}.kueue.x-k8s.io")
    _wait(apiserver, served=False)


def _wait(apiserver: ApiServer, served: bool) -> None:
    deadline = time.monotonic() + 30
    for plural, _, _ in SCHEMAS.values():
        while _answers(apiserver, f"/apis/{KUEUE}/{plural}") is not served:
            assert time.monotonic() < deadline, f"{plural} still {'missing' if served else 'there'} after 30 s"
            time.sleep(0.1)
    shutil.rmtree(apiserver.kubectl_cache, ignore_errors=True)


def _answers(apiserver: ApiServer, path: str) -> bool:
    try:
        apiserver.call("GET", path)
    except ApiRefusalError as error:
        if error.status != 404:
            raise
        return False
    return True
