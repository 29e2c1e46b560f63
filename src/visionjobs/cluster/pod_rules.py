"""What every pod template of a job has to hold, beyond its schema: resources, images, secrets, volumes, grace.

No server checks this inside a RayJob, whose pod templates are plain data to it: a pod that is wrong never comes, and
the reason stands in the operator's log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, DecimalException
from itertools import zip_longest
from typing import Any

from visionjobs.cluster.client import Object
from visionjobs.cluster.pod_security import items, mapping
from visionjobs.cluster.submission import GRACE_SECONDS

QUANTITY = re.compile(
    r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:([eE][+-]?[0-9]+)|(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?"
)
FACTORS = {"m": Decimal("0.001"), "k": Decimal(1000)}
FACTORS |= {letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", start=2)}
FACTORS |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}

IMAGE = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9._:/-]*?(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)

CREDENTIAL = re.compile(
    r"(?:^|_)(?:[A-Z]*(?:API|ACCESS|SECRET|PRIVATE)_?KEYS?|KEY|TOKEN|SECRET|PASS(?:WORD|WD|PHRASE)?|CREDENTIALS?"
    r"|NOTIFY_URL|WEBHOOK(?:_URL)?|AUTH|PAT)(?:_|$)"
)
"""Names of variables whose value is a credential."""

NO_CREDENTIAL = re.compile(
    r"_(?:FILE|PATH|DIR|MODE|NAME|COLUMN)$|^VISIONJOBS_SECRET$|(?:^|_)(?:SORT|PRIMARY|FOREIGN|PARTITION|PUBLIC)_KEY"
)
"""Such names that hold where a credential is, not the credential."""

SECRET_TEXTS = {
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/@:]*:[^\s/@]+@"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"),
    "a token in an address": re.compile(r"\bhttps?://[^\s/@:]{8,}@"),
    "an address of a webhook": re.compile(r"\bhooks\.slack\.com/services/\S"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}

JOB_KEYS = {"cpu": "resources.cpus", "memory": "resources.memory"}


def quantity(value: Any) -> Decimal | None:
    """A Kubernetes quantity ('500m', '4Gi', 2) as a number, None where it is none.

    Source: kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity.
    """
    found = QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if found is None or isinstance(value, bool):
        return None
    number, exponent, suffix = found.groups()
    try:
        return Decimal(number + (exponent or "")) * FACTORS.get(suffix or "", Decimal(1))
    except DecimalException:  # an exponent beyond all measure
        return None


def pod_problems(template: Object, where: str) -> list[str]:
    """All that is wrong with one pod template, except its security. where: its path in the object."""
    spec = mapping(template.get("spec"))
    if not items(spec.get("containers")):
        return [f"{where}.spec.containers is empty: the overlay has removed what the skeleton in k8s/job says"]
    found = [f"{where}.{problem}" for check in (_volumes(spec), _tolerations(spec)) for problem in check]
    for kind in ("initContainers", "containers"):
        for number, container in enumerate(items(spec.get(kind))):
            entry = mapping(container)
            path = f"{where}.spec.{kind}[{entry.get('name') or number}]"
            checks = (
                _image(entry), _environment(entry), _arguments(entry), _resources(entry), _shared_memory(entry, spec)
            )  # fmt: skip
            found += [f"{path}.{problem}" for check in checks for problem in check]
            if mapping(entry.get("lifecycle")).get("preStop") is not None:
                found += [f"{where}.spec.{problem}" for problem in _grace(spec)]
    return found


def secret_texts(value: Any, where: str) -> Iterator[str]:
    """Every place in an object whose text holds something secret."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from secret_texts(item, f"{where}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from secret_texts(item, f"{where}[{number}]")
    elif isinstance(value, str):
        for what, pattern in SECRET_TEXTS.items():
            if pattern.search(value):
                yield f"{where} holds {what}: put it into the Secret (VISIONJOBS_SECRET), which pods read it from"


def _volumes(spec: Object) -> Iterator[str]:
    """Volumes and their mounts; names that stand twice."""
    volumes = [mapping(volume) for volume in items(spec.get("volumes"))]
    names = [volume.get("name") for volume in volumes]
    containers = [mapping(c) for kind in ("initContainers", "containers") for c in items(spec.get(kind))]
    for what, given in (("volumes", names), ("containers", [container.get("name") for container in containers])):
        for name in sorted({str(name) for name in given if given.count(name) > 1}):
            yield f'spec.{what}: the name "{name}" stands twice: give one of them another name in the overlay'
    for volume in volumes:
        kinds = sorted(kind for kind, value in volume.items() if kind != "name" and value is not None)
        if len(kinds) > 1:
            yield f"spec.volumes[{volume.get('name')}] is {' and '.join(kinds)}: keep one, and write null for the other"
    for container in containers:
        mounts = [mapping(mount) for mount in items(container.get("volumeMounts"))]
        for mount in mounts:
            if mount.get("name") not in names:
                yield (
                    f"spec: the container {container.get('name')} mounts the volume {mount.get('name')}, which is not "
                    "there: add it to pods.spec.volumes in the overlay"
                )
        paths = [mount.get("mountPath") for mount in mounts]
        for path in sorted({str(path) for path in paths if paths.count(path) > 1}):
            yield f"spec: the container {container.get('name')} mounts two volumes at {path}: keep one in the overlay"


