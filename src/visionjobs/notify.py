"""One message when a run has ended: a POST to VISIONJOBS_NOTIFY_URL, in the form that Slack and its like take.

    {"text": "run deeplab-... complete: miou 0.41", "run": ..., "job": ..., "state": ..., "message": ..., "report": ...}

The address is a secret (whoever has it may write there): it comes from the environment, on a cluster from the Secret,
and is shown in no log and no error.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.error
import urllib.request
from typing import Any

from visionjobs.cluster.environment import NOTIFY_URL
from visionjobs.errors import VisionjobsError
from visionjobs.runs import Run
from visionjobs.sweeps import names_sweep

SECONDS = 10.0

log = logging.getLogger(__name__)


def notify(run: Run, reason: str | None = None) -> None:
    """Tell how `run` stands, as its record says, or that it is not begun for `reason`.

    Without an address nothing happens; a failure costs a warning.
    """
    url = os.environ.get(NOTIFY_URL)
    if not url:
        return
    if not url.startswith(("http://", "https://")):
        log.warning("%s is no http address: the run's end is told to nobody", NOTIFY_URL)
        return
    try:
        body = json.dumps(message(run, reason)).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 (http only)
        with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310
            log.debug("the end of run %s was told", run.id)
    except (OSError, ValueError, VisionjobsError) as error:
        reason = f"answered {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        log.warning("the notification of the run's end was not delivered (%s)", reason)


def message(run: Run, reason: str | None = None) -> dict[str, Any]:
    """What is told of a run. reason: why it is not begun."""
    record, metrics = run.record(), (run.metrics() or {}).get("metrics") or {}
    state, told = record.get("state", "not started"), record.get("message")
    if reason is not None:
        state, told = "is not trained", f"because {reason}"
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    kind, best = "sweep" if names_sweep(run.id) else "run", record.get("best")
    if state == "complete" and best is not None:
        told = f"best is trial {best['trial']}, {best['metric']} {best['value']:.4g}"
    elif state == "complete":
        told = ", ".join(f"{key} {value:.4g}" for key, value in list(numbers.items())[:4])
    return {
        "text": f"{kind} {run.id} {state}" + (f": {told}" if told else ""),
        "run": run.id,
        "job": record.get("job"),
        "state": state,
        "message": record.get("message") if reason is None else reason,
        "metrics": numbers,
        "report": f"{run.store.address}/report/report.html" if state == "complete" else None,
    }
