"""What a run needs of its pods and no API server knows of: an overlay may have taken it away.

Ray with authentication, started in the container that is meant for it; the labels that network policies go by; pods
that end once; and an object store that fits into /dev/shm.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from visionjobs.cluster.client import Object
from visionjobs.cluster.operator_rules import groups
from visionjobs.cluster.pod_rules import quantity
from visionjobs.cluster.pod_security import items, mapping, pod_templates

AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""KubeRay sets them where they are not set yet (SetContainerTokenAuthEnvVars): a pod's own would win."""

RUN, ROLE = "visionjobs/run", "visionjobs/role"
ROLES = {"submitterPodTemplate": "submitter", "headGroupSpec": "head", "workerGroupSpecs": "worker"}
"""Part of a pod template's path -> its role; a Job's only template is "job"."""

MAIN = "main"
"""The container that the work is in. KubeRay starts Ray in the first container, whatever its name."""

DASHBOARD = ("dashboard", 8265)
"""The port of the head's Service, which KubeRay looks up by its name and the NetworkPolicies open by its number."""


def run_problems(obj: Object) -> Iterator[str]:
    """Of a RayJob or a Job, with what an overlay made of it."""
    run = mapping(mapping(obj.get("metadata")).get("labels")).get(RUN)
    for path, template in pod_templates(obj):
        if run is not None:
            yield from _labels(path, template, str(run))
        if obj.get("kind") == "RayJob":
            yield from (f"{path}.{problem}" for problem in _authentication(template))
    if obj.get("kind") == "RayJob":
        for path, group in groups(mapping(mapping(obj.get("spec")).get("rayClusterSpec"))):
            yield from (f"{path}.{problem}" for problem in _group(group, path.endswith("headGroupSpec")))


def _labels(path: str, template: Object, run: str) -> Iterator[str]:
    given = mapping(mapping(template.get("metadata")).get("labels"))
    what = "network policies go by it, and without it the pod reaches nothing: leave it as it is rendered"
    if given.get(RUN) != run:
        yield f"{path}.metadata.labels.{RUN} is {given.get(RUN)}, and the run is {run}; {what}"
    role = next((role for part, role in ROLES.items() if part in path), "job")
    if given.get(ROLE) != role:
        yield f"{path}.metadata.labels.{ROLE} is {given.get(ROLE)}, and the pod is a {role}; {what}"


def _authentication(template: Object) -> Iterator[str]:
    spec = mapping(template.get("spec"))
    for kind in ("initContainers", "containers"):
        for container in (mapping(entry) for entry in items(spec.get(kind))):
            for name in (str(mapping(entry).get("name")) for entry in items(container.get("env"))):
                if name in AUTHENTICATION:
                    yield (
                        f"spec.{kind}[{container.get('name')}].env.{name} would take the place of the token that "
                        "KubeRay makes for this run: remove it from the overlay"
                    )


def _group(group: Object, is_head: bool) -> Iterator[str]:
    """The head, or a group of workers."""
    spec = mapping(mapping(group.get("template")).get("spec"))
    containers = [mapping(container) for container in items(spec.get("containers"))]
    names = [container.get("name") for container in containers]
    if MAIN in names and names[0] != MAIN:
        yield (
            f"template.spec.containers begins with {names[0]}, and Ray is started in the first one: name other "
            f"containers after {MAIN} in the overlay"
        )
    if spec.get("restartPolicy", "Always") != "Never":
        yield (
            f"template.spec.restartPolicy is {spec.get('restartPolicy', 'missing (Always)')}; a container that is "
            "started anew has lost its run: write Never in the overlay"
        )
    if not containers:
        return
    ports = [mapping(port) for port in items(containers[0].get("ports"))]
    if is_head and DASHBOARD not in [(port.get("name"), port.get("containerPort")) for port in ports]:
        yield (
            f"template.spec.containers[0].ports lacks {DASHBOARD[0]} ({DASHBOARD[1]}), by which KubeRay submits the "
            "job: leave it as it is rendered"
        )
    yield from _object_store(group, spec, containers[0])


def _object_store(group: Object, spec: Object, container: Object) -> Iterator[str]:
    store = quantity(mapping(group.get("rayStartParams")).get("object-store-memory"))
    mounts = [mapping(mount) for mount in items(container.get("volumeMounts"))]
    shm = [mount.get("name") for mount in mounts if mount.get("mountPath") == "/dev/shm"]  # noqa: S108 (Ray's store)
    for volume in (mapping(entry) for entry in items(spec.get("volumes"))):
        size = quantity(mapping(volume.get("emptyDir")).get("sizeLimit"))
        if volume.get("name") in shm and store is not None and size is not None and store > size:
            yield (
                f"rayStartParams.object-store-memory is {_mib(store)}, and /dev/shm holds {_mib(size)}: give "
                f"the volume {volume.get('name')} more in the overlay, or Ray less"
            )


def _mib(size: Decimal) -> str:
    return f"{size / 2**20:.0f} MiB"