def _tolerations(spec: Object) -> Iterator[str]:
    """Words that no server checks inside a RayJob."""
    words = {"operator": (None, "Exists", "Equal"), "effect": (None, "", "NoSchedule", "PreferNoSchedule", "NoExecute")}
    for number, toleration in enumerate(mapping(entry) for entry in items(spec.get("tolerations"))):
        for key, valid in words.items():
            if toleration.get(key) not in valid:
                expected = ", ".join(word for word in valid if word)
                yield (
                    f"spec.tolerations[{number}].{key} is {toleration[key]}; expected one of {expected}: change the "
                    "overlay"
                )


def _image(container: Object) -> Iterator[str]:
    image = container.get("image")
    found = IMAGE.fullmatch(image) if isinstance(image, str) else None
    todo = "set VISIONJOBS_IMAGE to registry/name:version"
    if found is None:
        yield f"image is {image or 'missing'}, which names no image: {todo}"
    elif found["digest"] is None and found["tag"] in (None, "latest"):
        yield f"image is {image}: a run cannot be repeated with what `latest` means today; {todo}"


def _environment(container: Object) -> Iterator[str]:
    entries = [mapping(entry) for entry in items(container.get("env"))]
    names = [str(entry.get("name")) for entry in entries]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"env.{name} stands twice: keep one in the overlay"
    for entry in entries:
        name = str(entry.get("name"))
        if _is_credential(name) and ("value" in entry or "secretKeyRef" not in mapping(entry.get("valueFrom"))):
            yield (
                f"env.{name} holds a credential as text, which anyone who may read the manifest sees: write valueFrom: "
                "{secretKeyRef: ...} in the overlay, and the value into that Secret"
            )


def _arguments(container: Object) -> Iterator[str]:
    """Options whose value is a credential: `--token x`, `--api-key=x`. `$(NAME)` is a variable, perhaps of a Secret."""
    for key in ("command", "args"):
        words = [str(word) for word in items(container.get(key))]
        for word, following in zip_longest(words, words[1:], fillvalue=""):
            option, equals, value = word.partition("=")
            value = value if equals else following
            if not option.startswith("--") or not _is_credential(option.strip("-").replace("-", "_")):
                continue
            if value and not value.startswith(("-", "$(")):
                yield (
                    f"{key} has {option} with a credential as text, which anyone who may read the manifest sees: write "
                    "$(NAME), and the variable NAME with valueFrom: {secretKeyRef: ...} in the overlay"
                )


def _is_credential(name: str) -> bool:
    return bool(CREDENTIAL.search(name.upper()) and not NO_CREDENTIAL.search(name.upper()))


def _resources(container: Object) -> Iterator[str]:
    """CPU and memory are limited, and what is limited is also requested, GPUs as whole numbers."""
    resources = mapping(container.get("resources"))
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    for name in dict.fromkeys(("cpu", "memory", *limits, *requests)):
        key = JOB_KEYS.get(name, "resources.gpus" if "gpu" in name else f"the overlay ({name})")
        amounts = {
            part: quantity(given[name]) for part, given in (("limits", limits), ("requests", requests)) if name in given
        }
        for part, amount in amounts.items():
            value = resources[part][name]
            if amount is None or amount < 0:
                yield f"resources.{part}.{name} is {value}, which is no amount: change {key}"
            elif "/" in name and amount != amount.to_integral_value():
                yield f"resources.{part}.{name} is {value}; devices come whole: change {key}"
        if "limits" not in amounts and name != "ephemeral-storage":
            yield f"resources.limits.{name} is missing: give it in the overlay, or {key} in the job file"
        elif name != "ephemeral-storage" and amounts.get("requests", amounts["limits"]) != amounts["limits"]:
            yield (
                f"resources: {name} is requested as {requests[name]} and limited to {limits[name]}; both must be the "
                f"same: change {key} in the job file, not one of them in the overlay"
            )


def _shared_memory(container: Object, spec: Object) -> Iterator[str]:
    """Volumes in memory count in the limit of the container that fills them."""
    volumes = {
        str(mapping(volume).get("name")): mapping(mapping(volume).get("emptyDir"))
        for volume in items(spec.get("volumes"))
    }
    total = Decimal(0)
    for mount in items(container.get("volumeMounts")):
        volume = volumes.get(str(mapping(mount).get("name")), {})
        if volume.get("medium") != "Memory":
            continue
        size = quantity(volume.get("sizeLimit"))
        if size is None:
            yield f"volumeMounts: {mount.get('name')} is in memory without a sizeLimit: give it one in the overlay"
        total += size or 0
    limit = quantity(mapping(mapping(container.get("resources")).get("limits")).get("memory"))
    if limit is not None and total > limit:
        yield (
            f"resources.limits.memory is less than the volumes in memory that it mounts ({total / 2**20:.0f} MiB), "
            "such as /dev/shm: full ones would kill it. Raise resources.memory in the job file"
        )


def _grace(spec: Object) -> Iterator[str]:
    seconds = spec.get("terminationGracePeriodSeconds")
    if not isinstance(seconds, int) or seconds < GRACE_SECONDS:
        yield (
            f"terminationGracePeriodSeconds is {'missing (30)' if seconds is None else seconds}, and a run that is to "
            f"stop needs {GRACE_SECONDS} for its checkpoint: leave it as it is rendered, or raise it in the overlay"
        )
