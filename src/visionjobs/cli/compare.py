"""`visionjobs compare RUN RUN ...`: runs of one task side by side, on one page."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from visionjobs.cli.console import err, number
from visionjobs.cli.report import output_store, tell_page
from visionjobs.report.files import replace_page
from visionjobs.runs import now, open_run
from visionjobs.settings import Settings
from visionjobs.storage import open_store


def compare(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="2 to 8 finished runs or trials of one task")],
    out_folder: Annotated[
        str | None, typer.Option("--out", metavar="FOLDER", help="write here instead of into the storage")
    ] = None,
) -> None:
    """Compare finished runs that were evaluated on the same samples: curves, metrics, and each pair tested.

    Writes compare.html, compare.json and the figures; their folder's address is the last line on stdout.
    """
    from visionjobs.report.compare import NUMBERS, PAGE, build_comparison, check_ids
    from visionjobs.report.load import load_summary
    from visionjobs.report.run_boxes import with_boxes

    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    runs = [open_run(root, run_id) for run_id in run_ids]
    check_ids(run_ids)
    default = f"compare/{datetime.now(UTC):%Y%m%d-%H%M%S}-{run_ids[0]}-{secrets.token_hex(2)}"
    store = output_store(root, default, out_folder, PAGE)
    files = build_comparison([with_boxes(run, load_summary(run)) for run in runs], now())
    err.print(_table(json.loads(files[NUMBERS])))
    replace_page(store, files, PAGE)
    tell_page(store, PAGE)


def _table(numbers: dict[str, Any]) -> Table:
    runs = numbers["runs"]
    table = Table("metric", *(Column(run["run"], overflow="fold") for run in runs))
    for key in runs[0]["metrics"]:
        values = (run["metrics"][key] for run in runs)
        table.add_row(key, *map(number, values))
    return table
