"""`visionjobs report RUN`: the report of a run or sweep again, from its folder alone. And how any page is put where it
belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from visionjobs.cli.console import err, out, print_warning
from visionjobs.errors import UserError
from visionjobs.report.files import replace_page
from visionjobs.runs import Run, open_run
from visionjobs.settings import Settings
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import Sweep, names_sweep, open_sweep


def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="a run or sweep, as `visionjobs runs` lists it")],
    out_folder: Annotated[
        str | None, typer.Option("--out", metavar="FOLDER", help="write <RUN>.html into a folder of this machine")
    ] = None,
) -> None:
    """Rebuild the report of a run or sweep from its folder: without a GPU, the dataset or the model.

    The page is self-contained, and replaces the one in that folder; with --out that stays as it is, and the page goes
    to a folder of this machine, where a browser opens it. What is not complete gets a page of what there is. The
    page's address is the last line on stdout.

    A sweep's page leads to the reports of its trials; with --out only where the storage is a folder of this machine.
    """
    from visionjobs.report.build import PAGE

    settings = Settings.from_env()
    if out_folder is not None and "://" in out_folder:
        raise UserError(f"--out {out_folder}: expected a folder of this machine")
    root = open_store(settings.storage, settings.endpoint)
    if names_sweep(run_id):
        store, files = _of_sweep(open_sweep(root, run_id), moves=out_folder is not None)
    else:
        store, files = _of_run(open_run(root, run_id))
    if out_folder is not None:
        local, page = open_store(out_folder), f"{run_id}.html"
        local.write(page, files[PAGE])
        out.print(f"{local.address}/{page}")
        return
    replace_page(store, files, PAGE)
    if "://" in store.address:
        err.print(f"a page that a browser opens: visionjobs report {run_id} --out FOLDER", soft_wrap=True)
    out.print(f"{store.address}/{PAGE}")


def _of_run(run: Run) -> tuple[Store, dict[str, bytes]]:
    """Where its report lies, and the report's files."""
    from visionjobs.report.build import build_report
    from visionjobs.report.load import load_summary

    summary = load_summary(run)
    _warn_unless_complete(f"run {run.id}", summary.record)
    return run.store.at("report"), build_report(summary)


def _of_sweep(sweep: Sweep, *, moves: bool) -> tuple[Store, dict[str, bytes]]:
    """As _of_run. moves: the page goes elsewhere; it leads to the trials' own reports then only where they lie on this
    machine."""
    from visionjobs.report.sweep import build_sweep_report
    from visionjobs.sweep_progress import follow_sweep
    from visionjobs.tuning.load import load_sweep

    summary = load_sweep(sweep, follow_sweep(sweep))
    if moves:
        runs = sweep.store.at("runs").address
        summary = replace(summary, trials_at=None if "://" in runs else Path(runs).absolute().as_uri())
    _warn_unless_complete(f"sweep {sweep.id}", summary.record)
    return sweep.store.at("report"), build_sweep_report(summary)


def _warn_unless_complete(named: str, record: Mapping[str, Any]) -> None:
    state = record.get("state", "not started")
    if state != "complete":
        print_warning(f"{named} is not complete (state: {state}): its report shows what there is")


def output_store(root: Store, default: str, chosen: str | None, page: str) -> Store:
    """The folder to write a page into: `chosen`, else `default` in the storage.

    Raises UserError where `chosen` holds other things than an older such page: its figures would be deleted.
    """
    if chosen is None:
        return root.at(*default.split("/"))
    store = open_store(chosen)
    if not store.exists(page) and store.entries():
        raise UserError(f"--out {chosen}: there are other files in it; give a new folder, or one that holds {page}")
    return store


def tell_page(store: Store, page: str) -> None:
    """The page's address for a person, and its folder's, as the last line on stdout, for scripts."""
    err.print(f"page {store.address}/{page}", soft_wrap=True)
    out.print(store.address)
