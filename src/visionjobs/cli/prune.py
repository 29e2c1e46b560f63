"""`visionjobs prune`: what may be deleted; shown first, deleted with --yes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from visionjobs.cli.console import err, print_warning
from visionjobs.errors import UserError
from visionjobs.runs import OUTPUTS, Run, open_run, run_ids
from visionjobs.settings import Settings
from visionjobs.storage import Entry, Store, open_store
from visionjobs.sweep_progress import COMPLETE, FAILED, follow_sweep
from visionjobs.sweeps import sweep_at, sweep_ids

ENDED = (COMPLETE, FAILED)
"""States of a run or sweep that is not continued."""


@dataclass(frozen=True)
class Candidate:
    """Something that may go. delete: does it."""

    what: str
    why: str
    bytes: int
    delete: Callable[[], None]


def prune(
    yes: Annotated[bool, typer.Option("--yes", help="delete what is listed")] = False,
    caches: Annotated[
        bool, typer.Option("--caches", help="also this machine's copies of datasets and weights")
    ] = False,
) -> None:
    """Free storage: checkpoints and old attempts of finished runs and sweeps, and code that no job needs any more.

    Weights, metrics, history, report and record of a run always stay. A run or sweep that may be continued keeps
    everything. A finished run whose checkpoints are gone can no longer be trained further. Code that travelled to a
    cluster goes once no run or sweep was submitted with it last, and it is older than any job there can be.
    """
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    found = [item for run_id in run_ids(root) for item in _of_run(root, run_id)]
    found += [item for sweep_id in sweep_ids(root) for item in _of_sweep(root, sweep_id)]
    found += _code(root)
    found += _caches(settings.cache) if caches else []
    if not found:
        err.print("There is nothing to prune.")
        return
    table = Table(Column("what", overflow="fold"), Column("why it may go", overflow="fold"), "MB")
    for item in found:
        table.add_row(item.what, item.why, f"{item.bytes / 1e6:.1f}")
    err.print(table)
    total = f"{sum(item.bytes for item in found) / 1e6:.1f} MB"
    if not yes:
        err.print(f"{total} in all. Nothing was deleted; to delete it: visionjobs prune --yes{' --caches' * caches}")
        return
    for item in found:
        item.delete()
    err.print(f"Deleted {total}.")


def _of_run(root: Store, run_id: str) -> list[Candidate]:
    """Of a finished run: the checkpoints, Ray's own files, and what is left of its workers.

    The claims and histories stay: they are the record.
    """
    try:
        run = open_run(root, run_id)
        state = run.record().get("state")
    except UserError as error:
        print_warning(f"{error} It is left alone.")
        return []
    if state not in ENDED:
        return []
    return list(_of_attempts(run, f"the run is {state}"))


def _of_sweep(root: Store, sweep_id: str) -> list[Candidate]:
    """Of a finished sweep: the same of each trial that has ended, also of those that were stopped early."""
    sweep = sweep_at(root, sweep_id)
    try:
        state = sweep.folder.record().get("state")
        if state not in ENDED:
            return []
        runs = [open_run(root, trial.run) for trial in follow_sweep(sweep).trials if trial.ended]
    except UserError as error:
        print_warning(f"{error} It is left alone.")
        return []
    return [item for run in runs for item in _of_attempts(run, f"its sweep is {state}")]


def _of_attempts(run: Run, why: str) -> Iterator[Candidate]:
    groups: dict[str, list[Entry]] = {}
    for entry in run.store.entries("attempts"):
        _, number, kind, *rest = entry.key.split("/")
        if (rest and kind in ("checkpoints", "ray", "predictions")) or kind == OUTPUTS:
            groups.setdefault(f"attempts/{number}/{kind}", []).append(entry)
    for key, entries in groups.items():
        size = sum(entry.size for entry in entries)
        yield Candidate(f"{run.id}/{key}", why, size, _deleter(run.store, entries))


def _code(root: Store) -> list[Candidate]:
    """The zips in `code/` that no run or sweep was submitted with last, and that no evaluation or import, which leave
    no note of theirs, can still need: `submit` writes anew what is older than a day, and these end within DAYS."""
    from visionjobs.cluster.run_status import read_submission
    from visionjobs.cluster.submission import DAYS

    oldest = datetime.now(UTC) - timedelta(days=DAYS + 1)
    old = [entry for entry in root.entries("code") if entry.key.endswith(".zip") and entry.modified < oldest]
    if not old:
        return []
    runs = [Run(name, root.at(kind, name)) for kind in ("runs", "sweeps") for name in root.folders(kind)]
    try:
        with ThreadPoolExecutor(16) as pool:  # each is a question to the storage
            used = {f"code/{submission.get('code')}.zip" for submission in pool.map(read_submission, runs)}
    except UserError as error:
        print_warning(f"{error} Until then all code is left alone.")
        return []
    why = f"of no run or sweep, and older than {DAYS + 1} days"
    return [Candidate(entry.key, why, entry.size, _deleter(root, [entry])) for entry in old if entry.key not in used]


def _deleter(store: Store, entries: list[Entry]) -> Callable[[], None]:
    # manifests sort before state.pt: a checkpoint is unlisted before it loses its data
    return lambda: store.delete([entry.key for entry in entries])


def _caches(cache: Path) -> list[Candidate]:
    found = []
    for name in ("datasets", "weights", "checkpoints", "finetuned", "yolo"):
        folder = cache / name
        if folder.is_dir():
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            found.append(Candidate(str(folder), "fetched again when needed", size, _remover(folder)))
    return found


def _remover(folder: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(folder)
