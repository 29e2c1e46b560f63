"""What a sweep shows: a table of its trials that is drawn anew, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from visionjobs.cli.console import number, print_warning
from visionjobs.sweep_progress import (
    COMPLETE,
    ENDING,
    FAILED,
    INTERRUPTED,
    RUNNING,
    STOPPED,
    WAITING,
    SweepProgress,
    TrialState,
    sweep_eta,
)

if TYPE_CHECKING:
    from visionjobs.cluster.local import Connection
    from visionjobs.cluster.sizes import Trials
    from visionjobs.runs import Attempt
    from visionjobs.storage import OnBytes
    from visionjobs.sweeps import Sweep
    from visionjobs.tuning.watch import SweepWatcher

COLOURS = {COMPLETE: "green", ENDING: "green", RUNNING: "cyan", STOPPED: "yellow", FAILED: "red", INTERRUPTED: "red"}

ORDER = (RUNNING, ENDING, WAITING, INTERRUPTED, COMPLETE, STOPPED, FAILED)
"""Which trials are shown first where not all fit."""

PLAIN_SECONDS = 15.0
"""Without a terminal, a line of progress at least this often."""

MARGIN_LINES = 8
"""Of a terminal's height, for what is around the rows."""


def trial_table(progress: SweepProgress, rows: int | None = None) -> Table:
    """The trials, a line each: parameters, state, epochs, the metric after the last epoch, the time that is
    left. rows: as many are shown at most, those that run and the best ones first."""
    shown = progress.trials if rows is None or len(progress.trials) <= rows else _foremost(progress, max(rows, 1))
    keys = list(dict.fromkeys(key for trial in progress.trials for key in trial.parameters))
    best, metric = progress.best, progress.metric.removeprefix("val_")
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("trial", no_wrap=True)
    for name in short_names(keys):  # where it is narrow, these alone are cut off
        table.add_column(Text(name.replace("_", "_\n"), no_wrap=True, overflow="ellipsis"))
    for name in ("state", "epochs", metric, "left"):
        table.add_column(name, no_wrap=True)
    for trial in shown:
        is_best = best is not None and trial.number == best.number
        table.add_row(
            f"{trial.number}{' own' if trial.number == 0 else ''}",
            *(Text(_value(trial.parameters.get(key)), no_wrap=True, overflow="ellipsis") for key in keys),
            Text(trial.state.partition(" ")[0], COLOURS.get(trial.state, "")),  # stopped early, silent for 0:12:34
            f"{trial.epochs_done}/{trial.epochs}",
            Text(f"{number(trial.value)}{' *' if is_best else ''}", "bold green" if is_best else ""),
            _clock(trial.eta_seconds),
        )
    hidden = len(progress.trials) - len(shown)
    told = [f"... and {hidden} more"] if hidden else []
    told += ["* the best of those that are complete"] if best is not None else []
    table.caption, table.caption_justify = "; ".join(told) or None, "left"
    return table


def _foremost(progress: SweepProgress, rows: int) -> list[TrialState]:
    sign, best = -1 if progress.maximise else 1, progress.best

    def place(trial: TrialState) -> tuple[int, float, int]:
        is_first = trial.state not in ORDER or (best is not None and trial.number == best.number)
        order = 0 if is_first else ORDER.index(trial.state)
        return order, float("inf") if trial.value is None else sign * trial.value, trial.number

    return sorted(sorted(progress.trials, key=place)[:rows], key=lambda trial: trial.number)


def short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each key, where no other key has the same: train.lr -> lr."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]


def _value(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.2e}".replace("e-0", "e-") if 0 < abs(value) < 1e-3 else f"{value:.3g}"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def summary_line(progress: SweepProgress) -> str:
    """How many trials have ended, the best so far, and when the rest will have."""
    ended = sum(trial.ended for trial in progress.trials)
    line = f"{ended} of {progress.wanted} trials ended"
    if (best := progress.best) is not None:
        line += f"; best so far: trial {best.number}, {progress.metric} {number(best.value)}"
    if (eta := sweep_eta(progress)) is not None:
        line += f"; about {_clock(eta)} left"
    return line


