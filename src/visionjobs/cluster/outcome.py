"""How a job on the cluster ended, as an exit status: 0 complete, 1 may be continued, 3 failed for good."""

from __future__ import annotations

from datetime import datetime

from visionjobs.cluster.state import JobState
from visionjobs.errors import VisionjobsError
from visionjobs.runs import Run

STATUSES = {"complete": 0, "failed": 3}
"""State in a run's record -> exit status; every other is 1."""


def exit_status(run: Run | None, state: JobState | None) -> int:
    """From the run's record where it can be read, else from the object's phase.

    run: None of an evaluation or import; state: None where the cluster has no such object (any more).
    """
    phase_status = 0 if state is not None and state.phase == "succeeded" else 1
    if run is None:
        return phase_status
    try:
        record = run.record()
    except VisionjobsError:
        return phase_status
    if not record or (phase_status and state is not None and _is_older(record.get("finished"), state.created)):
        return phase_status
    return STATUSES.get(record.get("state", ""), 1)


def _is_older(finished: str | None, created: str) -> bool:
    """Whether the record tells of an end before this object was made: the run was continued, and never began again."""
    return finished is not None and datetime.fromisoformat(finished) < datetime.fromisoformat(created)
