"""Why a pod does not run, or ended badly: one line that says what it is and what to do.

Reads what the scheduler, the kubelet and the controllers write: `status.reason`, the pod's conditions, the states of
its containers, and its Warning events (Kubernetes documentation: "Pod Lifecycle", "Disruptions", "Node-pressure
Eviction").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from visionjobs.cluster.client import Object

PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
"""Why a container waits: its image is not there."""

CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
"""Why a container waits: it cannot be made."""

STARTING = ("ContainerCreating", "PodInitializing")
"""Why a container waits: nothing is wrong yet."""

MEMORY_HINT = "raise resources.memory, or lower train.batch"

ADVICE = {
    "nvidia.com/gpu": "wait for GPUs, or ask for fewer: resources.workers, resources.workers_per_pod (on one node)",
    "cpu": "ask for fewer: resources.cpus, resources.workers_per_pod",
    "memory": "ask for less: resources.memory, resources.workers_per_pod",
    "ephemeral-storage": "ask for less of it in the overlay file",
}
"""Resource that no node has enough of -> what to do."""

PLACEMENT = (
    (r"untolerated taint \{([^:}]+)", "taint {}: add its toleration to the overlay file"),
    (r"didn't match Pod's node affinity/selector", "no node has the labels that the overlay file's nodeSelector asks"),
    (r"were unschedulable", "nodes are cordoned: ask whoever runs the cluster"),
    (r"[Tt]oo many pods", "nodes are full of pods: wait"),
    (r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim \"([^\"]+)\" not found",
     "its PersistentVolumeClaim is not bound: check the claim that the overlay file names"),
    (r"volume node affinity conflict", "its PersistentVolume is in another zone than the nodes that are free"),
)  # fmt: skip
"""Part of the scheduler's message -> what it means here."""

DISRUPTIONS = {
    "PreemptionByScheduler": "preempted by a pod of higher priority",
    "PreemptionByKubeScheduler": "preempted by a pod of higher priority",
    "DeletionByTaintManager": "removed: its node was tainted (drained, out of service or not ready)",
    "EvictionByEvictionAPI": "evicted: its node is being drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "ended by its node (pressure or shutdown)",
}
"""Reason of the condition DisruptionTarget -> what it means."""


def pod_reason(pod: Object, events: Sequence[Object]) -> str | None:
    """What keeps this pod from running or ended it, on one line; None where nothing is wrong.

    events: those about this pod, oldest first.
    """
    status = pod.get("status", {})
    found = next(_candidates(pod, status, events), None)
    return None if found is None else one_line(found)


def _candidates(pod: Object, status: Object, events: Sequence[Object]) -> Iterator[str]:
    """Reasons, the most telling first."""
    yield from _removed(status)
    yield from _containers(pod, status)
    yield from _unschedulable(status)
    if pod["metadata"].get("deletionTimestamp") and status.get("phase") not in ("Succeeded", "Failed"):
        seconds = pod["metadata"].get("deletionGracePeriodSeconds")
        yield f"it was told to stop, and has {seconds} s to write a checkpoint"
    if status.get("phase") == "Pending":
        yield from _stuck(events)
    if status.get("phase") == "Unknown":
        yield "its node does not answer: if it stays away the pod is replaced"


def _removed(status: Object) -> Iterator[str]:
    """Evictions, preemptions, and what a kubelet refused."""
    reason, message = status.get("reason"), one_line(status.get("message") or "")
    if reason == "Evicted":
        yield f"evicted by its node: {message or 'it does not say why'}; {_eviction_hint(message)}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            meaning = DISRUPTIONS.get(condition.get("reason", ""), condition.get("reason", "disrupted"))
            yield f"{meaning}: the run goes on from its last checkpoint in the next attempt"
    if reason in ("Preempting", "Preempted"):
        yield "preempted by a pod of higher priority: the run goes on from its last checkpoint in the next attempt"
    elif reason and status.get("phase") == "Failed" and reason not in ("Evicted", "DeadlineExceeded"):
        yield f"refused or ended by its node ({reason}): {message}" if message else f"ended by its node ({reason})"


def _eviction_hint(message: str) -> str:
    if "EmptyDir" in message:
        return "raise that volume's sizeLimit in the overlay file"
    if "memory" in message:
        return MEMORY_HINT
    return "its node was short of it: the run goes on from its last checkpoint in the next attempt"


def _containers(pod: Object, status: Object) -> Iterator[str]:
    for part in status.get("initContainerStatuses") or []:
        yield from _container(part, init=True)
    for part in status.get("containerStatuses") or []:
        yield from _container(part, init=False)


