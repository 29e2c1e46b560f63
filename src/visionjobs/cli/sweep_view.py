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
    """The trials: parameters, state, epochs, the metric after the last epoch, times. rows: as many are shown at most,
    those that run and the best ones first."""
    shown = progress.trials if rows is None or len(progress.trials) <= rows else _foremost(progress, max(rows, 1))
    keys = list(dict.fromkeys(key for trial in progress.trials for key in trial.parameters))
    table = Table("trial", *short_names(keys), "state", "epochs", progress.metric, "time", "left", box=SIMPLE_HEAD)
    best = progress.best
    for trial in shown:
        mark = " (own)" if trial.number == 0 else ""
        is_best = best is not None and trial.number == best.number
        table.add_row(
            f"{trial.number}{mark}",
            *(_value(trial.parameters.get(key)) for key in keys),
            Text(trial.state, COLOURS.get(trial.state, "")),
            f"{trial.epochs_done}/{trial.epochs}",
            Text(f"{number(trial.value)}{' best' if is_best else ''}", "bold" if is_best else ""),
            _clock(trial.seconds) if trial.seconds else "",
            _clock(trial.eta_seconds),
        )
    if hidden := len(progress.trials) - len(shown):
        table.caption = f"... and {hidden} more"
    return table


def _foremost(progress: SweepProgress, rows: int) -> list[TrialState]:
    sign = -1 if progress.maximise else 1

    def place(trial: TrialState) -> tuple[int, float, int]:
        order = ORDER.index(trial.state) if trial.state in ORDER else 0
        return order, float("inf") if trial.value is None else sign * trial.value, trial.number

    return sorted(sorted(progress.trials, key=place)[:rows], key=lambda trial: trial.number)


def short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each key, where no other key has the same: train.lr -> lr."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


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
        self._say(f"sweep [bold]{sweep.id}[/] on {kind}, dashboard {connection.dashboard_url}")
        self._say(f"sweep folder {sweep.store.address}")
        self._say(
            f"{trials.at_once} trial(s) at once, each with {share.workers} worker(s) of {share.cpus} CPU(s){gpus}"
        )
        self._stage("starting the first trial")

    def _changed(self, progress: SweepProgress) -> None:
        self._progress = progress
        if any(trial.epochs_done for trial in progress.trials):
            self._stage_text = ""
        if self._console.is_terminal:
            return
        for trial in progress.trials:
            before, self._states[trial.number] = self._states.get(trial.number), trial.state
            if trial.state == before:
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

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def _draw(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._progress is not None:
            parts = [
                trial_table(self._progress, self._console.height - MARGIN_LINES),
                Text(summary_line(self._progress)),
            ]
        if self._stage_text:
            parts.append(Spinner("dots", Text(self._stage_text)))
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
    best = progress.best
    so_far = f"; best so far: trial {best.number}, {number(best.value)}" if best else ""
    return f"is {trial.state} with {value} after {trial.epochs_done} of {trial.epochs} epochs{reason}{so_far}"
