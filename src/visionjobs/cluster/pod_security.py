"""The "restricted" profile of the Pod Security Standards, as Kubernetes 1.34 enforces it, checked without a cluster.

A namespace that enforces it refuses a pod, but not the RayJob or Job that asks for one: the pod then simply never
comes. So each pod template is checked before anything is applied. Source of every control, in its order:
kubernetes.io/docs/concepts/security/pod-security-standards; "baseline" controls come first, as "restricted" includes
them. A newer Kubernetes allows a few values more (1.34: volumes of type `image`); none that is allowed here is refused
from 1.32 on, but for that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from visionjobs.cluster.client import Object

PROFILE = 'Pod Security "restricted"'

SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")

SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    )
)  # fmt: skip

VOLUME_TYPES = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    )
)

PROFILES = ("RuntimeDefault", "Localhost")
"""Types of AppArmor and seccomp profiles that are allowed."""

APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"

Found = Iterator[tuple[str, str, str]]
"""(the field, what is wrong with it, what to write)."""


def pod_templates(obj: Object) -> list[tuple[str, Object]]:
    """(path within the object, pod template) of every pod that a RayJob, a Job or a Pod leads to.

    The path of a Pod itself is ''. What the overlay left out or made of another type is not there.
    """
    spec = mapping(obj.get("spec"))
    match obj.get("kind"):
        case "Pod":
            return [("", obj)]
        case "Job":
            return [("spec.template", mapping(spec.get("template")))]
        case "RayJob":
            ray = mapping(spec.get("rayClusterSpec"))
            head = mapping(mapping(ray.get("headGroupSpec")).get("template"))
            found = [("spec.rayClusterSpec.headGroupSpec.template", head)]
            for number, group in enumerate(items(ray.get("workerGroupSpecs"))):
                path = f"spec.rayClusterSpec.workerGroupSpecs[{number}].template"
                found.append((path, mapping(mapping(group).get("template"))))
            if "submitterPodTemplate" in spec:
                found.append(("spec.submitterPodTemplate", mapping(spec["submitterPodTemplate"])))
            return found
    return []


def object_restricted_problems(obj: Object) -> list[str]:
    """All that "restricted" refuses in the pods of an object, and of those that the operator adds on its own."""
    name = f"{obj.get('kind')} {mapping(obj.get('metadata')).get('name')}"
    found = [f"{name}: {problem}" for problem in _submitter_problems(obj)]
    for path, template in pod_templates(obj):
        annotations = mapping(mapping(template.get("metadata")).get("annotations"))
        where = ".".join(part for part in (path, "spec") if part)
        pod = mapping(template.get("spec"))
        found += [f"{name}: {problem}" for problem in restricted_problems(pod, where, annotations)]
    return found


def restricted_problems(pod_spec: Object, where: str, annotations: Object | None = None) -> list[str]:
    """All that "restricted" refuses in a pod's spec. where: its path, which each message begins with.

    annotations: of the pod; older AppArmor settings stand there.
    """
    found = [f"{where}.{field} {what}: {todo}" for field, what, todo in _pod_controls(pod_spec)]
    for field, container in _containers(pod_spec):
        for control in (_container_baseline, _container_profiles, _host_fields):
            found += [f"{where}.{field}.{key} {what}: {todo}" for key, what, todo in control(container)]
        needs = _container_restricted(container, mapping(pod_spec.get("securityContext")))
        found += [f"{where}.{field}.securityContext.{key} {what}: {todo}" for key, what, todo in needs]
    for key, value in (annotations or {}).items():
        if str(key).startswith(APPARMOR_ANNOTATION) and not str(value).startswith(("runtime/default", "localhost/")):
            found.append(f"{where}: the annotation {key} is {value}: write runtime/default, or leave it out")
    return [f"{problem} ({PROFILE})" for problem in found]


def mapping(value: Any) -> Object:
    """`value` where it is a mapping, else {}: of what an overlay made, only the part in question is looked at."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """`value` where it is a list, else []."""
    return value if isinstance(value, list) else []


def _submitter_problems(obj: Object) -> Iterator[str]:
    """Pods that KubeRay makes without a securityContext: the default submitter, and SidecarMode's container."""
    spec = mapping(obj.get("spec"))
    if obj.get("kind") != "RayJob":
        return
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode == "K8sJobMode" and "submitterPodTemplate" not in spec:
        yield (
            "spec.submitterPodTemplate is missing: the operator's own submitter pod has no securityContext; give it "
            f"one, as k8s/job/rayjob.yaml does ({PROFILE})"
        )
    if mode == "SidecarMode":
        yield (
            "spec.submissionMode is SidecarMode: its submitter container has no securityContext and cannot be given "
            f"one; write K8sJobMode ({PROFILE})"
        )
    options = mapping(mapping(spec.get("rayClusterSpec")).get("autoscalerOptions"))
    if "securityContext" in options:
        where = "spec.rayClusterSpec.autoscalerOptions"
        head = pod_templates(obj)[0][1]
        pod = {"securityContext": mapping(head.get("spec")).get("securityContext"), "containers": [options]}
        for problem in restricted_problems(pod, where):
            yield problem.replace(".containers[0].securityContext", ".securityContext", 1)


