"""How an attempt ends: completed by whoever trained it, left to a sweep's driver to complete, or with why it ended."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from visionjobs.errors import FinalError, MissingObjectError, StoppedError, SupersededError, VisionjobsError
from visionjobs.runs import OUTCOME, TRAINED, Attempt, Run
from visionjobs.spec import JobSpec
from visionjobs.tracking.mirror import Mirror
from visionjobs.training.finalise import Ending, account, finalise, tidy_up
from visionjobs.training.worker_main import Outcome

log = logging.getLogger(__name__)


def complete_run(attempt: Attempt, spec: JobSpec, outcome: Outcome, ending: Ending) -> None:
    """Write what the run of this attempt ends with, or why that failed; then tidy up."""
    ending.stage("the last evaluation")
    with end_recorded(attempt, ending.mirror):
        final = attempt.run.claim("finaliser", {"attempt": attempt.number}, number=attempt.number + 1)
    with end_recorded(final, ending.mirror):
        finalise(final, spec, outcome, ending)
    tidy_up(attempt.run)


def leave_outcome(attempt: Attempt, outcome: Outcome) -> None:
    """Store the outcome with what the workers handed over: a GPU need not wait for evaluations on the CPU and reports,
    and whoever completes the run may be killed and begin again."""
    attempt.write(OUTCOME, json.dumps(asdict(outcome), allow_nan=False))
    attempt.update_record(state=TRAINED, message=None, **account(attempt.run, []))


def left_outcome(run: Run) -> tuple[Attempt, Outcome] | None:
    """What the run's newest attempt left to be completed, with that attempt; None where it left nothing."""
    attempts = run.attempts()
    if not attempts:
        return None
    attempt = Attempt(run, attempts[-1].number)
    try:
        return attempt, Outcome(**json.loads(attempt.store.read(OUTCOME)))
    except MissingObjectError:
        return None


@contextmanager
def end_recorded(holder: Attempt, mirror: Mirror) -> Iterator[None]:
    """Where the block fails or is interrupted, record how, as `holder`."""
    try:
        yield
    except KeyboardInterrupt:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a second one must not break off the cleaning up
            signal.signal(name, signal.SIG_IGN)
        _record_end(holder, "interrupted", "interrupted", mirror)
        raise
    except SupersededError:  # the record is the newer attempt's now
        raise
    except Exception as error:
        state = "failed" if isinstance(error, FinalError) else "interrupted"
        reason = error.reason if isinstance(error, StoppedError) else None
        _record_end(holder, state, str(error) or type(error).__name__, mirror, reason)
        raise


def _record_end(holder: Attempt, state: str, message: str, mirror: Mirror, stopped: str | None = None) -> None:
    """How it ended, also for wandb: 'failed' is not tried again, 'interrupted' may be continued; stopped: who asked.

    Both are best effort here: what ended the attempt is what the person must be told.
    """
    try:
        holder.update_record(state=state, message=message, stopped=stopped, **account(holder.run, mirror.warnings))
        mirror.finish(None, state, holder.check_not_superseded)
    except VisionjobsError as error:
        log.warning("the record of run %s could not be written: %s", holder.run.id, error)
