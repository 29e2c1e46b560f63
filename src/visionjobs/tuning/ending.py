"""What a sweep ends with: the best configuration as a job file, results.json and the report."""

from __future__ import annotations

import json
from dataclasses import replace

from visionjobs.report.build import PAGE
from visionjobs.report.files import replace_page
from visionjobs.report.sweep import build_sweep_report
from visionjobs.report.sweep_results import sweep_results
from visionjobs.runs import Attempt, now
from visionjobs.sweep_progress import SweepProgress, follow_sweep
from visionjobs.sweeps import Sweep
from visionjobs.tasks.base import OnStage
from visionjobs.tuning.best_job import best_job_file, best_job_key
from visionjobs.tuning.load import load_sweep


def finish_sweep(sweep: Sweep, holder: Attempt, stage: OnStage) -> SweepProgress:
    """Write it all, as `holder`; again, it replaces what was there. Returned: the sweep as the report has it, finished
    now where all trials have ended and there is a best one.

    Raises SupersededError where another driver holds the sweep.
    """
    progress, spec = follow_sweep(sweep), sweep.spec()
    if progress.best is not None and all(trial.ended for trial in progress.trials):
        progress = replace(progress, finished=now())
    if progress.best is not None:
        text = best_job_file(spec, progress.best, progress.metric, sweep.id)
        holder.write_shared(best_job_key(spec.name), text)
    stage("the sweep's report")
    summary = load_sweep(sweep, progress)
    holder.write_shared("results.json", json.dumps(sweep_results(summary), indent=1, allow_nan=False))
    replace_page(sweep.store.at("report"), build_sweep_report(summary), PAGE, holder.check_not_superseded)
    return progress
