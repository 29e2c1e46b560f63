"""What a sweep ends with: the best configuration as a job file, results.json and the report."""

from __future__ import annotations

import json
from collections.abc import Callable

from visionjobs.report.build import PAGE
from visionjobs.report.files import replace_page
from visionjobs.report.sweep import build_sweep_report
from visionjobs.report.sweep_results import sweep_results
from visionjobs.report.sweep_summary import SweepSummary
from visionjobs.runs import Attempt
from visionjobs.sweep_progress import SweepProgress, follow_sweep
from visionjobs.sweeps import Sweep
from visionjobs.tasks.base import OnStage
from visionjobs.tuning.best_job import best_job_file, best_job_name

BEST = "best"
"""Where in the sweep's folder the best configuration's job file lies."""


def finish_sweep(sweep: Sweep, holder: Attempt, stage: OnStage) -> SweepProgress:
    """Write it all, as `holder`; again, it replaces what was there. Raises SupersededError where another driver holds
    the sweep."""
    progress, spec = follow_sweep(sweep), sweep.spec()
    if progress.best is not None:
        text = best_job_file(spec, progress.best, progress.metric, sweep.id)
        holder.write_shared(f"{BEST}/{best_job_name(spec.name)}.yaml", text)
    stage("the sweep's report")
    results = sweep_results(progress, spec)
    holder.write_shared("results.json", json.dumps(results, indent=1, allow_nan=False))
    write_report(sweep, progress, holder.check_not_superseded)
    return progress


def write_report(sweep: Sweep, progress: SweepProgress, fence: Callable[[], None]) -> None:
    """The report of what the folder holds; fence: raises where it must not be written."""
    spec, best = sweep.spec(), progress.best
    name = best_job_name(spec.name)
    summary = SweepSummary(
        progress=progress,
        spec=spec,
        record=sweep.folder.record(),
        claims=[claim for claim in sweep.folder.claims() if claim.kind == "attempt"],
        dataset=sweep.folder.dataset() or {},
        job_file=best_job_file(spec, best, progress.metric, sweep.id) if best else "",
        job_path=f"{sweep.store.address}/{BEST}/{name}.yaml" if best else "",
    )
    replace_page(sweep.store.at("report"), build_sweep_report(summary), PAGE, fence)
