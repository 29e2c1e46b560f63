"""The run whose weights a command uses."""

from __future__ import annotations

from visionjobs.cli.console import number
from visionjobs.errors import UserError
from visionjobs.runs import Run, open_run
from visionjobs.storage import Store
from visionjobs.sweep_progress import COMPLETE, follow_sweep
from visionjobs.sweeps import is_sweep, sweep_at


def open_trained(root: Store, run_id: str) -> Run:
    """An existing run or trial. Raises UserError where it is a sweep, with the run id of its best trial."""
    if not is_sweep(root, run_id):
        return open_run(root, run_id)
    progress = follow_sweep(sweep_at(root, run_id))
    if (best := progress.best) is None:
        raise UserError(
            f"{run_id} is a sweep, and no trial of it is complete: there are no weights yet; "
            f"`visionjobs status {run_id}` tells how far it is"
        )
    so_far = "" if progress.state == COMPLETE else " so far"
    raise UserError(
        f"{run_id} is a sweep: give one of its trials, which are runs. Its best one{so_far}, with {progress.metric} "
        f"{number(best.value)}, is {best.run}"
    )
