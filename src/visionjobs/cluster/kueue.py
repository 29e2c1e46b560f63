"""What Kueue says of a job that waits in its queue: the conditions of the Workload that it makes for each job.

Source: Kueue's API reference, "Workload conditions" (QuotaReserved, Admitted, Evicted, PodsReady).
"""

from __future__ import annotations

from collections.abc import Sequence

from visionjobs.cluster.client import Object
from visionjobs.cluster.pod_reasons import one_line

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def queue_reason(job: Object, workloads: Sequence[Object] | None) -> str:
    """Why a suspended job is not admitted yet. workloads: of its namespace, None where they cannot be read."""
    queue = job["metadata"].get("labels", {}).get(QUEUE_LABEL)
    if queue is None:
        return "it is suspended (spec.suspend): whoever did that may set it to false"
    if workloads is None:
        return f"waiting in the Kueue queue {queue}; why is not told: its Workload may not, or cannot, be read"
    workload = _workload_of(job, workloads)
    if workload is None:
        return f"waiting in the Kueue queue {queue}, and Kueue has not taken it up yet: is Kueue running?"
    conditions = {part["type"]: part for part in (workload.get("status") or {}).get("conditions") or []}
    reserved, evicted = conditions.get("QuotaReserved"), conditions.get("Evicted")
    before = ""
    if evicted and evicted["status"] == "True":
        before = f"it was taken out again ({evicted.get('reason')}: {one_line(evicted.get('message') or '')}); "
    if reserved and reserved["status"] == "True":
        admitted = one_line((conditions.get("Admitted") or {}).get("message") or "its admission checks are not done")
        return f"{before}in the Kueue queue {queue} its quota is reserved, and it waits for admission: {admitted}"
    message = one_line((reserved or {}).get("message") or "its turn has not come")
    return f"{before}waiting in the Kueue queue {queue}: {message}"


def _workload_of(owner: Object, workloads: Sequence[Object]) -> Object | None:
    """The newest Workload that Kueue made for this job."""
    uid = owner["metadata"]["uid"]
    owned = [
        workload
        for workload in workloads
        if any(reference["uid"] == uid for reference in workload["metadata"].get("ownerReferences") or [])
    ]
    return max(owned, key=lambda workload: str(workload["metadata"].get("creationTimestamp")), default=None)
