"""Which phase a RayJob or a Job is in, from its status.

Source: KubeRay 1.7's rayjob_types.go (JobDeploymentStatus, JobStatus); the Kubernetes documentation "Jobs".
"""

from __future__ import annotations

from typing import Literal

from visionjobs.cluster.client import Object

Phase = Literal["queued", "pending", "starting", "running", "succeeded", "failed", "stopping"]
"""queued: Kueue, or whoever suspended it, has not let it begin; pending: its pods are not all there or not placed;
starting: they are, and what they run has not begun; stopping: it was deleted, and its pods still end."""

ENDED = ("succeeded", "failed")

DEPLOYMENTS: dict[str, Phase] = {
    "Failed": "failed",
    "ValidationFailed": "failed",
    "Suspending": "queued",
    "Suspended": "queued",
    "Retrying": "starting",
}
"""RayJob's status.jobDeploymentStatus -> phase, where nothing else has a say in it. The others are "" (the operator has
not seen it), Initializing (the RayCluster is not ready), Waiting, Running (submitted) and Complete."""


def rayjob_phase(rayjob: Object, placed: bool) -> Phase:
    """placed: whether all pods are on nodes, and nothing keeps them from starting."""
    status = rayjob.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus") or "", status.get("jobStatus") or ""
    if rayjob["metadata"].get("deletionTimestamp"):
        return "stopping"
    if deployment == "Complete":  # Ray's own word: also STOPPED is Complete to the operator
        return "succeeded" if job == "SUCCEEDED" else "failed"
    if deployment == "Running":
        return "starting" if job in ("", "PENDING") else "running"
    if deployment == "" and rayjob["spec"].get("suspend"):
        return "queued"
    return DEPLOYMENTS.get(deployment, "starting" if placed else "pending")


def job_phase(job: Object, placed: bool, running: bool) -> Phase:
    """placed: as above; running: whether its main container runs."""
    status = job.get("status") or {}
    true = {part["type"] for part in status.get("conditions") or [] if part["status"] == "True"}
    phases: dict[Phase, bool] = {
        "stopping": bool(job["metadata"].get("deletionTimestamp")),
        "succeeded": "Complete" in true,
        "failed": "Failed" in true,
        "queued": "Suspended" in true or bool(job["spec"].get("suspend")),
        "running": running,
        "starting": placed,
    }
    return next((phase for phase, holds in phases.items() if holds), "pending")
