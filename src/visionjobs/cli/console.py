"""What the command line prints: tables, progress and errors on stderr; results for scripts on stdout."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from visionjobs.data.parallel import OnProgress

err = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    """The message after a red 'error:', unwrapped, so that a long path can be copied."""
    err.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)


def print_wide(table: Table, width: int) -> None:
    """The table at least `width` columns wide, whatever the terminal is: what follows is printed as before."""
    wide = Console(stderr=True, highlight=False, width=max(err.width, width))
    wide.print(table)


def print_warning(message: str) -> None:
    """The message after a yellow 'warning:'."""
    err.print(Text.assemble(("warning: ", "bold yellow"), message), soft_wrap=True)


class WarningHandler(logging.Handler):
    """Shows the package's own log messages as warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        print_warning(record.getMessage())


def number(value: float | None, form: str = ".4f") -> str:
    """A metric in a table or a line; what does not exist is "n/a"."""
    return "n/a" if value is None else format(value, form)


def counting_progress() -> Progress:
    """Progress over countable things (files, steps)."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=err, disable=not err.is_terminal,
    )  # fmt: skip


def byte_progress() -> Progress:
    """Progress over bytes (transfers)."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(), console=err, disable=not err.is_terminal,
    )  # fmt: skip


@contextmanager
def stage_progress() -> Iterator[OnProgress]:
    """A bar over countable things for each stage of the work within the block."""
    tasks: dict[str, TaskID] = {}
    with counting_progress() as progress:

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done)

        yield on_progress
