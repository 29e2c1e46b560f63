"""How a run's status is shown: a block for one, a line of a table for each of many, a line when it changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from visionjobs.cli.console import number
from visionjobs.cli.run_view import epoch_line
from visionjobs.cluster.run_status import RunStatus, how_to_continue
from visionjobs.cluster.state import JobState
from visionjobs.run_progress import RunProgress

COLOURS = {"running": "green", "complete": "green", "failed": "red", "failed to start": "red", "interrupted": "yellow"}

SCORE_NAMES = {"val_accuracy": "val accuracy", "val_miou": "val mIoU", "val_map": "val mAP"}

BACKENDS = {"rayjob": "RayJob", "job": "Job"}


def block(status: RunStatus) -> Table:
    """Everything about one run, a line each."""
    table = Table.grid(Column(no_wrap=True, style="dim"), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for head, text in _lines(status):
        table.add_row(head, text)
    return table


def _lines(status: RunStatus) -> Iterator[tuple[str, str]]:
    progress, job = status.progress, status.job
    kind = job.kind if job else "run"
    yield kind if kind != "import" else "import", f"[bold]{escape(status.name)}[/]"
    yield "state", _coloured(status.state) + _attempts(progress)
    if progress is not None:
        yield "job", f"{progress.job}, {progress.task} on {progress.dataset}"
    elif job is not None:
        yield "job" if kind != "import" else "dataset", escape(job.job)
    yield "where", escape(_where(status))
    for pod in job.pods if job else ():
        yield "pod", escape(f"{pod.role}: {pod.phase} on {pod.node or 'no node yet'}, {pod.name}")
    for reason in status.reasons():
        yield "why", escape(reason)
    if progress is not None:
        yield from _progress_lines(progress, status)
    for command in next_commands(status):
        yield "next", escape(command)


def _progress_lines(progress: RunProgress, status: RunStatus) -> Iterator[tuple[str, str]]:
    yield "progress", _position(progress)
    if status.state == "running" and progress.eta_seconds is not None:
        what = "images predicted" if progress.stage == "predicting" else "training ends"
        yield "ETA", f"{what} in about {duration(progress.eta_seconds)}, then the last evaluation and the report"
    if progress.best is not None:
        best = progress.best
        yield "best", f"{SCORE_NAMES[best['metric']]} {number(best['value'])} in epoch {best['epoch'] + 1}"
    if progress.row is not None:
        yield "last", escape(epoch_line(progress.row, progress.epochs))
    yield "GPU-hours", number(progress.gpu_hours, ".2f")
    if progress.stop is not None and progress.stop not in (progress.message or ""):
        yield "stop", escape(f"it was asked to stop, because {progress.stop}")
    if progress.message:
        yield "message", escape(progress.message)
    yield "folder", escape(progress.address)
    if status.state == "complete":
        yield "report", escape(f"{progress.address}/report/report.html")


def next_commands(status: RunStatus) -> list[str]:
    """What to do now."""
    name, state, local = status.name, status.state, status.backend == "local"
    job = status.progress.job if status.progress else status.job.job if status.job else ""
    if state in ("queued", "pending", "starting", "running"):
        return [] if local else [f"visionjobs logs {name} --follow", f"visionjobs cancel {name}"]
    if status.job is not None and status.job.kind in ("evaluate", "import"):
        return [] if state == "complete" else [f"visionjobs logs {name}"]
    if state in ("interrupted", "failed to start", "stopping") or state.startswith("silent"):
        again = how_to_continue(name, job, status.backend, status.submission)
        return [again] if local else [f"visionjobs logs {name}", again]
    return [f"visionjobs logs {name}"] if state == "failed" and not local else []


def many(statuses: Sequence[RunStatus]) -> Table:
    """A line each."""
    columns = [Column(head, no_wrap=True) for head in ("run", "state", "epochs", "ETA")]
    table = Table(*columns, Column("best", overflow="fold"), box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for status in statuses:
        progress = status.progress
        epochs = "" if progress is None else f"{progress.epochs_done}/{progress.epochs}"
        eta = "" if progress is None or progress.eta_seconds is None else duration(progress.eta_seconds)
        best = "" if progress is None or progress.best is None else number(progress.best["value"])
        table.add_row(status.name, _coloured(status.state), epochs, eta if status.state == "running" else "", best)
    return table


def changing(status: RunStatus) -> str:
    """One line without what changes at every step: another one is printed when it changes."""
    progress, parts = status.progress, [status.state]
    if progress is not None and progress.attempt is not None:
        parts.append(f"attempt {progress.attempts}")
        parts.append(f"{progress.epochs_done}/{progress.epochs} epochs")
    if progress is not None and progress.best is not None:
        parts.append(f"best {SCORE_NAMES[progress.best['metric']]} {number(progress.best['value'])}")
    pods = [pod for pod in status.job.pods if not pod.ended] if status.job else []
    if pods and status.state in ("pending", "starting"):
        parts.append(f"{sum(pod.phase == 'Running' for pod in pods)}/{len(pods)} pods run")
    parts += list(status.reasons())
    if status.ended and progress is not None and progress.message:
        parts.append(progress.message)
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """90 -> 0:01:30."""
    return str(timedelta(seconds=round(seconds)))


def _coloured(state: str) -> str:
    colour = COLOURS.get(state, "yellow" if state.startswith("silent") else "cyan")
    return f"[{colour}]{state}[/]"


def _attempts(progress: RunProgress | None) -> str:
    if progress is None or progress.attempt is None:
        return ""
    return f", attempt {progress.attempts} of at most {progress.attempts_allowed}"


def _position(progress: RunProgress) -> str:
    if progress.stage == "predicting":
        return f"{progress.done}/{progress.total} images predicted"
    step = "" if progress.step is None else f", step {progress.step}/{progress.steps}"
    return f"{progress.epochs_done}/{progress.epochs} epochs{step}"


def _where(status: RunStatus) -> str:
    if status.backend == "ray":
        return f"the Ray at {status.submission.get('address')}" + (_who(status.job) if status.job else "")
    if status.job is not None:
        return f"{BACKENDS[status.job.backend]} in namespace {status.namespace}{_who(status.job)}"
    if status.backend != "local":
        where = f"namespace {status.submission.get('namespace')}"
        asked = any(failure.source == "cluster" for failure in status.failures) or status.namespace is None
        told = "the cluster was not asked or did not answer" if asked else "its object is not there (any more)"
        return f"submitted to {where} as {BACKENDS.get(status.backend, status.backend)}: {told}"
    host = status.progress.host if status.progress else None
    return "a local Ray" + (f" on {host}" if host else "")


def _who(job: JobState) -> str:
    seconds = (datetime.now(UTC) - datetime.fromisoformat(job.created)).total_seconds()
    by = f" by {job.owner}" if job.owner else ""
    retries = f", {job.retries} failed attempt(s) there" if job.retries else ""
    return f", submitted{by} {duration(max(0, seconds))} ago{retries}"
