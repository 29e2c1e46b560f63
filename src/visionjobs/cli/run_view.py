"""What `visionjobs run` shows: a progress bar and a line an epoch; plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from visionjobs.cli.console import number, print_warning

if TYPE_CHECKING:
    from visionjobs.cluster.local import Connection
    from visionjobs.runs import Attempt
    from visionjobs.storage import OnBytes
    from visionjobs.training.watch import Watcher

SCORES = {"accuracy": "accuracy", "miou": "mIoU"}
"""Of a task, that which its history has in train_<score> and val_<score>; and its name."""

MAPS = {"val_map50": "mAP50", "val_map": "mAP"}
"""What a detection task's history has instead: column -> name."""

PLAIN_SECONDS = 15.0
"""Without a terminal, a line of progress at least this often."""


class RunView:
    """Follows the progress.json of one attempt."""

    def __init__(self, console: Console) -> None:
        self.run_id: str | None = None
        self._console = console
        self._epochs_shown: set[int] = set()
        self._warned: set[str] = set()
        self._plain_at = 0.0
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None

    def __enter__(self) -> RunView:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def watcher(self) -> Watcher:
        """For training/driver.py."""
        from visionjobs.training.watch import Watcher

        return Watcher(self._started, self._progress, self._warn, self._stage, self._transfer)

    def _started(self, attempt: Attempt, connection: Connection) -> None:
        run = attempt.run
        self.run_id = run.id
        kind = "a private Ray" if connection.private else "the Ray that is up"
        self._say(f"run [bold]{run.id}[/] on {kind}, dashboard {connection.dashboard_url}")
        self._say(f"run folder {run.store.address}")
        self._stage("starting the workers (about 20 s)")

    def _stage(self, text: str) -> None:
        if self._task is None:
            self._task = self._bar.add_task(text, total=None)
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal:
            self._say(text)

    def _transfer(self, what: str, total: int) -> OnBytes:
        """A bar over bytes; it shows nothing where nothing has to be fetched."""
        task = self._bar.add_task(f"fetching {what}", total=total, visible=False)
        if not self._console.is_terminal:
            self._say(f"checking and fetching {what} ({total / 1e6:,.0f} MB)")
        return lambda count: self._bar.update(task, advance=count, visible=True)

    def _progress(self, progress: dict[str, Any]) -> None:
        for text in progress.get("warnings", []):
            self._warn(text)
        for row in progress.get("rows", []):
            if row["epoch"] not in self._epochs_shown:
                self._epochs_shown.add(row["epoch"])
                self._say(epoch_line(row, progress["epochs"]))
        if progress.get("stage") == "predicting":
            unit, speed = progress["unit"], progress.get("images_per_second")
            told = "" if speed is None else f", {speed:.1f} {unit}/s"
            self._show(f"predicting {unit}", progress["done"], progress["total"], told)
        else:
            epochs, step, steps = progress["epochs"], progress["step"], progress["steps_per_epoch"]
            self._show(f"epoch {min(step // steps + 1, epochs)}/{epochs}", step, epochs * steps, "", "step ")

    def _show(self, what: str, done: int, total: int, after: str, unit: str = "") -> None:
        """On the bar or, without a terminal, as a line at least every PLAIN_SECONDS."""
        if self._task is not None:
            self._bar.update(self._task, description=f"{what}{after}", completed=done, total=total)
        if not self._console.is_terminal and time.monotonic() - self._plain_at > PLAIN_SECONDS:
            self._plain_at = time.monotonic()
            self._say(f"{what}, {unit}{done}/{total}{after}")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            print_warning(text)

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """One epoch in one line: losses, the task's score, speed, and what held it back."""
    key = next((key for key in SCORES if f"val_{key}" in row), None)
    line = f"epoch {row['epoch'] + 1}/{epochs}: {_boxes(row) if key is None else _both(row, key)}"
    line += f", {number(row['images_per_second'], '.1f')} images/s"
    return f"{line}; {row['diagnosis']}" if row.get("diagnosis") else line


def _both(row: dict[str, Any], key: str) -> str:
    """Loss and score of training and validation."""
    return ", ".join(
        f"{split} loss {number(row[f'{split}_loss'])} {SCORES[key]} {number(row[f'{split}_{key}'], '.3f')}"
        for split in ("train", "val")
    )


def _boxes(row: dict[str, Any]) -> str:
    """The training loss, and ultralytics' own mAP on the validation split: it tells no validation loss."""
    found = " ".join(f"{name} {number(row.get(key), '.3f')}" for key, name in MAPS.items())
    return f"train loss {number(row['train_loss'])}, val {found}"
