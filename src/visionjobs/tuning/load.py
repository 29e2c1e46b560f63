"""A sweep's folder -> SweepSummary, of which its report is made."""

from __future__ import annotations

from visionjobs.cluster.run_status import how_to_continue, read_submission
from visionjobs.errors import MissingObjectError
from visionjobs.report.sweep_summary import SweepSummary
from visionjobs.sweep_progress import SweepProgress
from visionjobs.sweeps import Sweep
from visionjobs.tuning.best_job import best_job_file, best_job_key


def load_sweep(sweep: Sweep, progress: SweepProgress) -> SweepSummary:
    """Read what there is besides its progress. Without a job file where the stored one is of another trial than the
    best one now, or not written yet: the report names its address. Raises UserError (damaged)."""
    spec, best, key = sweep.spec(), progress.best, best_job_key(progress.job)
    submission = read_submission(sweep.folder)
    text = best_job_file(spec, best, progress.metric, sweep.id) if best else ""
    if text and text != _stored(sweep, key):
        text = ""
    return SweepSummary(
        progress=progress,
        spec=spec,
        record=sweep.folder.record(),
        claims=sweep.folder.attempts(),
        dataset=sweep.folder.dataset() or {},
        job_file=text,
        job_path=_runnable(sweep, key) if text else "",
        continued_by=how_to_continue(sweep.id, progress.job, submission.get("backend", "local"), submission),
    )


def _runnable(sweep: Sweep, key: str) -> str:
    """A bucket has another address in a cluster than outside, and jobs are files: the name to save this one by."""
    address = f"{sweep.store.address}/{key}"
    return address.rpartition("/")[2] if "://" in address else address


def _stored(sweep: Sweep, key: str) -> str | None:
    try:
        return sweep.store.read(key).decode(errors="replace")
    except MissingObjectError:
        return None
