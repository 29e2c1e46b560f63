"""A run's mirror in Weights & Biases, made of what the run's folder holds. Training is never lost to it.

The driver feeds it: there is one of them an attempt, while workers are several and are restarted. The run's id is
wandb's too.

- Online, an epoch is sent when its row is there. A continued run resumes the one on the server, and sends no epoch
  that is there already. Where the server does not answer, refuses the key or breaks off, a warning tells so, and the
  run is mirrored offline.
- Offline nobody watches, so the run is written whole at the end of every attempt, and replaces in `wandb/` of the run
  folder what an earlier attempt wrote: one offline run, each epoch once. `wandb sync` uploads it.

The API key goes to the process that talks to wandb (process.py) and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from visionjobs.errors import UserError
from visionjobs.report.summary import Row, RunSummary
from visionjobs.runs import Run
from visionjobs.spec import JobSpec, Wandb
from visionjobs.tracking import content
from visionjobs.tracking.messages import End, Plan, Rows
from visionjobs.tracking.process import WriterProcess

FOLDER = "wandb"
"""Where an offline run lies in the run folder."""

COMPLETE_SECONDS = 60.0
INTERRUPTED_SECONDS = 20.0
"""How long the end may take, online: of a complete run with its pictures, and of one where somebody waits to leave."""

OFFLINE_SECONDS = 120.0
"""Writing to the local disk takes seconds; this is for a machine at its limits."""

Warn = Callable[[str], None]
Fence = Callable[[], None]


class Mirror(Protocol):
    """What the driver tells of the run. `close` must be called, whatever happened; it may be called twice.

    warnings: what was told by `warn` so far, for the run's record.
    """

    warnings: list[str]

    def rows(self, history: Sequence[Row]) -> None:
        """The merged history as far as it goes; again and again, longer each time. Does not wait."""

    def finish(self, summary: RunSummary | None, state: str, fence: Fence) -> None:
        """The attempt has ended in `state`. summary: of a complete run, None otherwise.

        `fence` is called before anything is written anywhere; it raises SupersededError where a newer attempt holds
        the run. Raises that and the storage's errors, never one of wandb's: those are warnings.
        """

    def close(self) -> None:
        """End what is still going on, and leave nothing behind on this machine."""


class Off:
    """No mirror."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def rows(self, history: Sequence[Row]) -> None:
        """Nothing."""

    def finish(self, summary: RunSummary | None, state: str, fence: Fence) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def check_mode(spec: JobSpec, api_key: str | None) -> None:
    """Raise UserError where the job file demands wandb online and there is no key. To be called before any work."""
    if spec.wandb.mode == "online" and not api_key:
        raise UserError(
            "wandb.mode: online needs an API key: set WANDB_API_KEY in the environment, or wandb.mode to auto, which "
            "is offline without a key"
        )


def project_of(spec: JobSpec, environment: Mapping[str, str]) -> str:
    """The job file's project; WANDB_PROJECT where the job file has the default only."""
    default = Wandb().project
    return spec.wandb.project if spec.wandb.project != default else environment.get("WANDB_PROJECT") or default


def open_mirror(run: Run, spec: JobSpec, api_key: str | None, warn: Warn, group: str | None = None) -> Mirror:
    """The mirror that wandb.mode asks for; auto: online with a key, else offline. Does not wait for the server.

    group: of runs that belong together there, the sweep's id.

    Raises the storage's errors.
    """
    if spec.wandb.mode == "off":
        return Off()
    plan = Plan(run.id, project_of(spec, os.environ), content.config(run, spec), folder="", group=group)
    mirror = WandbMirror(run, plan, warn)
    if api_key and spec.wandb.mode != "offline":
        mirror.go_online(api_key)
    return mirror


class WandbMirror:
    """Online while there is a process that writes to the server, offline otherwise."""

    def __init__(self, run: Run, plan: Plan, warn: Warn) -> None:
        self.warnings: list[str] = []
        self._run = run
        self._plan = plan
        self._tell = warn
        self._writer: WriterProcess | None = None
        self._sent = 0
        self._complete = False

    def go_online(self, api_key: str) -> None:
        """Start to write to the server."""
        self._writer = self._start(replace(self._plan, key=api_key))

    def rows(self, history: Sequence[Row]) -> None:
        """Send the epochs that are new."""
        if self._writer is None:
            return
        if problem := self._writer.problem():
            self._go_offline(problem)
        elif new := history[self._sent :]:
            self._writer.send(Rows([content.epoch_row(row) for row in new]))
            self._sent = len(history)

    def finish(self, summary: RunSummary | None, state: str, fence: Fence) -> None:
        """Deliver the rest to the server, or write the offline run. What follows a complete end does not replace it."""
        if self._complete:
            return
        fence()
        history = self._run.history()
        final = content.final(summary, content.read_figures(self._run)) if summary else None
        end = End(final, 0 if state == "complete" else 1)
        self.rows(history)
        if self._writer is not None:
            self._writer.send(end)
            problem = self._writer.wait_until_written(COMPLETE_SECONDS if summary else INTERRUPTED_SECONDS)
            if problem is None:
                self._complete = summary is not None
                fence()
                self._remove_offline_runs(keep=())
                self.close()
                return
            self._go_offline(problem)
        if history or final:  # a run that trains nothing has no history
            self._write_offline(Rows([content.epoch_row(row) for row in history]), end, fence)
            self._complete = summary is not None

    def close(self) -> None:
        """End the process, if there is one."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._tell(text)

    def _start(self, plan: Plan) -> WriterProcess | None:
        try:
            return WriterProcess(plan)
        except OSError as error:
            self._warn(f"wandb could not be started ({error})")
            return None

    def _go_offline(self, problem: str) -> None:
        self.close()
        self._warn(
            f"wandb: {problem}; the run goes on without it, and is kept in {self._run.store.address}/{FOLDER} when it "
            "ends, for `wandb sync`"
        )

    def _write_offline(self, rows: Rows, end: End, fence: Fence) -> None:
        writer = self._start(self._plan)
        if writer is None:
            return
        with closing(writer):
            writer.send(rows)
            writer.send(end)
            if problem := writer.wait_until_written(OFFLINE_SECONDS):
                self._warn(f"wandb: {problem}; the run has no copy in {self._run.store.address}/{FOLDER}")
                return
            folder = writer.folder / "wandb"
            paths = [path for path in folder.glob("offline-run-*/**/*") if path.is_file()]
            names = {path.relative_to(folder).as_posix(): path for path in paths}
            # the debug logs tell of this machine, and of nothing else
            files = {f"{FOLDER}/{name}": path for name, path in names.items() if name.split("/")[1] != "logs"}
            fence()
            self._run.store.upload(files)
            self._remove_offline_runs(keep=files)

    def _remove_offline_runs(self, keep: Sequence[str] | Mapping[str, object]) -> None:
        stale = [entry.key for entry in self._run.store.entries(FOLDER) if entry.key not in keep]
        if stale:
            self._run.store.delete(stale)
