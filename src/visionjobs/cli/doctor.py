"""`visionjobs doctor [JOB]`: everything that is looked at before a job is submitted, and this machine, at any time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from visionjobs.cli.console import err, out
from visionjobs.cli.doctor_view import print_checks
from visionjobs.cli.render import checked_backend
from visionjobs.cli.run import SAMPLES, check_weights_for_sample, on_sample
from visionjobs.cluster.check import Check, failures, look
from visionjobs.cluster.checks_machine import (
    check_cache,
    check_credentials,
    check_gpu,
    check_kubeconfig,
    check_skeletons,
    check_variables,
    check_versions,
    check_wandb,
)
from visionjobs.cluster.checks_nodes import count_gpus
from visionjobs.cluster.checks_objects import check_image
from visionjobs.cluster.checks_storage import check_clock, check_seen_from_cluster, check_storage
from visionjobs.cluster.client import Object
from visionjobs.cluster.code import pack_code, working_tree
from visionjobs.cluster.kubeconfig import connect
from visionjobs.cluster.preflight import account, cluster_checks, cluster_failed, manifest_checks, secret_keys
from visionjobs.errors import UserError
from visionjobs.jobfile import find_job, load_job
from visionjobs.runs import new_run_id
from visionjobs.settings import ClusterSettings, Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store

SOME_IMAGE = "registry.invalid/visionjobs:0"
"""Stands in for an image that is not set, so that the rest of a job can be looked at."""


@dataclass(frozen=True)
class Job:
    """spec: its settings; sample: whether its dataset is the drawn sample."""

    spec: JobSpec
    sample: bool


def doctor(
    job: Annotated[
        str | None, typer.Argument(help="a job: looks at its dataset, its weights and what its pods ask for too")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="change a key of the job, as of `visionjobs submit`")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="the job on the sample that submit --sample draws")] = False,
    backend: Annotated[str, typer.Option(help="rayjob or job: how jobs would be submitted")] = "rayjob",
    as_json: Annotated[bool, typer.Option("--json", help="print a list of {check, ok, message, hint} instead")] = False,
) -> None:
    """Look at this machine, the storage and the cluster, and say what to do.

    Works without a cluster and without storage. A line for each check: ok, no, or ? for what could not be told or is
    only a warning. Exit status 0: nothing failed; 1: something did. Of credentials it tells where they are, never what
    they are.
    """
    checked_backend(backend)
    settings = Settings.from_env()
    asked = _asked(settings, job, sets or [], sample)
    checks: list[Check] = []
    with err.status("looking at this machine") as status:
        checks += _machine(settings)
        status.update(f"looking at the storage {settings.storage}")
        root = open_store(settings.storage, settings.endpoint)
        more, asked = _storage(settings, root, asked)
        checks += more
        kubeconfig = check_kubeconfig()
        checks += [kubeconfig, check_skeletons()]
        if kubeconfig.ok:
            checks += _cluster(settings, asked, backend, status.update)
    if as_json:
        listed = [{"check": c.name, "ok": c.ok, "message": c.message, "hint": c.hint or None} for c in checks]
        out.print_json(json.dumps(listed))
    else:
        print_checks(checks)
    if failures(checks):
        raise typer.Exit(1)


def _asked(settings: Settings, job: str | None, sets: list[str], sample: bool) -> Job | None:
    """The job, if one was given. Raises UserError for one that cannot be read or has no sense on the sample."""
    if job is None:
        if sets or sample:
            raise UserError("--set and --sample change a job: give its name too (`visionjobs jobs` lists them)")
        return None
    spec = load_job(find_job(job, settings.jobs), sets)
    if sample:
        check_weights_for_sample(spec, sets)
        spec = on_sample(spec, sets)
    return Job(spec, sample)


def _machine(settings: Settings) -> list[Check]:
    tree = None
    with suppress(UserError):  # installed as a package: nothing to compare with
        tree = working_tree()

    def code() -> str:
        sha256, data = pack_code(working_tree())
        return f"{sha256[:12]}, {len(data) / 1e6:.1f} MB, travels with a job"

    machine = [check_versions(tree), check_gpu(), check_cache(settings), check_wandb(), look("code", code)]
    return check_variables() + machine


def _storage(settings: Settings, root: Store, job: Job | None) -> tuple[list[Check], Job | None]:
    """Checks, and the job with its inputs pinned. Where the storage fails nothing more is asked of it."""
    from visionjobs.cli.submit_inputs import check_inputs

    credentials = check_credentials(settings)
    storage = check_storage(root)
    checks = [credentials, storage]
    if storage.ok is False:
        return checks, job
    checks.append(check_clock(root))
    if job is None:
        return checks, None
    if job.sample and not _drawn(root, job.spec):
        return [*checks, *_sample_to_come(job.spec)], job
    inputs = check_inputs(root, job.spec, settings.cache)
    return [*checks, *inputs.checks], replace(job, spec=inputs.spec)


def _drawn(root: Store, spec: JobSpec) -> bool:
    from visionjobs.data.catalog import versions

    return bool(versions(root, spec.data.name))


def _sample_to_come(spec: JobSpec) -> list[Check]:
    """What can be told of a job's inputs before its sample is drawn, which is no fault."""
    drawn = Check("dataset", True, f"{spec.data.name} is not there yet: `visionjobs submit --sample` draws it")
    if spec.model.weights == "random":
        return [drawn]
    first = f"visionjobs data sample {SAMPLES[spec.task]}"
    return [drawn, Check("weights", None, "not looked at before the sample is drawn", f"to look now, draw it: {first}")]


def _cluster(settings: Settings, job: Job | None, backend: str, tell: Callable[[str], None]) -> list[Check]:
    """Of a job what submitting it would apply, too."""
    try:
        cluster_settings = ClusterSettings.from_env()
    except UserError:  # check_skeletons tells of it
        return []
    image = check_image(cluster_settings.image)
    checks = [check_seen_from_cluster(settings), image]
    try:
        cluster = connect(cluster_settings)
    except UserError as error:
        return [*checks, Check("cluster", False, str(error))]
    tell(f"asking the cluster {cluster.server}")
    objects, refused = _rendered(settings, cluster_settings, job, backend)
    spec = job.spec if job else None
    checks += cluster_checks(cluster, cluster_settings, backend, secret_keys(spec), account(objects))
    if cluster_failed(checks):
        return checks + refused
    more = manifest_checks(cluster, cluster_settings, objects) if objects else [count_gpus(cluster)]
    return [*checks, *refused, *more]


def _rendered(
    settings: Settings, cluster_settings: ClusterSettings, job: Job | None, backend: str
) -> tuple[list[Object], list[Check]]:
    """A job's objects and what would be refused in them, besides the image, of which check_image tells."""
    from visionjobs.cli.submit_cluster import rendered
    from visionjobs.cluster.submission import run_submission

    if job is None:
        return [], []
    if not check_image(cluster_settings.image).ok:
        cluster_settings = replace(cluster_settings, image=SOME_IMAGE)
    submission = run_submission(job.spec, new_run_id(job.spec.name), settings)
    return rendered(submission, cluster_settings, backend)
