"""Following a job's logs from its submission to its end, over retries and broken connections.

Told of a RayJob is the submitter's log, which follows the driver's; before there is one, the head's. Of a Job it is
that of its pod. A retry is a new pod, which is followed in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from visionjobs.cluster.client import Cluster
from visionjobs.cluster.logs import LogReader
from visionjobs.cluster.state import JobState, PodState, find_job
from visionjobs.errors import ClusterError, UserError

LOOK_SECONDS = 2.0
"""Between two looks at the job's state."""

PATIENCE_SECONDS = 60.0
"""How long a cluster that does not answer is asked again."""

DRIVER_ROLES = ("submitter", "job", "head")
"""Whose log tells what the driver prints, the best first."""

BEFORE_RUNNING = ("queued", "pending", "starting")
"""Phases in which there is a reason why there is no log yet."""

KINDS_OF = {"rayjob": "RayJob", "job": "Job"}
"""Backend -> kind of the object."""

Emit = Callable[[str, bytes], None]
"""Takes a pod's name and one line with its end, from any thread."""

Tell = Callable[[str], None]
"""Takes what is to be said besides the log: why it waits, retries."""


def driver_pods(state: JobState) -> list[PodState]:
    """The pods whose logs are the driver's, one an attempt, oldest first; those that have ended come first."""
    there = [pod.role for pod in state.pods if pod.started] or [pod.role for pod in state.pods]
    role = next((role for role in DRIVER_ROLES if role in there), None)
    return sorted((pod for pod in state.pods if pod.role == role), key=lambda pod: (pod.created, not pod.ended))


def named_pod(state: JobState, name: str) -> PodState:
    """That pod of the job. Raises UserError with the names there are."""
    found = next((pod for pod in state.pods if pod.name == name), None)
    if found is None:
        there = ", ".join(pod.name for pod in state.pods) or "none"
        raise UserError(f'{state.name} has no pod "{name}"; its pods: {there}')
    return found


def why(pod: PodState) -> str:
    """' (reason)' where there is one."""
    return f" ({pod.reason})" if pod.reason else ""


def retries_before(state: JobState) -> int:
    """How many retries there were before the newest pod.

    Of a Job its pods are counted: they stay, and its status leaves out those that the cluster took away.
    """
    return state.retries if state.backend == "rayjob" else max(0, len(driver_pods(state)) - 1)


def first_attempt(cluster: Cluster, state: JobState) -> int:
    """The number of the run's attempt with which the object began."""
    obj = cluster.get(KINDS_OF[state.backend], state.name) or {"metadata": {}}
    text = (obj["metadata"].get("labels") or {}).get("visionjobs/attempt", "")
    return int(text) if text.isdigit() else 1


