"""`visionjobs render` and `visionjobs manifests`: jobs as YAML for a cluster, without one at hand."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionjobs.cli.console import out, print_error, print_warning
from visionjobs.cli.run import check_weights_for_sample, on_sample
from visionjobs.cli.sweep import with_samples
from visionjobs.errors import UserError, nearest
from visionjobs.jobfile import find_job, job_names, load_job
from visionjobs.runs import RUN_ID, TRIAL_ID, new_run_id
from visionjobs.settings import MANIFEST_BACKENDS, ClusterSettings, Settings, unknown_variables
from visionjobs.spec import JobSpec
from visionjobs.sweeps import names_sweep, new_sweep_id

if TYPE_CHECKING:
    from visionjobs.cluster.submission import Submission

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key (may be repeated).")]

HEADER = """\
# Job {job} as {kind} {run}, for `kubectl apply -f` and GitOps. Written by `visionjobs manifests`: change
# {file} and write it again. The code is the image's; dataset, weights and Secret must be there before.
#
# Applied again it changes nothing, and a pod that starts again finds the {kind} complete and ends at once, or continues
# it. A new {kind} needs a new id: `visionjobs manifests{option} --run-id-suffix 2`. `kubectl delete -f` ends it; its
# folder in the storage stays, and applied once more it continues.
"""

TTL_HEADER = """\
# A Job is removed a day after its end, and GitOps would make it anew each time: take its TTL away there, in the overlay
# (job: {spec: {ttlSecondsAfterFinished: null}}).
"""


def render(
    job: Annotated[str, typer.Argument(help="A name that `visionjobs jobs` lists, or a job file.")],
    sets: Sets = None,
    sample: Annotated[bool, typer.Option("--sample", help="On the synthetic sample of the job's dataset.")] = False,
    backend: Annotated[str, typer.Option(help="rayjob (of KubeRay), or job (of one pod).")] = "rayjob",
    sweep: Annotated[bool, typer.Option("--sweep", help="As a sweep, which its sweep: section describes.")] = False,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Of a sweep: number of trials, instead of sweep.trials.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Id of the run or sweep; a new one if not given.")
    ] = None,
    no_code: Annotated[bool, typer.Option("--no-code", help="Run the image's code, not the working tree's.")] = False,
) -> None:
    """Print the manifests of a job: what `submit` would apply. Nothing is stored, and no cluster is asked."""
    checked_backend(backend)
    settings = Settings.from_env()
    if samples and not sweep:
        raise UserError("--samples is of a sweep: give --sweep too")
    changes = with_samples(sets, samples)
    spec = load_job(find_job(job, settings.jobs), changes, sweep=sweep)
    if sample:
        check_weights_for_sample(spec, changes)
        spec = on_sample(spec, changes)
    _warn(settings)
    code = None if no_code else _code()
    if sweep:
        text = _sweep_manifests(spec, run_id or new_sweep_id(spec.name), settings, backend, code)
    else:
        text = _run_manifests(spec, run_id or new_run_id(spec.name), settings, backend, code)
    out.print(text, markup=False, end="")
    if code is not None:
        print_warning(
            f"the pods fetch {settings.storage_from_cluster}/code/{code}.zip, which `visionjobs submit` stores. "
            "To apply this by hand give --no-code"
        )


def manifests(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write into, one file a job.")] = Path(
        "manifests"
    ),
    backend: Annotated[str, typer.Option(help="rayjob (of KubeRay), or job (of one pod).")] = "rayjob",
    suffix: Annotated[
        str, typer.Option("--run-id-suffix", help="Run ids are <job>-<suffix>; a new one makes new runs.")
    ] = "1",
    sweeps: Annotated[
        bool,
        typer.Option("--sweep", help="Sweeps instead of runs, into <job>-sweep.yaml; ids are sweep-<job>-<suffix>."),
    ] = False,
    sets: Sets = None,
) -> None:
    """Write the manifests of every job file, for plain `kubectl apply` or GitOps, and print their paths.

    The runs' ids are stable and the code is the image's. With --sweep every job that has a sweep: section, as a sweep.
    A job that cannot be rendered is named, the others are written; the exit status is then 2.
    """
    checked_backend(backend)
    settings = Settings.from_env()
    names = job_names(settings.jobs)
    if not names:
        raise UserError(f"There are no job files in {settings.jobs}/. Run this in the project, or set VISIONJOBS_JOBS.")
    _warn(settings)
    failed = False
    for name in names:
        try:
            path = _write_job(out_folder, name, sets or [], suffix, settings, backend, sweeps)
        except UserError as error:
            failed = True
            print_error(f"{name}: {error}")
            continue
        if path is not None:
            out.print(str(path), markup=False)
    if failed:
        raise typer.Exit(2)


def _write_job(
    folder: Path, name: str, sets: list[str], suffix: str, settings: Settings, backend: str, sweep: bool
) -> Path | None:  # fmt: skip
    """The file with a job's manifests; None for a sweep of a job that has none. Raises UserError."""
    file = find_job(name, settings.jobs)
    if sweep and load_job(file).sweep is None:
        return None
    spec = load_job(file, sets, sweep=sweep)
    kind, prefix, ending = ("sweep", "sweep-", "-sweep") if sweep else ("run", "", "")
    run_id = f"{prefix}{name.replace('_', '-')}-{suffix}"
    text = (_sweep_manifests if sweep else _run_manifests)(spec, run_id, settings, backend, None)
    option = " --sweep" if sweep else ""
    header = HEADER.format(job=name, kind=kind, run=run_id, file=f"jobs/{file.name}", option=option)
    path = folder / f"{name}{ending}.yaml"
    _write(path, header + (TTL_HEADER if backend == "job" else "") + text)
    return path


