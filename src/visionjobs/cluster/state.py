"""The state of a job on the cluster: its RayJob or Job joined with its pods, their events and its place in the queue.

What the cluster does not serve (KubeRay, Kueue) or does not let this user read (events) is simply not told. An object
that is gone while its pods still write their last checkpoint is `stopping`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from visionjobs.cluster.client import Cluster, ForbiddenError, NotFoundError, Object
from visionjobs.cluster.job_reasons import OPERATOR_SECONDS, creation_reasons, event_time, failure, job_failure
from visionjobs.cluster.kueue import QUEUE_LABEL, queue_reason
from visionjobs.cluster.phases import ENDED, Phase, job_phase, rayjob_phase
from visionjobs.cluster.pod_reasons import one_line, pod_reason

MANAGED = {"app.kubernetes.io/managed-by": "visionjobs"}


@dataclass(frozen=True)
class PodState:
    """One pod. phase: Pending, Running, Succeeded, Failed or Unknown; reason: one line, what is wrong and what to do;
    container: its main container; started: of that container; times are RFC 3339."""

    name: str
    role: str
    phase: str
    reason: str | None
    node: str | None
    container: str
    started: str | None
    created: str
    ended: bool


@dataclass(frozen=True)
class JobState:
    """One job. backend: ray where a Ray that was there before has it (ray_jobs.py); kind: run, evaluate, import or
    sweep; retries: how often its pods were begun anew here; pods: oldest first, of earlier retries too where they are
    still there; times are RFC 3339."""

    name: str
    backend: Literal["rayjob", "job", "ray"]
    kind: str
    job: str
    owner: str
    phase: Phase
    reasons: list[str]
    created: str
    started: str | None
    finished: str | None
    retries: int
    pods: list[PodState]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.phase in ENDED


@dataclass(frozen=True)
class Surroundings:
    """What a job's state is told from, besides its own object.

    events: oldest first; workloads: Kueue's, None where they cannot be read.
    """

    pods: Sequence[Object]
    events: Sequence[Object]
    workloads: Sequence[Object] | None


def find_job(cluster: Cluster, name: str) -> JobState | None:
    """The job of that name, or None. Raises UserError (not permitted) and ClusterError (no answer)."""
    obj = cluster.get("RayJob", name) or cluster.get("Job", name)
    pods = cluster.list("Pod", MANAGED | {"visionjobs/run": name})
    if obj is None or _owned_by_rayjob(obj):
        return _gone(name, pods)
    return job_state(obj, Surroundings(pods, _events(cluster), _workloads(cluster, [obj])))


def list_jobs(cluster: Cluster) -> list[JobState]:
    """All jobs of visionjobs in the namespace, oldest first. Raises as find_job."""
    objects = [obj | {"kind": kind} for kind in ("RayJob", "Job") for obj in _served(cluster, kind)]
    objects = [obj for obj in objects if not _owned_by_rayjob(obj)]
    pods = cluster.list("Pod", MANAGED)
    by_run: dict[str, list[Object]] = {}
    for pod in pods:
        by_run.setdefault(_labels(pod).get("visionjobs/run", ""), []).append(pod)
    events, workloads = (_events(cluster) if objects else []), _workloads(cluster, objects)
    states = [job_state(obj, Surroundings(by_run.pop(_name(obj), []), events, workloads)) for obj in objects]
    gone = [state for name, theirs in by_run.items() if (state := _gone(name, theirs)) is not None]
    return sorted(states + gone, key=lambda state: (state.created, state.name))


def job_state(obj: Object, around: Surroundings) -> JobState:
    """Pure: the state that these objects tell of the RayJob or Job `obj`."""
    pods = sorted(around.pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], _name(pod)))
    told: dict[str, list[Object]] = {_name(pod): [] for pod in pods}
    for event in around.events:
        about = event["involvedObject"]
        if about.get("kind") == "Pod" and about.get("name") in told:
            told[about["name"]].append(event)
    states = [pod_state(pod, told[_name(pod)]) for pod in pods]
    newest = max((pod.created for pod in states), default="")
    refusals = list(creation_reasons(_about(obj, around.events), newest))[:1]
    rayjob, placed = obj["kind"] == "RayJob", _placed(states) and not refusals
    running = any(pod.phase == "Running" and pod.started and not pod.ended for pod in states)
    phase = rayjob_phase(obj, placed) if rayjob else job_phase(obj, placed, running)
    labels, status = _labels(obj), obj.get("status") or {}
    reasons = _job_reasons(obj, phase, around)
    if phase in ("pending", "starting"):
        reasons += refusals or _waiting(obj, states)
    reasons += _pod_reasons(states, phase)
    ends = [part.get("lastTransitionTime") for part in status.get("conditions") or [] if part["type"] == "Failed"]
    finished = status.get("endTime") or status.get("completionTime") or next(iter(ends), None)
    return JobState(
        name=_name(obj),
        backend="rayjob" if rayjob else "job",
        kind=labels.get("visionjobs/kind", "run"),
        job=labels.get("visionjobs/job", ""),
        owner=labels.get("visionjobs/owner", ""),
        phase=phase,
        reasons=list(dict.fromkeys(reasons)),
        created=obj["metadata"]["creationTimestamp"],
        started=status.get("startTime"),
        finished=finished if phase in ENDED else None,
        retries=status.get("failed") or 0,
        pods=states,
    )


def pod_state(pod: Object, events: Sequence[Object]) -> PodState:
    """Pure: one pod's state. events: about this pod."""
    status, containers = pod.get("status") or {}, pod["spec"]["containers"]
    main = containers[0]["name"]
    parts = {part["name"]: part.get("state") or {} for part in status.get("containerStatuses") or []}
    state = parts.get(main, {})
    phase = status.get("phase", "Pending")
    return PodState(
        name=_name(pod),
        role=_labels(pod).get("visionjobs/role", "job"),
        phase=phase,
        reason=pod_reason(pod, events),
        node=pod["spec"].get("nodeName"),
        container=main,
        started=(state.get("running") or state.get("terminated") or {}).get("startedAt"),
        created=pod["metadata"]["creationTimestamp"],
        ended=phase in ("Succeeded", "Failed"),
    )


