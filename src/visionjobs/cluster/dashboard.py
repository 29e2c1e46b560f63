"""Where a job's Ray dashboard is, and how a person gets the token that it asks for. The token itself is not read."""

from __future__ import annotations

import shlex

from visionjobs.cluster.client import Cluster
from visionjobs.cluster.state import JobState, PodState

DASHBOARD_PORT = 8265
"""Ray's default, of KubeRay's head and of the private Ray in a Job's pod."""

TOKEN_PATH = "/cache/ray/token"  # noqa: S105 (a path)
"""Of a private Ray's token (cluster/local_state.py), in the pods' VISIONJOBS_CACHE."""

KUBERAY_NAME_LENGTH = 50


def head_pod(job: JobState) -> PodState | None:
    """The running pod with the dashboard, the newest one; None where there is none."""
    pods = [pod for pod in job.pods if pod.role in ("head", "job") and pod.phase == "Running" and pod.started]
    return pods[-1] if pods else None


def token_command(cluster: Cluster, pod: PodState, context: str | None) -> str:
    """A command line that prints the token of the Ray in `pod`."""
    kubectl = ["kubectl", *(["--context", context] if context else []), "-n", cluster.namespace]
    if pod.role == "job":
        return shlex.join([*kubectl, "exec", pod.name, "-c", pod.container, "--", "cat", TOKEN_PATH])
    secret, key = _token_secret(cluster, pod)
    return f"{shlex.join([*kubectl, 'get', 'secret', secret, '-o', f'jsonpath={{.data.{key}}}'])} | base64 -d"


def _token_secret(cluster: Cluster, pod: PodState) -> tuple[str, str]:
    """Name and key of the Secret: as the operator wrote them into the head's RAY_AUTH_TOKEN, else as it names them.

    Source: KubeRay 1.7, controllers/ray/common/pod.go (the variable) and utils.CheckName (the RayCluster's name, of
    which the last 50 characters count, beginning with a letter).
    """
    obj = cluster.get("Pod", pod.name) or {"metadata": {}, "spec": {"containers": []}}
    for container in obj["spec"]["containers"]:
        for variable in container.get("env") or []:
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if variable["name"] == "RAY_AUTH_TOKEN" and reference:
                return reference["name"], reference["key"]
    name = (obj["metadata"].get("labels") or {}).get("ray.io/cluster", pod.name.partition("-head-")[0])
    name = name[-KUBERAY_NAME_LENGTH:]
    return (name if name[:1].isalpha() else "r" + name[1:]), "auth_token"
