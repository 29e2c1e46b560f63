"""`visionjobs weights pull` and `weights list`: pretrained weights in storage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from visionjobs.cli.console import byte_progress, err, out
from visionjobs.errors import UserError, nearest
from visionjobs.jobfile import find_job, job_names, load_job
from visionjobs.settings import Settings
from visionjobs.storage import OnBytes, open_store

if TYPE_CHECKING:
    from visionjobs.models.weights import Source

app = typer.Typer(help="Pretrained weights in storage.", no_args_is_help=True)

_SHA256_DIGITS = 64


@app.command("pull")
def pull_weights(
    target: Annotated[
        str, typer.Argument(metavar="JOB|NAME|FILE", help="A job, a name that `weights list` shows, a file.")
    ],
    sha256: Annotated[str, typer.Option(help="The sha256 that the file must have.")] = "",
) -> None:
    """Put verified weights into storage: those of a job, those that are published under a name, or a file.

    A detector's .pt is a pickle: it is checked and stored, but not loaded.

    The last line on stdout is their address, which model.weights may name.
    """
    from visionjobs.models.pull import pull

    settings = Settings.from_env()
    source = _with_sha256(_source(target, settings.jobs), sha256.lower())
    with byte_progress() as progress:
        pulled = pull(source, open_store(settings.storage, settings.endpoint), lambda *what: _bar(progress, *what))
    err.print(
        Text(f"{'Stored' if pulled.stored else 'Already there, and whole'}: {pulled.content}; sha256 {pulled.sha256}")
    )
    out.print(pulled.address)


@app.command("list")
def list_weights() -> None:
    """List the weights in storage, and those that torchvision and ultralytics publish for the models here."""
    from visionjobs.models.weights import FOLDER, SIDECAR, published_sources, stored_sha256

    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    entries = {entry.key: entry for entry in root.at(FOLDER).entries()}
    published: dict[str, list[str]] = {}
    for name, source in published_sources().items():
        published.setdefault(source.file, []).append(name)
    table = Table(Column("file", overflow="fold"), "MB", "sha256", Column("published as", overflow="fold"))
    for key, entry in entries.items():
        if key + SIDECAR in entries:
            digest = stored_sha256(root, key) or ""
            table.add_row(key, f"{entry.size / 1e6:.1f}", digest[:12], "\n".join(published.pop(key, [])))
    for file, names in published.items():
        table.add_row(file, "", "not in storage", "\n".join(names))
    err.print(table)
    if published:
        err.print("What is not in storage comes by `visionjobs weights pull NAME`.")


def _source(target: str, jobs: Path) -> Source:
    """A job by name or path, a file that is there, a published name (of torchvision's also without its class)."""
    from visionjobs.models.weights import file_source, is_file_name, job_source, published_sources

    known = job_names(jobs)
    if target in known or target.endswith((".yaml", ".yml")):
        spec = load_job(find_job(target, jobs))
        source = job_source(spec)
        if source is None:
            raise UserError(f"{spec.name}: model.weights is random: there is nothing to pull")
        return source
    if Path(target).is_file():
        return file_source(target)
    published = published_sources()  # ultralytics' names take seconds to import
    if target in published:
        return published[target]
    short = {name: name.partition("_Weights.")[2] for name in published}
    fitting = {published[name].file: published[name] for name in published if target == short[name]}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if fitting:
        names = [name for name in published if target == short[name]]
        raise UserError(f'"{target}" may be any of {", ".join(names)}: name one of them, or a job')
    if is_file_name(target):
        return file_source(target)
    raise UserError(
        f'"{target}" is neither a job, nor a published name, nor a file. '
        f"The jobs are: {', '.join(known) or 'none'}; the published names: {', '.join(published)}."
        f"{nearest(target, [*known, *published, *short.values()])}"
    )


def _with_sha256(source: Source, sha256: str) -> Source:
    """`source` with the sha256 that the user gave, which must agree with what is known already."""
    if not sha256:
        return source
    if len(sha256) != _SHA256_DIGITS or not set(sha256) <= set("0123456789abcdef"):
        raise UserError(f"--sha256 {sha256}: expected {_SHA256_DIGITS} hexadecimal digits")
    if not sha256.startswith(source.sha256):
        raise UserError(f"--sha256 {sha256} cannot be that of {source.file}, which begins with {source.sha256}")
    return replace(source, sha256=sha256)


def _bar(progress: Progress, name: str, total: int | None) -> OnBytes:
    task = progress.add_task(name, total=total)
    return lambda count: progress.advance(task, count)