def _placed(pods: Sequence[PodState]) -> bool:
    """Whether there are pods, all on nodes, and nothing keeps them."""
    live = [pod for pod in pods if not pod.ended]
    return bool(live) and all(pod.node and not pod.reason for pod in live)


def _job_reasons(obj: Object, phase: Phase, around: Surroundings) -> list[str]:
    status, rayjob = obj.get("status") or {}, obj["kind"] == "RayJob"
    deployment = status.get("jobDeploymentStatus") or ""
    if phase == "stopping":
        return ["it was deleted, and its pods are ending: they write a checkpoint first"]
    if phase == "failed":
        if rayjob and deployment == "Complete":
            return ["it was stopped (Ray job STOPPED): it may be continued"]
        return [failure(status.get("reason") or "", status.get("message") or "") if rayjob else job_failure(obj)]
    if phase == "queued":
        return [queue_reason(obj, around.workloads)]
    return []


def _waiting(obj: Object, pods: Sequence[PodState]) -> list[str]:
    """What a job waits for that no pod tells."""
    status, rayjob = obj.get("status") or {}, obj["kind"] == "RayJob"
    if status.get("jobDeploymentStatus") == "Retrying":
        told = one_line((status.get("message") or status.get("reason") or "").split("\n")[0])
        return [f"an attempt failed ({told}), and the operator begins the next" if told else "it is tried again"]
    if not rayjob and status.get("failed") and all(pod.ended for pod in pods):
        return [f"{status['failed']} pod(s) failed; the next begins after a pause that grows to 6 minutes"]
    if rayjob and not status and _age(obj) > OPERATOR_SECONDS:
        return ["the KubeRay operator has not taken it up: is it running, and does it watch this namespace?"]
    return []


