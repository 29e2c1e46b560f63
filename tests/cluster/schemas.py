"""What an API server would say of an object, without one: KubeRay's CRD with its CEL rules, and the built-in kinds.

A server drops keys that a schema does not know; here they are errors at any depth, as with kubectl's strict validation.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import kubernetes_validate
import pytest
import yaml

KUBERNETES = "1.32"
"""Version of the built-in kinds' schemas."""

CRD = "kuberay-1.7.0-rayjobs.crd.yaml"

Schema = dict[str, Any]

METADATA: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
"""An object's own metadata, of which a CRD says no more than that it is an object: what a manifest may write."""


def shared_k8s() -> Path:
    """The folder of the CRDs, beside the test data; skips the test where there is no such folder."""
    data = Path(os.environ.get("VISIONJOBS_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    folder = data.parent / "k8s"
    if not folder.is_dir():
        pytest.skip(f"no KubeRay CRDs: {folder} is not a folder (set VISIONJOBS_TEST_DATA to the folder beside it)")
    return folder


@cache
def rayjob_schema() -> Schema:
    """The CRD's own schema of ray.io/v1, as it stands there."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd = yaml.load((shared_k8s() / CRD).read_text(), loader)  # noqa: S506  # a safe loader, the fast one where built
    version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def strict(schema: Schema) -> Schema:
    """A CRD's schema as JSON Schema in which only the keys that it names are allowed.

    Source of the rules: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions".
    """
    made = {key: value for key, value in schema.items() if key not in ("description", "default")}
    if "properties" in made:
        made["properties"] = {key: strict(value) for key, value in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(made["additionalProperties"])
    if "items" in made:
        made["items"] = strict(made["items"])
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if made.get("format") == "int32":
        made = {"minimum": -(2**31), "maximum": 2**31 - 1} | made
    if made.get("nullable"):
        made = {"anyOf": [{"type": "null"}, {key: value for key, value in made.items() if key != "nullable"}]}
    return made


@cache
def _rayjob_validator() -> Any:
    schema = strict(rayjob_schema())
    schema["properties"]["metadata"] = METADATA
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return jsonschema.Draft202012Validator(schema)


def schema_problems(rayjob: Schema) -> list[str]:
    """Where a RayJob departs from the CRD's schema."""
    return [f"{error.json_path}: {error.message[:300]}" for error in _rayjob_validator().iter_errors(rayjob)]


@cache
def _program(rule: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule))


def cel_problems(value: Any, schema: Schema, old: Any = None, path: str = "$") -> list[str]:
    """Messages of the CEL rules (x-kubernetes-validations) that `value` breaks, at any depth.

    old: the object before an update; rules about it do not hold for a new object.
    """
    found = []
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" in rule["rule"] and old is None:
            continue
        variables = {"self": celpy.json_to_cel(value)} | ({} if old is None else {"oldSelf": celpy.json_to_cel(old)})
        if not _program(rule["rule"]).evaluate(variables):
            found.append(f"{path}: {rule['message']}")
    if isinstance(value, dict):
        for key, item in value.items():
            below = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if isinstance(below, dict):
                before = old.get(key) if isinstance(old, dict) else None
                found += cel_problems(item, below, before, f"{path}.{key}")
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):  # lists have no keys to find the old element by
            found += cel_problems(item, schema["items"], None, f"{path}[{number}]")
    return found


def cel_rules(schema: Any) -> list[str]:
    """Every CEL rule in a schema."""
    if isinstance(schema, list):
        return [rule for item in schema for rule in cel_rules(item)]
    if not isinstance(schema, dict):
        return []
    below = [item for key, item in schema.items() if key != "x-kubernetes-validations"]
    return [rule["rule"] for rule in schema.get("x-kubernetes-validations", [])] + cel_rules(below)


def server_problems(obj: Schema, old: Schema | None = None) -> list[str]:
    """All that the API server would refuse in an object: a RayJob or one of a built-in kind."""
    if obj.get("kind") == "RayJob":
        return schema_problems(obj) + cel_problems(obj, rayjob_schema(), old)
    try:
        kubernetes_validate.validate(obj, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{obj.get('kind')}: {'.'.join(map(str, error.path))}: {error.message[:300]}"]
    return []