def _containers(pod: Object) -> Iterator[tuple[str, Object]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for number, container in enumerate(items(pod.get(kind))):
            yield f"{kind}[{mapping(container).get('name') or number}]", mapping(container)


def _pod_controls(pod: Object) -> Found:
    """Controls of the pod as a whole."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):  # Host Namespaces
        if pod.get(field) not in (None, False):
            yield field, f"is {pod[field]}", "leave it out"
    context = mapping(pod.get("securityContext"))
    for field, what, todo in _shared_context(context):
        yield f"securityContext.{field}", what, todo
    if context.get("runAsNonRoot") not in (None, True):  # Running as Non-root
        yield "securityContext.runAsNonRoot", f"is {context['runAsNonRoot']}", "write true"
    for sysctl in items(context.get("sysctls")):  # Sysctls
        if mapping(sysctl).get("name") not in SYSCTLS:
            yield "securityContext.sysctls", f"sets {mapping(sysctl).get('name')}", "leave it out"
    for volume in items(pod.get("volumes")):  # HostPath Volumes, Volume Types
        for kind in sorted(set(mapping(volume)) - VOLUME_TYPES - {"name"}):
            expected = f"use one of {', '.join(sorted(VOLUME_TYPES))}"
            yield f"volumes[{mapping(volume).get('name')}]", f"is of type {kind}", expected


def _shared_context(context: Object) -> Found:
    """Controls of a securityContext, a pod's or a container's."""
    if mapping(context.get("windowsOptions")).get("hostProcess") not in (None, False):  # HostProcess
        yield "windowsOptions.hostProcess", "is set", "leave it out"
    linux = mapping(context.get("seLinuxOptions"))  # SELinux
    if (linux.get("type") or "") not in SELINUX_TYPES:
        yield "seLinuxOptions.type", f"is {linux['type']}", "leave it out"
    for field in ("user", "role"):
        if linux.get(field):
            yield f"seLinuxOptions.{field}", "is set", "leave it out"
    for field in ("appArmorProfile", "seccompProfile"):  # AppArmor, Seccomp
        if field in context and mapping(context[field]).get("type") not in PROFILES:
            yield f"{field}.type", f"is {mapping(context[field]).get('type')}", "write RuntimeDefault"
    if context.get("runAsUser") in (0, "0"):  # Running as Non-root user
        yield "runAsUser", "is 0, which is root", "write 10001, the image's user"


def _container_baseline(container: Object) -> Found:
    context = mapping(container.get("securityContext"))
    if context.get("privileged") not in (None, False):  # Privileged Containers
        yield "securityContext.privileged", f"is {context['privileged']}", "leave it out"
    for port in items(container.get("ports")):  # Host Ports
        if mapping(port).get("hostPort"):
            yield "ports", f"takes the node's port {port['hostPort']} (hostPort)", "leave hostPort out"
    if context.get("procMount") not in (None, "Default"):  # /proc Mount Type
        yield "securityContext.procMount", f"is {context['procMount']}", "leave it out"


def _container_profiles(container: Object) -> Found:
    for field, what, todo in _shared_context(mapping(container.get("securityContext"))):
        yield f"securityContext.{field}", what, todo


def _host_fields(container: Object) -> Found:
    """Host Probes / Lifecycle Hooks (1.34): the kubelet would be sent to another host."""
    hooks = mapping(container.get("lifecycle"))
    handlers: Iterable[tuple[str, Any]] = (
        *((kind, container.get(kind)) for kind in ("livenessProbe", "readinessProbe", "startupProbe")),
        *((f"lifecycle.{kind}", hooks.get(kind)) for kind in ("postStart", "preStop")),
    )
    for path, handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if mapping(mapping(handler).get(action)).get("host"):
                yield f"{path}.{action}.host", "is set", "leave it out: the pod itself is meant"


def _container_restricted(container: Object, pod_context: Object) -> Found:
    """What each container must say, or its pod for it. Fields are those of the container's securityContext."""
    context = mapping(container.get("securityContext"))
    if context.get("allowPrivilegeEscalation") is not False:  # Privilege Escalation
        yield "allowPrivilegeEscalation", f"is {context.get('allowPrivilegeEscalation', 'missing')}", "write false"
    non_root = context.get("runAsNonRoot", pod_context.get("runAsNonRoot"))
    if non_root is not True:  # Running as Non-root
        yield "runAsNonRoot", f"is {'missing' if non_root is None else non_root}", "write true, here or for the pod"
    if "seccompProfile" not in context and "seccompProfile" not in pod_context:  # Seccomp
        yield "seccompProfile", "is missing", "write type: RuntimeDefault, here or for the pod"
    capabilities = mapping(context.get("capabilities"))  # Capabilities
    if "ALL" not in items(capabilities.get("drop")):
        yield "capabilities.drop", f"is {capabilities.get('drop', 'missing')}", "write [ALL]"
    added = capabilities.get("add") or []
    if added not in ([], ["NET_BIND_SERVICE"]):
        yield "capabilities.add", f"is {added}", "leave it out"
