"""`visionjobs`: joins the verbs and turns errors into one line and an exit status."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from visionjobs import __version__
from visionjobs.cli import (
    attempt,
    cancel,
    compare,
    dashboard,
    data,
    describe,
    doctor,
    evaluate,
    export,
    fetch_code,
    jobs,
    logs,
    predict,
    prune,
    ray,
    render,
    report,
    reproduce,
    run,
    runs,
    status,
    submit,
    sweep,
    weights,
)
from visionjobs.cli.console import WarningHandler, out, print_error
from visionjobs.errors import VisionjobsError

EXIT_STATUSES = (
    "Exit status: 0 complete; 1 not complete, may be continued; 2 a mistake in what was asked; "
    "3 failed for good (a retry would fail alike); 4 storage or cluster did not answer; "
    "5 superseded by a newer attempt; 130 interrupted."
)


class _Verbs(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _flow(self)

    def invoke(self, ctx: Any) -> Any:
        """Typer itself ends an interrupted command with 130 as well, but without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print_error("Interrupted.")
            raise typer.Exit(130) from None


def _flow(command: Any) -> None:
    """One line a paragraph in its help and that of all below it: typer keeps the line breaks of docstrings in all but
    the first, and a terminal that is narrower than the source breaks each line a second time."""
    if command.help:
        command.help = "\n\n".join(" ".join(part.split()) for part in command.help.split("\n\n"))
    for below in getattr(command, "commands", {}).values():
        _flow(below)


app = typer.Typer(
    name="visionjobs",
    cls=_Verbs,
    help="Computer-vision training jobs, the same on a laptop, on one GPU and on a Kubernetes cluster.",
    epilog=EXIT_STATUSES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.command("jobs")(jobs.list_jobs)
app.command("describe")(describe.describe)
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")
app.command("run")(run.run)
app.command("sweep")(sweep.sweep)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("export")(export.export)
app.command("runs")(runs.list_runs)
app.command("submit")(submit.submit)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("reproduce")(reproduce.reproduce)
app.command("prune")(prune.prune)
app.command("render")(render.render)
app.command("manifests")(render.manifests)
app.command("ray-up")(ray.up)
app.command("ray-down")(ray.down)
app.command("doctor")(doctor.doctor)
app.command("attempt", hidden=True)(attempt.attempt)
app.command("fetch-code", hidden=True)(fetch_code.fetch_code)
app.command("logs")(logs.logs)
app.command("cancel")(cancel.cancel)
app.command("dashboard")(dashboard.dashboard)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the verb; `--version` ends before one is missed."""


def main() -> None:
    """Entry point: a message a person can act on, never a traceback, for every error that is not a bug."""
    logging.getLogger("visionjobs").addHandler(WarningHandler())
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:  # nohup
            signal.signal(name, _interrupt)
    try:
        app()
    except VisionjobsError as error:
        print_error(str(error))
        sys.exit(error.exit_status)


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    """SIGTERM, and the end of the terminal, end like Ctrl-C: cleanly, with the record written and nothing left half."""
    raise KeyboardInterrupt
