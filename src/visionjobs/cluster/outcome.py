"""How a job on the cluster ended, as an exit status: 0 complete, 1 may be continued, 3 failed for good."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from visionjobs.cluster.state import JobState
from visionjobs.errors import VisionjobsError
from visionjobs.runs import Run

STATUSES = {"complete": 0, "failed": 3}
"""State in a run's record -> exit status; every other is 1."""

log = logging.getLogger(__name__)


def exit_status(run: Run | None, state: JobState | None) -> int:
    """From the run's record where it can be read, else from the phase of its object or of its job on a Ray.

    run: None of an evaluation or import; state: None where the cluster has no such object (any more).
    """
    record: dict[str, Any] = {}
    if run is not None:
        try:
            record = run.record()
        except VisionjobsError as error:
            log.debug("the phase counts: %s", error)
    return status_of(record.get("state"), record.get("finished"), state)


def status_of(recorded: str | None, finished: str | None, state: JobState | None) -> int:
    """Pure. recorded, finished: the state in the run's record, and when it was complete; None where it has none."""
    phase_status = 0 if state is not None and state.phase == "succeeded" else 1
    if recorded is None or (phase_status and state is not None and _is_older(finished, state.created)):
        return phase_status
    return STATUSES.get(recorded, 1)


def _is_older(finished: str | None, created: str) -> bool:
    """Whether the record tells of an end before this object was made: the run was continued, and never began again."""
    return finished is not None and datetime.fromisoformat(finished) < datetime.fromisoformat(created)