def checked_backend(backend: str) -> str:
    """`backend`, if jobs are rendered for it. Raises UserError."""
    if backend not in MANIFEST_BACKENDS:
        raise UserError(
            f"--backend {backend}: expected one of: {', '.join(MANIFEST_BACKENDS)}."
            f"{nearest(backend, MANIFEST_BACKENDS)}"
        )
    return backend


def _run_manifests(spec: JobSpec, run_id: str, settings: Settings, backend: str, code: str | None) -> str:
    """YAML of a run, which a cluster would take. Raises UserError."""
    from visionjobs.cluster.submission import run_submission

    if not RUN_ID.match(run_id) or run_id.endswith("-") or names_sweep(run_id) or TRIAL_ID.match(run_id):
        raise UserError(
            f'run id "{run_id}": expected a letter, then at most 46 lower-case letters, digits and -, no - at the end; '
            "ids of sweeps and their trials begin with sweep-"
        )
    return _checked_manifests(run_submission(spec, run_id, settings, code=code, commit=_commit(code)), backend)


def _sweep_manifests(spec: JobSpec, sweep_id: str, settings: Settings, backend: str, code: str | None) -> str:
    """YAML of a sweep, which a cluster would take. Raises UserError."""
    from visionjobs.cluster.submission import sweep_submission

    if not names_sweep(sweep_id) or sweep_id.endswith("-"):
        raise UserError(
            f'sweep id "{sweep_id}": expected sweep-, then at most 41 lower-case letters, digits and -, no - and no '
            "-t001 at the end, as trials have"
        )
    return _checked_manifests(sweep_submission(spec, sweep_id, settings, code=code, commit=_commit(code)), backend)


def _checked_manifests(submission: Submission, backend: str) -> str:
    from visionjobs.cluster.manifest_yaml import manifest_yaml
    from visionjobs.cluster.render import render as render_objects
    from visionjobs.cluster.validate import check

    objects = render_objects(submission, ClusterSettings.from_env(), backend)
    check(objects)
    return manifest_yaml(objects)


def _commit(code: str | None) -> str | None:
    """Of the code that travels."""
    from visionjobs.provenance import code_version

    return code_version()["commit"] if code else None


def _code() -> str:
    """sha256 of the working tree's code, as it would travel."""
    from visionjobs.cluster.code import pack_code, working_tree

    return pack_code(working_tree())[0]


def _warn(settings: Settings) -> None:
    """Of a storage that pods do not see, and of variables that nothing reads."""
    for line in unknown_variables():
        print_warning(line)
    if not settings.storage_from_cluster.startswith("s3://"):
        print_warning(
            f"VISIONJOBS_STORAGE: {settings.storage_from_cluster} is a folder of this machine, which pods do not see. "
            "Set it, or VISIONJOBS_STORAGE_FROM_CLUSTER, to s3://bucket/prefix"
        )


def _write(path: Path, text: str) -> None:
    """Whole or not at all. Raises UserError where the folder cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another folder with --out") from error
