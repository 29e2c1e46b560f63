"""Every control of "restricted" finds a planted violation, in every pod, and nothing in a good one."""

from __future__ import annotations

from typing import Any

import pytest
from good_objects import Object, good_job, good_pod, good_rayjob, planted

from visionjobs.cluster.pod_security import object_restricted_problems, pod_templates, restricted_problems

CONTAINER = "containers.0.securityContext"

VIOLATIONS: list[tuple[str, str, Any]] = [
    # baseline
    ("HostProcess, pod", "securityContext.windowsOptions", {"hostProcess": True}),
    ("HostProcess, container", f"{CONTAINER}.windowsOptions", {"hostProcess": True}),
    ("Host Namespaces: network", "hostNetwork", True),
    ("Host Namespaces: PID", "hostPID", True),
    ("Host Namespaces: IPC", "hostIPC", True),
    ("Host Namespaces: text for true", "hostNetwork", "yes"),
    ("Privileged Containers", f"{CONTAINER}.privileged", True),
    ("Capabilities, baseline", f"{CONTAINER}.capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    ("HostPath Volumes", "volumes.0", {"name": "tmp", "hostPath": {"path": "/"}}),
    ("Host Ports", "containers.0.ports", [{"containerPort": 80, "hostPort": 80}]),
    ("Host Probes", "containers.0.livenessProbe", {"httpGet": {"port": 80, "host": "10.0.0.1"}}),
    ("Host Probes: TCP", "containers.0.startupProbe", {"tcpSocket": {"port": 80, "host": "10.0.0.1"}}),
    ("Lifecycle Hooks", "containers.0.lifecycle.preStop", {"httpGet": {"port": 80, "host": "10.0.0.1"}}),
    ("AppArmor, pod", "securityContext.appArmorProfile", {"type": "Unconfined"}),
    ("AppArmor, container", f"{CONTAINER}.appArmorProfile", {"type": "Unconfined"}),
    ("SELinux type, pod", "securityContext.seLinuxOptions", {"type": "spc_t"}),
    ("SELinux type, container", f"{CONTAINER}.seLinuxOptions", {"type": "spc_t"}),
    ("SELinux user", f"{CONTAINER}.seLinuxOptions", {"user": "root"}),
    ("SELinux role", f"{CONTAINER}.seLinuxOptions", {"role": "sysadm_r"}),
    ("/proc Mount Type", f"{CONTAINER}.procMount", "Unmasked"),
    ("Seccomp, pod", "securityContext.seccompProfile", {"type": "Unconfined"}),
    ("Seccomp, container", f"{CONTAINER}.seccompProfile", {"type": "Unconfined"}),
    ("Sysctls", "securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    # restricted
    ("Volume Types: NFS", "volumes.0", {"name": "tmp", "nfs": {"server": "s", "path": "/"}}),
    ("Volume Types: gitRepo", "volumes.0", {"name": "tmp", "gitRepo": {"repository": "r"}}),
    ("Privilege Escalation: true", f"{CONTAINER}.allowPrivilegeEscalation", True),
    ("Privilege Escalation: missing", f"{CONTAINER}.allowPrivilegeEscalation", None),
    ("Running as Non-root: pod says no", "securityContext.runAsNonRoot", False),
    ("Running as Non-root: container says no", f"{CONTAINER}.runAsNonRoot", False),
    ("Running as Non-root: missing", "securityContext.runAsNonRoot", None),
    ("Running as Non-root user, pod", "securityContext.runAsUser", 0),
    ("Running as Non-root user, container", f"{CONTAINER}.runAsUser", 0),
    ("Seccomp: missing", "securityContext.seccompProfile", None),
    ("Capabilities: drops nothing", f"{CONTAINER}.capabilities", None),
    ("Capabilities: drops some", f"{CONTAINER}.capabilities", {"drop": ["NET_RAW"]}),
    ("Capabilities: adds", f"{CONTAINER}.capabilities", {"drop": ["ALL"], "add": ["CHOWN"]}),
    ("no securityContext of a container", CONTAINER, None),
    ("no securityContext of the pod", "securityContext", None),
]


def test_a_good_pod_passes():
    assert restricted_problems(good_pod("main", gpus=1)["spec"], "spec") == []


@pytest.mark.parametrize(("path", "value"), [case[1:] for case in VIOLATIONS], ids=[case[0] for case in VIOLATIONS])
def test_a_planted_violation_is_found(path: str, value: Any):
    found = restricted_problems(planted(good_pod("main")["spec"], path, value), "spec.template.spec")
    assert found
    assert all(problem.startswith("spec.template.spec.") and "restricted" in problem for problem in found)
    field = path.split(".", maxsplit=1)[0]
    assert any(problem.startswith(f"spec.template.spec.{field}") for problem in found) or field == "securityContext"


@pytest.mark.parametrize("kind", ["initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("securityContext", {}),
        ("securityContext.privileged", True),
        ("securityContext.runAsUser", 0),
        ("securityContext.procMount", "Unmasked"),
        ("ports", [{"containerPort": 80, "hostPort": 80}]),
        ("livenessProbe", {"tcpSocket": {"port": 80, "host": "10.0.0.1"}}),
    ],
)
def test_other_containers_are_looked_at_too(kind: str, key: str, value: Any):
    pod = good_pod("main")["spec"]
    pod[kind] = [dict(pod["initContainers"][0], securityContext=dict(pod["initContainers"][0]["securityContext"]))]
    assert restricted_problems(pod, "spec") == []
    found = restricted_problems(planted(pod, f"{kind}.0.{key}", value), "spec")
    assert found
    assert all(problem.startswith(f"spec.{kind}[code].") for problem in found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostNetwork", False),
        (f"{CONTAINER}.capabilities", {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        (f"{CONTAINER}.seccompProfile", {"type": "Localhost", "localhostProfile": "p.json"}),
        (f"{CONTAINER}.seLinuxOptions", {"type": "container_t", "level": "s0:c1"}),
        (f"{CONTAINER}.procMount", "Default"),
        ("containers.0.livenessProbe", {"httpGet": {"port": 80, "host": ""}}),
        ("containers.0.livenessProbe", {"exec": {"command": ["true"]}}),
        ("securityContext.sysctls", [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]),
        ("volumes.0", {"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}),
        ("volumes.0", {"name": "tmp", "ephemeral": {"volumeClaimTemplate": {}}}),
    ],
)
def test_what_is_allowed_passes(path: str, value: Any):
    assert restricted_problems(planted(good_pod("main")["spec"], path, value), "spec") == []


def test_a_container_may_say_what_its_pod_does_not():
    pod = good_pod("main")["spec"]
    for key in ("runAsNonRoot", "seccompProfile"):
        value = pod["securityContext"].pop(key)
        assert len(restricted_problems(pod, "spec")) == 2
        for container in (*pod["initContainers"], *pod["containers"]):
            container["securityContext"][key] = value
        assert restricted_problems(pod, "spec") == []


def test_a_pod_may_not_say_what_its_containers_take_back():
    pod = good_pod("main")["spec"]
    pod["securityContext"]["runAsNonRoot"] = False
    for container in (*pod["initContainers"], *pod["containers"]):
        container["securityContext"]["runAsNonRoot"] = True
    assert len(restricted_problems(pod, "spec")) == 1


@pytest.mark.parametrize(("value", "passes"), [("runtime/default", True), ("localhost/p", True), ("unconfined", False)])
def test_apparmor_in_annotations(value: str, passes: bool):
    pod = good_pod("main")
    annotations = {"container.apparmor.security.beta.kubernetes.io/main": value, "other": "unconfined"}
    assert (restricted_problems(pod["spec"], "spec", annotations) == []) is passes
    pod["metadata"]["annotations"] = annotations
    assert (object_restricted_problems({"kind": "Pod", **pod}) == []) is passes


def test_every_pod_of_a_rayjob_is_looked_at():
    paths = [path for path, _ in pod_templates(good_rayjob(groups=2))]
    assert paths == [
        "spec.rayClusterSpec.headGroupSpec.template",
        "spec.rayClusterSpec.workerGroupSpecs[0].template",
        "spec.rayClusterSpec.workerGroupSpecs[1].template",
        "spec.submitterPodTemplate",
    ]
    assert object_restricted_problems(good_rayjob(groups=2)) == []
    for path in paths:
        plain = path.replace("[", ".").replace("]", "")
        found = object_restricted_problems(planted(good_rayjob(groups=2), f"{plain}.spec.hostPID", True))
        assert len(found) == 1
        assert found[0].startswith(f"RayJob resnet-1: {path}.spec.hostPID is True: leave it out")


def test_jobs_and_pods():
    assert object_restricted_problems(good_job()) == []
    assert object_restricted_problems(planted(good_job(), "spec.template.spec.hostIPC", True))
    pod: Object = {"kind": "Pod", "metadata": {"name": "p"}, "spec": good_pod("main")["spec"]}
    assert object_restricted_problems(pod) == []
    assert object_restricted_problems(planted(pod, "spec.hostIPC", True))[0].startswith("Pod p: spec.hostIPC")


def test_pods_that_the_operator_adds():
    without = planted(good_rayjob(), "spec.submitterPodTemplate", None)
    assert "no securityContext" in object_restricted_problems(without)[0]
    assert "no securityContext" in object_restricted_problems(planted(without, "spec.submissionMode", None))[0]
    assert object_restricted_problems(planted(without, "spec.submissionMode", "HTTPMode")) == []
    assert "SidecarMode" in object_restricted_problems(planted(without, "spec.submissionMode", "SidecarMode"))[0]


def test_the_autoscaler():
    """It has the head's securityContext, unless it is given one."""
    path = "spec.rayClusterSpec.autoscalerOptions.securityContext"
    assert object_restricted_problems(planted(good_rayjob(), "spec.rayClusterSpec.autoscalerOptions", {})) == []
    found = object_restricted_problems(planted(good_rayjob(), path, {"capabilities": {"drop": ["ALL"]}}))
    assert len(found) == 1
    assert found[0].startswith(f"RayJob resnet-1: {path}.allowPrivilegeEscalation")


@pytest.mark.parametrize("value", [None, 3, "text", [], [3], {}])
def test_what_an_overlay_may_have_made_is_no_traceback(value: Any):
    for path in ("spec", "spec.template", "spec.template.spec", "spec.template.spec.containers"):
        object_restricted_problems(planted(good_job(), path, value))
    for path in ("spec.rayClusterSpec", "spec.rayClusterSpec.workerGroupSpecs", "spec.submitterPodTemplate"):
        object_restricted_problems(planted(good_rayjob(), path, value))
    for path in ("securityContext", "volumes", "containers", "initContainers"):
        restricted_problems(planted(good_pod("main")["spec"], path, value), "spec")
