"""What the KubeRay operator, the Job controller, the scheduler and a kubelet would write, done by hand in tests.

    def test_x(hands, kubelet):
        first = hands.start_rayjob("resnet-1")       # RayCluster, head and worker pods, the submitter Job, its pod
        hands.run_pod(first.head)
        hands.rayjob("resnet-1", jobDeploymentStatus="Running", jobStatus="RUNNING")
        hands.end_pod(first.submitter, 1, "Error")
        second = hands.retry_rayjob("resnet-1", first)   # as with backoffLimit: a new RayCluster, the old one is gone
        hands.rayjob("resnet-1", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

Names, labels and owners follow KubeRay 1.7 (controllers/ray: rayjob_controller.go, common/pod.go, common/job.go) and
the Job controller; the pods' contents come from the templates in the objects, so what `submit` wrote is what is there.
"""

from __future__ import annotations

import copy
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apiserver import ApiServer
from kubelet_stub import Kubelet

Object = dict[str, Any]


@dataclass(frozen=True)
class StartedCluster:
    """The names of what one attempt of a RayJob consists of."""

    name: str
    head: str
    workers: list[str]
    submitter: str


@dataclass
class Hands:
    """Bound to one namespace; pods land on the kubelet's Node."""

    server: ApiServer
    namespace: str
    kubelet: Kubelet

    def rayjob(self, name: str, **status: Any) -> Object:
        """Merge into a RayJob's status: jobDeploymentStatus, jobStatus, reason, message, failed, rayClusterName, ..."""
        return self.server.set_status("rayjobs", self.namespace, name, status)

    def job(self, name: str, **status: Any) -> Object:
        """Merge into a batch Job's status: active, failed, succeeded, conditions, ..."""
        return self.server.set_status("jobs", self.namespace, name, status)

    def end_job(self, name: str, succeeded: bool, reason: str = "BackoffLimitExceeded", message: str = "") -> Object:
        """The condition with which the Job controller ends a Job: Complete, or Failed for the reason."""
        condition = {"type": "Complete" if succeeded else "Failed", "status": "True", "lastTransitionTime": stamp()}
        if not succeeded:
            condition |= {"reason": reason, "message": message or "Job has reached the specified backoff limit"}
        return self.job(name, conditions=[condition], active=None, **{"succeeded" if succeeded else "failed": 1})

    def start_rayjob(self, name: str) -> StartedCluster:
        """One attempt: a new RayCluster with its pods (Pending, scheduled), the submitter, and the RayJob's status."""
        rayjob = self.server.get("rayjobs", self.namespace, name)
        spec = rayjob["spec"]["rayClusterSpec"]
        cluster = self._ray_cluster(rayjob, spec)
        cluster_name = cluster["metadata"]["name"]
        if spec.get("authOptions", {}).get("mode") == "token":
            self._token(cluster)
        head = self._ray_pod(cluster, "head", "headgroup", spec["headGroupSpec"]["template"])
        workers = [
            self._ray_pod(cluster, "worker", group["groupName"], group["template"])
            for group in spec.get("workerGroupSpecs", [])
            for _ in range(group.get("replicas", 1))
        ]
        started = rayjob.get("status", {}).get("startTime") or stamp()
        self.rayjob(
            name,
            jobId=f"{name}-{secrets.token_hex(3)}",
            rayClusterName=cluster_name,
            jobDeploymentStatus="Initializing",
            startTime=started,
        )
        return StartedCluster(cluster_name, head, workers, self._submitter(rayjob))

    def retry_rayjob(self, name: str, failed: StartedCluster) -> StartedCluster:
        """The operator's retry: one more failed attempt, whose RayCluster, submitter and pods it deletes; a new one."""
        status = self.server.get("rayjobs", self.namespace, name)["status"]
        self.rayjob(name, jobDeploymentStatus="Retrying", failed=status.get("failed", 0) + 1)
        self.remove(name, failed)
        return self.start_rayjob(name)

    def remove(self, name: str, cluster: StartedCluster) -> None:
        """Everything of one attempt is gone, as after shutdownAfterJobFinishes; the RayJob itself stays."""
        for pod in (cluster.head, *cluster.workers, cluster.submitter):
            self.server.delete("pods", self.namespace, pod)
        self.server.delete("rayclusters", self.namespace, cluster.name)
        self.server.delete("jobs", self.namespace, name)

    def job_pod(self, name: str) -> str:
        """One pod of a batch Job (Pending, scheduled), as the Job controller makes it. Returns its name."""
        job = self.server.get("jobs", self.namespace, name)
        uid = job["metadata"]["uid"]
        return self.pod(job, f"{name}-{_suffix()}", job["spec"]["template"], {"job-name": name, "controller-uid": uid})

    def pod(self, owner: Object, name: str, template: Object, labels: dict[str, str], scheduled: bool = True) -> str:
        """A pod from a template, with the template's labels over those given (KubeRay's rule). Returns its name."""
        template = copy.deepcopy(template)
        metadata = template.get("metadata", {})
        pod_spec = template["spec"]
        if scheduled:
            pod_spec["nodeName"] = self.kubelet.node
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": labels | metadata.get("labels", {}),
                "annotations": metadata.get("annotations", {}),
                "ownerReferences": [owner_reference(owner)],
            },
            "spec": pod_spec,
        }
        self.server.create(manifest, self.namespace)
        return name

    def run_pod(self, name: str) -> None:
        """All its containers run (and its init containers are done)."""
        self._containers(name, "Running", {"running": {"startedAt": stamp()}}, ready=True)

    def wait_pod(self, name: str, reason: str, message: str = "") -> None:
        """All its containers wait: reason ImagePullBackOff, ErrImagePull, CreateContainerConfigError, ..."""
        self._containers(name, "Pending", {"waiting": {"reason": reason, "message": message}})

    def end_pod(self, name: str, exit_code: int, reason: str = "", message: str = "") -> None:
        """All its containers ended: exit code 137 with reason OOMKilled, 0 with Completed, ..."""
        reason = reason or ("Error" if exit_code else "Completed")
        ended = {"exitCode": exit_code, "reason": reason, "message": message, "finishedAt": stamp()}
        phase = "Failed" if exit_code else "Succeeded"
        self._containers(name, phase, {"terminated": ended | {"startedAt": stamp(-60)}})

    def evict_pod(self, name: str, message: str) -> None:
        """As a kubelet under pressure: phase Failed, reason Evicted."""
        self.server.set_status(
            "pods", self.namespace, name, {"phase": "Failed", "reason": "Evicted", "message": message}
        )

    def unschedulable_pod(self, name: str, message: str) -> None:
        """As the scheduler, e.g. `0/3 nodes are available: 3 Insufficient nvidia.com/gpu.`"""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self.server.set_status("pods", self.namespace, name, {"phase": "Pending", "conditions": [condition]})

    def event(self, plural: str, name: str, reason: str, message: str, kind: str = "Warning") -> None:
        """An Event about an object of this namespace. kind: Warning or Normal."""
        involved = self.server.get(plural, self.namespace, name)
        reference = {key: involved["metadata"][key] for key in ("name", "namespace", "uid")}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{secrets.token_hex(8)}"},
            "involvedObject": {"kind": involved["kind"], "apiVersion": involved["apiVersion"], **reference},
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": stamp(),
            "lastTimestamp": stamp(),
            "source": {"component": "test"},
        }
        self.server.create(event, self.namespace)

    def gpus(self, count: int, product: str = "", kind: str = "nvidia.com/gpu") -> None:
        """The kubelet's Node has this many, as the device plugin and GPU feature discovery tell it."""
        resources = {kind: str(count)}
        self.server.set_status("nodes", None, self.kubelet.node, {"capacity": resources, "allocatable": resources})
        if product:
            labels = {"nvidia.com/gpu.product": product}
            self.server.patch("nodes", None, self.kubelet.node, {"metadata": {"labels": labels}})

    def _containers(self, name: str, phase: str, state: Object, ready: bool = False) -> None:
        spec = self.server.get("pods", self.namespace, name)["spec"]
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": stamp(), "finishedAt": stamp()}}
        status: Object = {
            "phase": phase,
            "containerStatuses": [_container_status(part, state, ready) for part in spec["containers"]],
            "initContainerStatuses": [_container_status(part, done, True) for part in spec.get("initContainers", [])],
        }
        if phase != "Pending":
            status["startTime"] = stamp()
        self.server.set_status("pods", self.namespace, name, status)

    def _ray_cluster(self, rayjob: Object, spec: Object) -> Object:
        name = rayjob["metadata"]["name"]
        labels = {"ray.io/originated-from-cr-name": name, "ray.io/originated-from-crd": "RayJob"}
        manifest = {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {
                "name": f"{name}-{_suffix()}",
                "labels": rayjob["metadata"].get("labels", {}) | labels,
                "ownerReferences": [owner_reference(rayjob)],
            },
            "spec": spec,
        }
        return self.server.create(manifest, self.namespace)

    def _token(self, cluster: Object) -> None:
        """The Secret with the dashboard's token; KubeRay names it after the RayCluster."""
        name = cluster["metadata"]["name"]
        metadata = {"name": name, "ownerReferences": [owner_reference(cluster)]}
        data = {"auth_token": f"token-of-{name}"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
        self.server.create(secret, self.namespace)

    def _ray_pod(self, cluster: Object, node_type: str, group: str, template: Object) -> str:
        cluster_name = cluster["metadata"]["name"]
        middle = "head" if node_type == "head" else f"{group}-worker"
        labels = {
            "ray.io/cluster": cluster_name,
            "ray.io/node-type": node_type,
            "ray.io/group": group,
            "ray.io/identifier": f"{cluster_name}-{node_type}",
            "ray.io/is-ray-node": "yes",
            "app.kubernetes.io/name": "kuberay",
            "app.kubernetes.io/created-by": "kuberay-operator",
        }
        return self.pod(cluster, f"{cluster_name}-{middle}-{_suffix()}", template, labels)

    def _submitter(self, rayjob: Object) -> str:
        """The Job that runs `ray job submit`: it bears the RayJob's name and is made anew for each attempt."""
        name = rayjob["metadata"]["name"]
        template = copy.deepcopy(rayjob["spec"]["submitterPodTemplate"])
        template["spec"].setdefault("restartPolicy", "Never")
        manifest = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "labels": {
                    "ray.io/originated-from-cr-name": name,
                    "ray.io/originated-from-crd": "RayJob",
                    "app.kubernetes.io/created-by": "kuberay-operator",
                },
                "ownerReferences": [owner_reference(rayjob)],
            },
            "spec": {"backoffLimit": 0, "template": template},
        }
        self.server.create(manifest, self.namespace)
        return self.job_pod(name)


def owner_reference(owner: Object) -> Object:
    metadata = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"]}
    return reference | {"uid": metadata["uid"], "controller": True, "blockOwnerDeletion": True}


def stamp(seconds: float = 0) -> str:
    """A time that many seconds from now, as the API writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _suffix() -> str:
    return "".join(secrets.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))


def _container_status(container: Object, state: Object, ready: bool) -> Object:
    status = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
    return status | {"state": state, "ready": ready}


@pytest.fixture
def hands(apiserver: ApiServer, namespace: str, kubelet: Kubelet) -> Hands:
    return Hands(apiserver, namespace, kubelet)
