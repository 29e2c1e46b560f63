"""The sweeps in `visionjobs runs`: a row each, without their trials."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from visionjobs.cli.console import number, print_warning
from visionjobs.errors import UserError
from visionjobs.run_progress import run_state
from visionjobs.storage import Store
from visionjobs.sweep_progress import COMPLETE, follow_sweep, trials_wanted
from visionjobs.sweeps import Sweep, section_of, sweep_at

OF_SWEEPS = ("metric", "best", "trials_ended", "trials_wanted")
"""Keys of a sweep's row that a run's has not."""


def describe_sweep(root: Store, sweep_id: str) -> dict[str, Any] | None:
    """One sweep's row: the keys of a run's row that it has, and OF_SWEEPS.

    None, with a warning, where it cannot be read.
    """
    try:
        return _row(sweep_at(root, sweep_id))
    except UserError as error:
        print_warning(str(error))
        return None


def _row(sweep: Sweep) -> dict[str, Any]:
    spec, record, claims = sweep.spec(), sweep.folder.record(), sweep.folder.claims()
    section = section_of(spec)
    ended, best = _trials(sweep, record)
    return {
        "kind": "sweep",
        "run": sweep.id,
        "job": spec.name,
        "task": spec.task,
        "dataset": spec.data.name,
        "state": run_state(sweep.folder, record, claims),
        "message": record.get("message"),
        "metric": section.metric,
        "best": best,
        "trials_ended": ended,
        "trials_wanted": trials_wanted(section, record),
        "attempts": len(claims),
        "created": record.get("created", ""),
        "started": claims[-1].started if claims else None,
        "finished": record.get("finished"),
        "gpu_hours": record.get("gpu_hours"),
        "address": sweep.store.address,
    }


def _trials(sweep: Sweep, record: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """How many have ended, and the best: {"trial", "metric", "value"}."""
    if record.get("state") == COMPLETE:  # its record tells: each trial would take several questions to the storage
        return record["trials_done"], record["best"]
    progress = follow_sweep(sweep)
    best = progress.best
    told = None if best is None else {"trial": best.number, "metric": progress.metric, "value": best.value}
    return sum(trial.ended for trial in progress.trials), told


def sweep_table(rows: list[dict[str, Any]]) -> Table:
    """A line a sweep. Its id, which begins with job and time, is whole in 80 columns."""
    whole = [Column(head, no_wrap=True) for head in ("sweep", "state", "trials")]
    table = Table(*whole, Column("best", overflow="fold"), box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        wanted, best = row["trials_wanted"], row["best"]
        trials = "" if wanted is None else f"{row['trials_ended']}/{wanted}"
        told = "" if best is None else f"{best['metric']} {number(best['value'])}, trial {best['trial']}"
        table.add_row(row["run"], row["state"], trials, told)
    return table