def _pod_reasons(pods: Sequence[PodState], phase: Phase) -> list[str]:
    """What pods wait for, or why they ended: of a Job that goes on only the live ones, or the newest."""
    if phase in ("succeeded", "stopping"):
        return []
    of_job = [pod for pod in pods if pod.role == "job"]  # of a RayJob, the operator deletes those of earlier attempts
    shown = [pod for pod in pods if pod.reason and (phase == "failed" or pod.role != "job")]
    if phase != "failed":
        shown += [pod for pod in of_job if not pod.ended] or of_job[-1:]
    if any(pod.role != "submitter" and pod.reason for pod in shown):
        shown = [pod for pod in shown if pod.role != "submitter"]  # it ends because they did
    groups: dict[tuple[str, str], list[PodState]] = {}
    for pod in shown:
        if pod.reason:
            groups.setdefault((pod.role, pod.reason), []).append(pod)
    return [
        f"{role} pod {same[0].name}: {reason}" if len(same) == 1 else f"{len(same)} {role} pods: {reason}"
        for (role, reason), same in groups.items()
    ]


def _gone(name: str, pods: Sequence[Object]) -> JobState | None:
    """A job whose object is deleted: it is stopping as long as pods that were told to go have not ended."""
    states = [pod_state(pod, []) for pod in pods if pod["metadata"].get("deletionTimestamp")]
    states = [state for state in states if not state.ended]
    if not states:
        return None
    labels = _labels(pods[0])
    backend: Literal["rayjob", "job"] = "job" if all(state.role == "job" for state in states) else "rayjob"
    return JobState(
        name=name, backend=backend, kind=labels.get("visionjobs/kind", "run"), job=labels.get("visionjobs/job", ""),
        owner=labels.get("visionjobs/owner", ""), phase="stopping",
        reasons=["it was deleted, and its pods are ending: they write a checkpoint first"],
        created=min(state.created for state in states), started=None, finished=None, retries=0, pods=states,
    )  # fmt: skip


def _about(obj: Object, events: Sequence[Object]) -> list[Object]:
    """Events about the job itself, and about its RayCluster and submitter."""
    names = {_name(obj), (obj.get("status") or {}).get("rayClusterName")}
    kinds = ("RayJob", "RayCluster", "Job")
    return [
        event
        for event in events
        if event["involvedObject"].get("kind") in kinds and event["involvedObject"].get("name") in names
    ]


def _events(cluster: Cluster) -> list[Object]:
    """Warnings of the namespace, oldest first; none where this user may not read them."""
    try:
        return sorted(cluster.list("Event", fieldSelector="type=Warning"), key=event_time)
    except (NotFoundError, ForbiddenError):
        return []


def _workloads(cluster: Cluster, objects: Sequence[Object]) -> list[Object] | None:
    """Kueue's, if any of these jobs has a queue; None where none are served (another version's) or may be read."""
    if not any(QUEUE_LABEL in _labels(obj) for obj in objects):
        return []
    try:
        return cluster.list("Workload")
    except (NotFoundError, ForbiddenError):
        return None


def _served(cluster: Cluster, kind: str) -> list[Object]:
    try:
        return cluster.list(kind, MANAGED)
    except NotFoundError:
        return []


def _owned_by_rayjob(obj: Object) -> bool:
    """KubeRay's submitter is a Job that bears the RayJob's name."""
    return any(reference["kind"] == "RayJob" for reference in obj["metadata"].get("ownerReferences") or [])


def _age(obj: Object) -> float:
    created = datetime.fromisoformat(obj["metadata"]["creationTimestamp"])
    return (datetime.now(UTC) - created).total_seconds()


def _labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])
