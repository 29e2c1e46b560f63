"""The overlay file: what a cluster needs and no job file has a word for, merged into every manifest.

The same merge puts what a job asks for onto the skeletons.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionjobs.cluster.client import Object
from visionjobs.cluster.pod_security import items, mapping, pod_templates
from visionjobs.errors import UserError, nearest
from visionjobs.jobfile import parse_yaml

SECTIONS = ("all", "pods", "workPods", "gpuPods", "rayjob", "job")
"""Keys of an overlay file, in the order in which they are merged: the last one wins."""

POD_SECTIONS = ("pods", "workPods", "gpuPods")
"""Those of a pod that does the work."""

GPU = re.compile(r"/gpu(\.shared)?$|/mig-")
"""Resources that are GPUs, as the device plugins of NVIDIA, AMD and others name them."""

LIST_KEYS = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "ports": "name",
    "imagePullSecrets": "name", "volumeMounts": "mountPath", "workerGroupSpecs": "groupName",
}  # fmt: skip
"""Lists whose entries are merged where this key of theirs is the same."""

REPLACED = ("env",)
"""Of these lists an entry is replaced and not merged: a value and its source exclude each other."""


def read_yaml_object(path: Path, what: str) -> Object:
    """A YAML file that holds one mapping. Raises UserError naming `path`; what: what it is, and how to name another."""
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}; it is {what}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected a mapping, found {_kind(tree)}; it is {what}")
    return tree


def read_overlay(path: Path | None) -> Object:
    """The file's sections, {} where there is no file. Raises UserError for an unknown section or a wrong type."""
    if path is None:
        return {}
    overlay = read_yaml_object(path, "the overlay (VISIONJOBS_OVERLAY)")
    for section, content in overlay.items():
        if section not in SECTIONS:
            raise UserError(f"{path}: {section}: expected one of {', '.join(SECTIONS)}.{nearest(section, SECTIONS)}")
        if not isinstance(content, dict | None):
            raise UserError(f"{path}: {section}: expected a mapping, found {_kind(content)}")
    return {section: content for section, content in overlay.items() if content}


def with_overlay(obj: Object, overlay: Object, source: str) -> Object:
    """`obj` with the sections that apply to it merged into it. source: the overlay's file, for the message.

    Raises UserError, naming file and key, where a list meets a mapping or either meets a value.
    """
    result = merge(obj, overlay.get("all", {}), f"{source}: all")
    for path, template in pod_templates(result):
        changed = template
        for section in ["pods"] if path.endswith("submitterPodTemplate") else POD_SECTIONS:
            if section != "gpuPods" or _has_gpu(changed):  # which an earlier section may have given or taken
                changed = merge(changed, overlay.get(section, {}), f"{source}: {section}")
        template.clear()
        template.update(changed)
    own = str(obj["kind"]).lower()
    return merge(result, overlay[own], f"{source}: {own}") if own in overlay and own in SECTIONS else result


def _has_gpu(template: Object) -> bool:
    """Whether a pod asks for a GPU: whole (nvidia.com/gpu, amd.com/gpu) or a part of one (nvidia.com/mig-1g.5gb)."""
    containers = [mapping(part) for part in items(mapping(template.get("spec")).get("containers"))]
    limits = [mapping(mapping(part.get("resources")).get("limits")) for part in containers]
    return any(GPU.search(str(key)) and amount is not None for limit in limits for key, amount in limit.items())


def merge(base: Object, changes: Object, where: str) -> Object:
    """A copy of `base` with `changes` merged in: the rules are told in k8s/job/overlay.yaml. `null` stays, as None.

    where: the path to `changes`, which the UserError begins with if two values are of different kinds.
    """
    merged = copy.deepcopy(base)
    for key, change in changes.items():
        merged[key] = _merge_value(base.get(key), change, key, f"{where}.{key}")
    return merged


def _merge_value(old: Any, new: Any, key: str, where: str) -> Any:
    if old is not None and new is not None and _shape(old) != _shape(new):
        raise UserError(f"{where}: expected {_kind(old)}, found {_kind(new)}")
    if isinstance(old, dict) and isinstance(new, dict):
        return merge(old, new, where)
    if isinstance(old, list) and isinstance(new, list):
        return _merge_lists(old, new, key, where)
    return copy.deepcopy(new)


def _merge_lists(base: Sequence[Any], changes: Sequence[Any], field: str, where: str) -> list[Any]:
    merged, name = [copy.deepcopy(item) for item in base], LIST_KEYS.get(field)
    for change in changes:
        position = next((i for i, item in enumerate(merged) if _is_same(item, change, name)), None)
        if position is None:
            merged.append(copy.deepcopy(change))
        elif name is not None and field not in REPLACED:
            merged[position] = merge(merged[position], change, f"{where}[{change[name]}]")
        else:
            merged[position] = copy.deepcopy(change)
    return merged


def _is_same(item: Any, change: Any, name: str | None) -> bool:
    if name is not None and isinstance(item, dict) and isinstance(change, dict):
        return item.get(name) is not None and item.get(name) == change.get(name)
    return bool(item == change)


def pruned(tree: Any) -> Any:
    """A copy of `tree` without the keys whose value is None: not filled in, or taken away by the overlay."""
    if isinstance(tree, dict):
        return {key: pruned(value) for key, value in tree.items() if value is not None}
    return [pruned(item) for item in tree] if isinstance(tree, list) else tree


def _shape(value: Any) -> str:
    return next((name for kind, name in ((dict, "mapping"), (list, "list")) if isinstance(value, kind)), "value")


def _kind(value: Any) -> str:
    return {"mapping": "a mapping", "list": "a list", "value": f"the value {value!r}"}[_shape(value)]
