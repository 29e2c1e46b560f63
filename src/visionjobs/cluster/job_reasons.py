"""Why a RayJob or a Job is where it is, besides its pods: what the operator, the controllers and quotas say.

Source of the operator's words: KubeRay's rayjob_types.go (JobFailedReason) and its event types; of the Job
controller's: the Kubernetes documentation "Jobs".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from visionjobs.cluster.client import Object
from visionjobs.cluster.pod_reasons import exit_hint, one_line

CREATE_FAILURES = ("FailedCreate", "FailedToCreateHeadPod", "FailedToCreateWorkerPod", "FailedToCreateJob")
"""Events about a Job or a RayCluster whose pods the API server refused."""

REFUSALS = ("InvalidRayJobSpec", "InvalidRayJobMetadata", "InvalidRayJobStatus", "InvalidRayClusterSpec")
"""Events of the operator about an object that it will not run."""

FAILURES = {
    "SubmissionFailed": "the submitter could not hand the job to Ray: the submitter pod's log tells why",
    "DeadlineExceeded": "its time is over (activeDeadlineSeconds): continue it, with more limits.hours",
    "PreRunningDeadlineExceeded": "its pods were not ready in time (preRunningDeadlineSeconds)",
    "JobDeploymentStatusTransitionGracePeriodExceeded": "Ray and the operator disagree on its state: continue it",
    "ValidationFailed": "the operator refuses it",
    "BackoffLimitExceeded": "all its attempts here failed: find out why (logs), then continue it",
    "PodFailurePolicy": "an exit status that would repeat ended it",
}
"""`reason` of a RayJob or of a Job's condition Failed -> what it means and what to do."""

OPERATOR_SECONDS = 30
"""The operator takes a RayJob up within seconds."""


def failure(reason: str, message: str) -> str:
    """A job that ended badly. message: Ray's, which may hold a whole log, the operator's or the Job controller's."""
    first = one_line(message.strip().split("\n")[0]) if message else ""
    code = re.search(r"exit code (\d+)", message)
    if reason in ("AppFailed", "PodFailurePolicy") and code:
        return f"its command ended with exit status {code[1]}: {exit_hint(int(code[1]))}"
    meaning = FAILURES.get(reason, f"it failed ({reason})" if reason else "it failed")
    return f"{meaning} ({first})" if first else meaning


def job_failure(job: Object) -> str:
    """Of a batch Job: its condition Failed, in words."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition["type"] in ("Failed", "FailureTarget") and condition["status"] == "True":
            return failure(condition.get("reason", ""), condition.get("message") or "")
    return "it failed"


def creation_reasons(events: Sequence[Object], since: str) -> Iterator[str]:
    """Why pods are not made: from the newest events about the Job, RayJob or RayCluster after `since` (RFC 3339)."""
    for event in reversed(events):
        reason, message = event.get("reason", ""), one_line(event.get("message") or "")
        if event_time(event) < since:
            return
        if reason in REFUSALS:
            yield f"the operator refuses it: {message}"
        elif reason in CREATE_FAILURES:
            yield _refused_pod(message)


def _refused_pod(message: str) -> str:
    """A pod that the API server's admission refused."""
    if "exceeded quota" in message:
        found = re.search(r"exceeded quota: ([\w.-]+)", message)
        return f"ResourceQuota {found[1] if found else ''} leaves too little: {_over_quota(message)}"
    if found := re.search(r"violates PodSecurity \"?([\w:.-]+)", message):
        return f"the namespace's Pod Security level {found[1]} refuses its pods: {_after(message, found.end())}"
    if found := re.search(r"[Pp]riorityClass with name (\S+) was found", message):
        return f"there is no PriorityClass {found[1]}: install k8s/cluster, or unset VISIONJOBS_PRIORITY"
    if "serviceaccount" in message.lower():
        return "the namespace has no service account visionjobs: install k8s/cluster there"
    return f"its pods are refused: {message}"


def _over_quota(message: str) -> str:
    """Of 'requested: a=1,b=2, used: a=3,b=2, limited: a=3,b=4' each resource that does not fit."""
    parts = {
        key: dict(item.split("=", 1) for item in re.findall(r"[\w./-]+=[\w.]+", text))
        for key, text in re.findall(r"(requested|used|limited): (.*?)(?=, (?:used|limited): |$)", message)
    }
    told = [
        f"{name}: {amount} more wanted, {parts.get('used', {}).get(name, '?')} of "
        f"{parts.get('limited', {}).get(name, '?')} used"
        for name, amount in parts.get("requested", {}).items()
    ]
    return "; ".join(told) + " (wait for other jobs to end, or ask for less)" if told else message


def _after(message: str, position: int) -> str:
    return message[position:].strip('": ') or message


def event_time(event: Object) -> str:
    """When it was last seen, RFC 3339."""
    series = event.get("series") or {}
    found = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(found or event["metadata"].get("creationTimestamp") or "")
