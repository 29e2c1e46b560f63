"""How the status of a run or sweep is shown: a block for one, a line of a table for each of many, a line when it
changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Column, Table

from visionjobs.cli.console import number
from visionjobs.cli.run_view import epoch_line
from visionjobs.cluster.run_status import RunStatus, how_to_continue
from visionjobs.cluster.state import JobState
from visionjobs.cluster.submission import TRAINING
from visionjobs.run_progress import RunProgress
from visionjobs.sweep_progress import SweepProgress, sweep_eta

COLOURS = {"running": "green", "complete": "green", "failed": "red", "failed to start": "red", "interrupted": "yellow"}

SCORE_NAMES = {"val_accuracy": "val accuracy", "val_miou": "val mIoU", "val_map": "val mAP"}

BACKENDS = {"rayjob": "RayJob", "job": "Job"}


def block(status: RunStatus) -> RenderableType:
    """Everything about one run or sweep, a line each; of a sweep also a table of its trials."""
    table = Table.grid(Column(no_wrap=True, style="dim"), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for head, text in _lines(status):
        table.add_row(head, text)
    if status.sweep is None:
        return table
    from visionjobs.cli.sweep_view import trial_table

    return Group(table, "", trial_table(status.sweep))


def _lines(status: RunStatus) -> Iterator[tuple[str, str]]:
    progress, job = status.progress, status.job
    kind = status.kind
    yield kind, f"[bold]{escape(status.name)}[/]"
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
    yield from _epoch_lines(progress, status) if status.sweep is None else _trial_lines(status.sweep)
    yield "GPU-hours", number((status.sweep or progress).gpu_hours, ".2f")
    if progress.stop is not None and progress.stop not in (progress.message or ""):
        yield "stop", escape(f"it was asked to stop, because {progress.stop}")
    if progress.message:
        yield "message", escape(progress.message)
    yield "folder", escape(progress.address)
    if status.state == "complete":
        yield "report", escape(f"{progress.address}/report/report.html")


def _epoch_lines(progress: RunProgress, status: RunStatus) -> Iterator[tuple[str, str]]:
    yield "progress", _position(progress)
    if status.state == "running" and progress.eta_seconds is not None:
        what = "images predicted" if progress.stage == "predicting" else "training ends"
        yield "ETA", f"{what} in about {duration(progress.eta_seconds)}, then the last evaluation and the report"
    if progress.best is not None:
        best = progress.best
        yield "best", f"{SCORE_NAMES[best['metric']]} {number(best['value'])} in epoch {best['epoch'] + 1}"
    if progress.row is not None:
        yield "last", escape(epoch_line(progress.row, progress.epochs))


def _trial_lines(sweep: SweepProgress) -> Iterator[tuple[str, str]]:
    counts = Counter(trial.state for trial in sweep.trials)
    states = f" ({', '.join(f'{count} {state}' for state, count in sorted(counts.items()))})" if counts else ""
    yield "progress", escape(_trials_ended(sweep) + states)
    if (eta := sweep_eta(sweep)) is not None:
        yield "ETA", f"all trials end in about {duration(eta)}, sooner where more are stopped early"
    if (best := sweep.best) is not None:
        yield "best", f"{SCORE_NAMES.get(sweep.metric, sweep.metric)} {number(best.value)} of trial {best.number}"


def _trials_ended(sweep: SweepProgress) -> str:
    return f"{sum(trial.ended for trial in sweep.trials)}/{sweep.wanted} trials"


def next_commands(status: RunStatus) -> list[str]:
    """What to do now."""
    name, state, local = status.name, status.state, status.backend == "local"
    job = status.progress.job if status.progress else status.job.job if status.job else ""
    if state in ("queued", "pending", "starting", "running"):
        return [] if local else [f"visionjobs logs {name} --follow", f"visionjobs cancel {name}"]
    if status.kind not in TRAINING:
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
        table.add_row(status.name, _coloured(status.state), *_how_far(status))
    return table


def _how_far(status: RunStatus) -> tuple[str, str, str]:
    """Epochs, or trials; ETA; the best value."""
    progress, sweep = status.progress, status.sweep
    if progress is None:
        return "", "", ""
    if sweep is not None:
        done, eta, best = _trials_ended(sweep), sweep_eta(sweep), sweep.best.value if sweep.best else None
    else:
        done, eta = f"{progress.epochs_done}/{progress.epochs}", progress.eta_seconds
        best = progress.best["value"] if progress.best else None
    is_running = status.state == "running" and eta is not None
    return done, duration(eta or 0) if is_running else "", "" if best is None else number(best)


def changing(status: RunStatus) -> str:
    """One line without what changes at every step: another one is printed when it changes."""
    progress, parts = status.progress, [status.state]
    if progress is not None and progress.attempt is not None:
        parts.append(f"attempt {progress.attempts}")
        parts.append(
            f"{progress.epochs_done}/{progress.epochs} epochs" if status.sweep is None else _trials_ended(status.sweep)
        )
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
