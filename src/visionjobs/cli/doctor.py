"""`visionjobs doctor [JOB]`: everything that is looked at before a job is submitted, and this machine, at any time."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from visionjobs.cli.console import out, print_wide
from visionjobs.cluster.check import Check, failures, look
from visionjobs.cluster.checks_machine import (
    check_cache,
    check_credentials,
    check_gpu,
    check_kubeconfig,
    check_versions,
    check_wandb,
)
from visionjobs.cluster.checks_nodes import count_gpus
from visionjobs.cluster.checks_objects import check_image
from visionjobs.cluster.checks_storage import check_clock, check_seen_from_cluster, check_storage
from visionjobs.cluster.client import Object, connect
from visionjobs.cluster.code import pack_code, working_tree
from visionjobs.cluster.preflight import account, cluster_checks, cluster_failed, manifest_checks, secret_keys
from visionjobs.errors import UserError
from visionjobs.jobfile import find_job, load_job
from visionjobs.runs import new_run_id
from visionjobs.settings import ClusterSettings, Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store

MARKS = {True: "[green]ok[/]", False: "[bold red]no[/]", None: "[yellow]?[/]"}
"""A mark for `ok`, with a meaning without colours too."""


def doctor(
    job: Annotated[
        str | None, typer.Argument(help="a job: looks at its dataset, its weights and what its pods ask for too")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="change a key of the job, as of `visionjobs submit`")
    ] = None,
    backend: Annotated[str, typer.Option(help="rayjob or job: how jobs would be submitted")] = "rayjob",
    as_json: Annotated[bool, typer.Option("--json", help="print a list of {check, ok, message, hint} instead")] = False,
) -> None:
    """Look at this machine, the storage and the cluster, and say what to do, in one line each.

    Works without a cluster and without storage. Exit status 0: nothing failed; "?" marks what could not be told or is
    only a warning; 1: something failed. Of credentials it tells where they are, never what they are.
    """
    if backend not in ("rayjob", "job"):
        raise UserError(f"--backend {backend}: expected rayjob or job")
    settings = Settings.from_env()
    spec = load_job(find_job(job, settings.jobs), sets or []) if job else None
    checks = _machine(settings)
    root = open_store(settings.storage, settings.endpoint)
    more, spec = _storage(settings, root, spec)
    checks += more
    kubeconfig = check_kubeconfig()
    checks.append(kubeconfig)
    if kubeconfig.ok:
        checks += _cluster(settings, spec, backend)
    if as_json:
        listed = [{"check": c.name, "ok": c.ok, "message": c.message, "hint": c.hint or None} for c in checks]
        out.print_json(json.dumps(listed))
    else:
        print_wide(_table(checks), 80)
    if failures(checks):
        raise typer.Exit(1)


def _machine(settings: Settings) -> list[Check]:
    tree = None
    with suppress(UserError):  # installed as a package: nothing to compare with
        tree = working_tree()

    def code() -> str:
        sha256, data = pack_code(working_tree())
        return f"{sha256[:12]}, {len(data) / 1e6:.1f} MB, travels with a job"

    return [check_versions(tree), check_gpu(), check_cache(settings), check_wandb(), look("code", code)]


def _storage(settings: Settings, root: Store, spec: JobSpec | None) -> tuple[list[Check], JobSpec | None]:
    """Checks, and the job with its inputs pinned. Where the storage fails nothing more is asked of it."""
    from visionjobs.cli.submit_inputs import check_inputs

    credentials = check_credentials(settings)
    storage = check_storage(root)
    checks = [credentials, storage]
    if storage.ok is False:
        return checks, spec
    checks.append(check_clock(root))
    if spec is None:
        return checks, None
    inputs = check_inputs(root, spec, settings.cache)
    return [*checks, *inputs.checks], inputs.spec


def _cluster(settings: Settings, spec: JobSpec | None, backend: str) -> list[Check]:
    """Of a job what submitting it would apply, too."""
    from visionjobs.cli.submit_cluster import rendered
    from visionjobs.cluster.submission import run_submission

    cluster_settings = ClusterSettings.from_env()
    image = check_image(cluster_settings.image)
    checks = [check_seen_from_cluster(settings), image]
    try:
        cluster = connect(cluster_settings)
    except UserError as error:
        return [*checks, Check("cluster", False, str(error))]
    objects: list[Object] = []
    refused: list[Check] = []
    if spec is not None and image.ok:
        submission = run_submission(spec, new_run_id(spec.name), settings)
        objects, refused = rendered(submission, cluster_settings, backend)
    checks += cluster_checks(cluster, cluster_settings, backend, secret_keys(spec), account(objects))
    if cluster_failed(checks):
        return checks + refused
    more = manifest_checks(cluster, cluster_settings, objects) if objects else [count_gpus(cluster)]
    return [*checks, *refused, *more]


def _table(checks: list[Check]) -> Table:
    table = Table(Column("", no_wrap=True), Column("check", no_wrap=True), "found", "what to do", box=SIMPLE_HEAD)
    for check in checks:
        table.add_row(MARKS[check.ok], check.name, escape(check.message), escape(check.hint))
    failed = len(failures(checks))
    table.caption = f"{failed} failed" if failed else "nothing failed"
    return table