def _container(part: Object, init: bool) -> Iterator[str]:
    state, last = part.get("state") or {}, part.get("lastState") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    name = part["name"]
    if ended.get("reason") == "OOMKilled":
        yield f"{name} ran out of memory (OOMKilled): {MEMORY_HINT}"
    waiting = state.get("waiting") or {}
    why, message = waiting.get("reason", ""), one_line(waiting.get("message") or "")
    if why in PULL:
        told = f" ({message})" if message else ""
        image = part.get("image", "")
        yield (
            f"the image {image} cannot be pulled, {why}{told}: check VISIONJOBS_IMAGE, that `make push` pushed it, and "
            "imagePullSecrets in the overlay file"
        )
    elif why in CONFIG:
        yield _unmakeable(why, message)
    elif ended.get("exitCode"):
        yield _exited(name, ended, init)
    elif why and why not in STARTING:
        yield f"{name} waits, {why}: {message}" if message else f"{name} waits: {why}"


def _exited(name: str, ended: Object, init: bool) -> str:
    code, message = ended["exitCode"], one_line(ended.get("message") or "")
    told = f": {message}" if message else ""
    if init and name == "fetch-code":
        return f"the code that travels with the job could not be fetched (exit {code}){told}; `visionjobs submit` again"
    if init:
        return f"init container {name} failed (exit {code}){told}: its log tells why"
    if code in (137, 143):
        return f"{name} was killed (exit {code}){told}: the next attempt goes on from the last checkpoint"
    return f"{name} ended with exit status {code}{told}: {exit_hint(code)}"


def exit_hint(code: int) -> str:
    """What the exit status of `visionjobs attempt` means and asks for."""
    return {
        2: "a mistake in what was asked, which the log names",
        3: "it failed for good, and is not tried again; the log tells why",
        4: "the storage did not answer; it may be continued",
        5: "a newer attempt holds the run",
    }.get(code, "see `visionjobs logs`; it may be continued")


def _unmakeable(why: str, message: str) -> str:
    """A container that lacks a Secret, one of its keys, or something else."""
    if found := re.search(r'secret "([^"]+)" not found', message):
        return f"there is no Secret {found[1]} in the namespace: make it from k8s/cluster's example"
    if found := re.search(r"couldn't find key (\S+) in Secret (?:\S+/)?(\S+)", message):
        return f"Secret {found[2]} has no key {found[1]}: add it"
    return f"the container cannot be made, {why}: {message}"


def _unschedulable(status: Object) -> Iterator[str]:
    for condition in status.get("conditions") or []:
        if condition["type"] != "PodScheduled" or condition["status"] != "False":
            continue
        if condition.get("reason") == "SchedulingGated":
            yield "it waits for its queue to admit it (scheduling gate)"
        elif condition.get("reason") == "Unschedulable":
            yield f"unschedulable: {explain_unschedulable(condition.get('message') or '')}"


def explain_unschedulable(message: str) -> str:
    """The scheduler's message in fewer words, with what to do.

    "0/5 nodes are available: 2 Insufficient nvidia.com/gpu, 3 node(s) had untolerated taint {a: b}. preemption: ..."
    """
    told = one_line(re.split(r"\.? preemption:", message)[0])
    found: dict[str, None] = {}
    for count, resource in re.findall(r"(\d+) Insufficient ([\w./-]+[\w])", told):
        advice = ADVICE.get(resource, "ask for less, or another kind of node in the overlay file")
        found[f"{count} node(s) with too little {resource} free ({advice})"] = None
    for pattern, meaning in PLACEMENT:
        for match in re.finditer(pattern, told):
            found[meaning.format(*(group or "" for group in match.groups()))] = None
    nodes = re.match(r"(\d+/\d+) nodes? (?:is|are) available", told)
    return f"{nodes[1]} nodes fit; {'; '.join(found)}" if found and nodes else told or "no node fits"


def _stuck(events: Sequence[Object]) -> Iterator[str]:
    """A pod that is scheduled, but whose volumes or network are not made; newest event."""
    for event in reversed(events):
        message = one_line(event.get("message") or "")
        if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedScheduling"):
            told = explain_unschedulable(message) if event["reason"] == "FailedScheduling" else message
            yield f"unschedulable: {told}" if event["reason"] == "FailedScheduling" else f"{event['reason']}: {told}"


def one_line(text: Any, longest: int = 300) -> str:
    """`text` on one line, cut where it is very long."""
    joined = " ".join(str(text).split())
    return joined if len(joined) <= longest else f"{joined[: longest - 3]}..."