class Follower:
    """Follows the job `name` until it has ended, or is gone. pod: only this one; every: all pods.

    gone: whether it was deleted meanwhile.
    """

    def __init__(
        self, cluster: Cluster, name: str, emit: Emit, tell: Tell, *, pod: str | None = None, every: bool = False
    ) -> None:
        self.gone = False
        self._cluster, self._name, self._emit, self._tell_out = cluster, name, emit, tell
        self._pod, self._every = pod, every
        self._readers: dict[str, LogReader] = {}
        self._pods: dict[str, PodState] = {}
        self._current: str | None = None
        self._first = 1  # the number of the attempt with which the object began
        self._retries = 0  # how many of its retries the current pod comes after
        self._told_waiting = False
        self._told = ""

    def follow(self) -> JobState | None:
        """The job as it was at its end, or was last seen; None where there is none of that name. To be called once.

        Raises ClusterError after PATIENCE_SECONDS without an answer, UserError where something is not permitted.
        """
        state = last = self._look()
        if state is not None:
            self._first, self._retries = first_attempt(self._cluster, state), retries_before(state)
            if self._pod is not None:
                named_pod(state, self._pod)
        while state is not None:
            self._pods |= {pod.name: pod for pod in state.pods}
            chosen = self._chosen(state)
            self._read(chosen, {pod.name for pod in state.pods})
            if self._is_over(state, chosen):
                return state
            if state.phase in BEFORE_RUNNING and all(self._is_read(pod) for pod in chosen):
                self._tell(f"{state.name} is {state.phase}: {'; '.join(state.reasons) or 'waiting for its pod'}")
            time.sleep(LOOK_SECONDS)
            last, state = state, self._look()
        self.gone = last is not None
        for reader in self._readers.values():
            reader.finish(LOOK_SECONDS)  # what its pods still say
        return last

    def _look(self) -> JobState | None:
        """The job as it is now."""
        deadline: float | None = None
        while True:
            try:
                state = find_job(self._cluster, self._name)
            except ClusterError as error:
                if deadline is None:
                    deadline = time.monotonic() + PATIENCE_SECONDS
                    self._tell(f"{error} Trying again for {PATIENCE_SECONDS:.0f} seconds.")
                elif time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_SECONDS)
            else:
                if deadline is not None:
                    self._tell("The cluster answers again.")
                return state

    def _chosen(self, state: JobState) -> list[PodState]:
        """The pods to read now, also such as are gone but may still have lines to give."""
        if self._every:
            return list(self._pods.values())
        if self._pod is None:
            self._move_on(state)
        name = self._pod or self._current
        return [] if name is None else [self._pods[name]]

    def _move_on(self, state: JobState) -> None:
        """From one attempt's pod to the next one's, and from the head to the submitter."""
        pods = driver_pods(state)
        if self._current is None:
            self._current = pods[-1].name if pods else None
            return
        current = self._pods[self._current]
        if current.role == "head" and pods and pods[0].role != "head":
            self._stop_reading(current)
            self._current = pods[-1].name
            return
        if current.name not in {pod.name for pod in state.pods}:
            self._finish_reading(current)
        elif not self._is_read(current):
            return
        if later := self._later(state, current):
            self._current = later[0].name
            if state.backend == "rayjob" and current.role == "submitter" and state.retries == self._retries:
                self._tell(f"Pod {current.name} ended{why(current)}; {self._current} tells the log from its beginning.")
                return
            self._tell_of_retry(current, begun=True)
            self._retries, self._told_waiting = (
                (state.retries if state.backend == "rayjob" else self._retries + 1),
                False,
            )
        elif state.retries > self._retries and not state.ended:
            self._tell_of_retry(current, begun=False)

    def _later(self, state: JobState, pod: PodState) -> list[PodState]:
        """The driver's pods after this one."""
        pods = driver_pods(state)
        if pods and pods[0].role == "head" and pod.role != "head":
            return []  # the next submitter is not there yet
        names = [other.name for other in pods]
        return pods[names.index(pod.name) + 1 :] if pod.name in names else pods

    def _tell_of_retry(self, pod: PodState, *, begun: bool) -> None:
        number = self._first + self._retries
        if not self._told_waiting:
            following = f"attempt {number + 1} begins" if begun else "waiting for the next"
            self._tell(f"Attempt {number} ended{why(pod)}, {following}.")
        elif begun:
            self._tell(f"Attempt {number + 1} begins.")
        self._told_waiting = True

    def _read(self, pods: list[PodState], there: set[str]) -> None:
        for pod in pods:
            if pod.started is None:
                continue
            if pod.name not in self._readers:
                emit = partial(self._emit, pod.name)
                self._readers[pod.name] = LogReader(self._cluster, pod.name, pod.container, emit)
            self._readers[pod.name].follow(ended=pod.ended or pod.name not in there)
        for name, reader in self._readers.items():
            if reader.error is not None:
                raise reader.error
            if reader.trouble is not None:
                self._tell(f"The log of pod {name} cannot be read to its end: {reader.trouble}")
                reader.trouble = None

    def _stop_reading(self, pod: PodState) -> None:
        if pod.name in self._readers:
            self._readers[pod.name].stop()

    def _finish_reading(self, pod: PodState) -> None:
        if pod.name in self._readers:
            self._readers[pod.name].finish(LOOK_SECONDS)

    def _is_read(self, pod: PodState) -> bool:
        """Whether there is nothing to read of it: now, if it has not started; ever, if its log was read to the end."""
        reader = self._readers.get(pod.name)
        return pod.started is None if reader is None else reader.complete

    def _is_over(self, state: JobState, chosen: list[PodState]) -> bool:
        """Whether the job, or the one pod, has ended and its logs were read."""
        if not all(self._is_read(pod) for pod in chosen):
            return False
        if self._pod is not None and self._pods[self._pod].ended:
            return True
        if not state.ended:
            return False
        return self._every or self._pod is not None or self._current is None or not self._later(state, chosen[0])

    def _tell(self, text: str) -> None:
        """Not the same twice in a row."""
        if text != self._told:
            self._told = text
            self._tell_out(text)
