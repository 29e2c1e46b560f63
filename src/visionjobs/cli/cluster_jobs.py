"""What is on the cluster, asked beside other work: only where there is a kubeconfig, and only for a few seconds."""

from __future__ import annotations

import queue
import threading

from visionjobs.cli.console import print_warning
from visionjobs.cluster.client import Cluster
from visionjobs.cluster.kubeconfig import connect, has_cluster
from visionjobs.cluster.state import JobState, list_jobs
from visionjobs.errors import ClusterError, VisionjobsError
from visionjobs.settings import ClusterSettings

SECONDS = 3.0
"""How long a list of runs waits for the cluster."""


def connected() -> Cluster | None:
    """The kubeconfig's cluster; None without one and, with a warning, where it names none that can be used."""
    if not has_cluster():
        return None
    try:
        return connect(ClusterSettings.from_env())
    except VisionjobsError as error:
        print_warning(str(error))
        return None


class ClusterJobs:
    """Asks for all jobs from now on, in a thread that nobody has to wait for."""

    def __init__(self) -> None:
        self._answer: queue.Queue[list[JobState] | VisionjobsError] = queue.Queue()
        self._cluster = connected()
        if self._cluster is not None:
            threading.Thread(target=self._ask, args=(self._cluster,), name="cluster-jobs", daemon=True).start()

    def _ask(self, cluster: Cluster) -> None:
        try:
            self._answer.put(list_jobs(cluster))
        except VisionjobsError as error:
            self._answer.put(error)

    def take(self) -> list[JobState]:
        """The jobs, oldest first; none where there is no cluster and, with one warning, where it does not tell."""
        if self._cluster is None:
            return []
        try:
            answer = self._answer.get(timeout=SECONDS)
        except queue.Empty:
            answer = ClusterError(f"{self._cluster.server} did not answer in {SECONDS:.0f} s")
        if isinstance(answer, VisionjobsError):
            print_warning(f"what is on the cluster is not told: {answer}")
            return []
        return answer