class SweepView:
    """Follows a sweep. sweep_id: once it is known."""

    def __init__(self, console: Console) -> None:
        self.sweep_id: str | None = None
        self._console = console
        self._warned: set[str] = set()
        self._stage_text = ""
        self._spinner = Spinner("dots")
        self._progress: SweepProgress | None = None
        self._states: dict[int, str] = {}
        self._plain_at = 0.0
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._draw, transient=False)

    def __enter__(self) -> SweepView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stage_text = ""
        if self._console.is_terminal:
            self._live.stop()

    def watcher(self) -> SweepWatcher:
        """For tuning/driver.py."""
        from visionjobs.tuning.watch import SweepWatcher

        return SweepWatcher(self._started, self._changed, self._warn, self._stage, self._transfer)

    def _started(self, sweep: Sweep, attempt: Attempt, connection: Connection, trials: Trials) -> None:
        self.sweep_id = sweep.id
        kind = "a private Ray" if connection.private else "the Ray that is up"
        share = trials.share
        gpus = f" and {share.gpus:g} GPU(s)" if share.gpus else ""
        self._say(Text.assemble("sweep ", (sweep.id, "bold"), f" on {kind}, dashboard {connection.dashboard_url}"))
        self._say(f"sweep folder {sweep.store.address}")
        self._say(
            f"{trials.at_once} trial(s) at once, each with {share.workers} worker(s) of {share.cpus} CPU(s){gpus}"
        )
        self._stage("starting the first trial")

    def _changed(self, progress: SweepProgress) -> None:
        first, self._progress = self._progress is None, progress
        if any(trial.epochs_done for trial in progress.trials):
            self._stage_text = ""
        if self._console.is_terminal:
            return
        for trial in progress.trials:
            before, self._states[trial.number] = self._states.get(trial.number), trial.state
            if trial.state == before or (first and trial.ended):  # in an earlier attempt
                continue
            if trial.state == RUNNING:
                self._say(f"trial {trial.number} {_told(trial)}")
            elif trial.ended or trial.state == INTERRUPTED:
                self._say(f"trial {trial.number} {_outcome(trial, progress)}")
        if time.monotonic() - self._plain_at > PLAIN_SECONDS:
            self._plain_at = time.monotonic()
            self._say(summary_line(progress))

    def _stage(self, text: str) -> None:
        self._stage_text = text
        if not self._console.is_terminal:
            self._say(text)

    def _transfer(self, what: str, total: int) -> OnBytes:
        """How much of it is fetched; it shows nothing where nothing has to be."""
        if not self._console.is_terminal:
            self._say(f"checking and fetching {what} ({total / 1e6:,.0f} MB)")
        done = 0

        def fetched(count: int) -> None:
            nonlocal done
            done += count
            self._stage_text = f"fetching {what}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB"

        return fetched

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            print_warning(text)

    def _say(self, text: str | Text) -> None:
        self._console.print(text, soft_wrap=True, markup=False)

    def _draw(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._progress is not None:
            parts = [
                trial_table(self._progress, self._console.height - MARGIN_LINES),
                Text(summary_line(self._progress)),
            ]
        if self._stage_text:
            self._spinner.update(text=Text(self._stage_text))
            parts.append(self._spinner)
        return Group(*parts)


def _told(trial: TrialState) -> str:
    keys = list(trial.parameters)
    told = ", ".join(
        f"{name} {_value(trial.parameters[key])}" for key, name in zip(keys, short_names(keys), strict=True)
    )
    return f"begins: {told}"


def _outcome(trial: TrialState, progress: SweepProgress) -> str:
    value = f"{progress.metric} {number(trial.value)}" if trial.value is not None else f"no {progress.metric}"
    reason = f" ({trial.reason})" if trial.reason else ""
    epochs = "" if trial.state == STOPPED else f" after {trial.epochs_done} of {trial.epochs} epochs"  # reason has it
    best = progress.best
    so_far = f"; best so far: trial {best.number}, {number(best.value)}" if best else ""
    return f"is {trial.state} with {value}{epochs}{reason}{so_far}"
