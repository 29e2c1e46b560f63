"""`visionjobs prune`: what may be deleted; shown first, deleted with --yes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
    """Free storage: checkpoints and old attempts of finished runs, and code that no job needs any more.

    Weights, metrics, history, report and record of a run always stay. A run that may be continued keeps everything.
    A finished run whose checkpoints are gone can no longer be trained further. Code that travelled to a cluster goes
    once no run was submitted with it last, and it is older than any job there can be.
    """
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    found = [item for run_id in run_ids(root) for item in _of_run(root, run_id)]
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
    if state not in ("complete", "failed"):
        return []
    groups: dict[str, list[Entry]] = {}
    for entry in run.store.entries("attempts"):
        _, number, kind, *rest = entry.key.split("/")
        if (rest and kind in ("checkpoints", "ray", "predictions")) or kind == OUTPUTS:
            groups.setdefault(f"attempts/{number}/{kind}", []).append(entry)
    why = f"the run is {state}"
    return [
        Candidate(f"{run.id}/{key}", why, sum(entry.size for entry in entries), _deleter(run.store, entries))
        for key, entries in groups.items()
    ]


def _code(root: Store) -> list[Candidate]:
    """The zips in `code/` that no run was submitted with last, and that no evaluation or import, which leave no note of
    theirs, can still need: `submit` writes anew what is older than a day, and these end within DAYS."""
    from visionjobs.cluster.run_status import read_submission
    from visionjobs.cluster.submission import DAYS

    oldest = datetime.now(UTC) - timedelta(days=DAYS + 1)
    old = [entry for entry in root.entries("code") if entry.key.endswith(".zip") and entry.modified < oldest]
    if not old:
        return []
    runs = [Run(name, root.at("runs", name)) for name in root.folders("runs")]
    try:
        with ThreadPoolExecutor(16) as pool:  # each is a question to the storage
            used = {f"code/{submission.get('code')}.zip" for submission in pool.map(read_submission, runs)}
    except UserError as error:
        print_warning(f"{error} Until then all code is left alone.")
        return []
    why = f"no run's, and older than {DAYS + 1} days"
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
