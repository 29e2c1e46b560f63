"""`visionjobs report RUN`: a run's report again, from its folder alone. And how any page is put where it belongs."""

from __future__ import annotations

from typing import Annotated

import typer

from visionjobs.cli.console import err, out, print_warning
from visionjobs.errors import UserError
from visionjobs.report.files import replace_page
from visionjobs.runs import open_run
from visionjobs.settings import Settings
from visionjobs.storage import Store, open_store


def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="a run, as `visionjobs runs` lists it")],
    out_folder: Annotated[
        str | None, typer.Option("--out", metavar="FOLDER", help="write <RUN>.html into a folder of this machine")
    ] = None,
) -> None:
    """Rebuild a run's report from its folder: without a GPU, the dataset or the model.

    The page is self-contained, and replaces the one in the run's folder; with --out that stays as it is, and the page
    goes to a folder of this machine, where a browser opens it. A run that is not complete gets a page of what there
    is. The page's address is the last line on stdout.
    """
    settings = Settings.from_env()
    if out_folder is not None and "://" in out_folder:
        raise UserError(f"--out {out_folder}: expected a folder of this machine")
    run = open_run(open_store(settings.storage, settings.endpoint), run_id)
    from visionjobs.report.build import PAGE, build_report
    from visionjobs.report.load import load_summary

    summary = load_summary(run)
    state = summary.record.get("state", "not started")
    if state != "complete":
        print_warning(f"run {run.id} is not complete (state: {state}): its report shows what there is")
    files = build_report(summary)
    if out_folder is not None:
        local, page = open_store(out_folder), f"{run.id}.html"
        local.write(page, files[PAGE])
        out.print(f"{local.address}/{page}")
        return
    store = run.store.at("report")
    replace_page(store, files, PAGE)
    if "://" in store.address:
        err.print(f"a page that a browser opens: visionjobs report {run.id} --out FOLDER", soft_wrap=True)
    out.print(f"{store.address}/{PAGE}")


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
