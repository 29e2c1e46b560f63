"""`visionjobs jobs`: the job files, a line each."""

from __future__ import annotations

from rich.table import Table

from visionjobs.cli.console import err, print_error
from visionjobs.errors import UserError
from visionjobs.jobfile import find_job, job_names, load_job
from visionjobs.settings import Settings

MOST_SHOWN = 4
"""Published figures of a job; `describe` shows them all."""


def list_jobs() -> None:
    """List the jobs that can be run, with their model, dataset and published figures."""
    folder = Settings.from_env().jobs
    names = job_names(folder)
    if not names:
        raise UserError(f"There are no job files in {folder}/. Run this in the project, or set VISIONJOBS_JOBS.")
    table = Table("job", "task", "model", "dataset", "epochs", "published")
    for name in names:
        try:
            spec = load_job(find_job(name, folder))
        except UserError as error:
            print_error(str(error))
            continue
        shown = [f"{key} {figure.value:g}" for key, figure in spec.published.items()]
        more = [f"and {len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
        figures = ", ".join([*shown[:MOST_SHOWN], *more])
        table.add_row(name, spec.task, spec.model.name, spec.data.name, str(spec.train.epochs), figures)
    err.print(table)
