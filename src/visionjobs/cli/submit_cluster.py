"""`visionjobs submit` to a Kubernetes cluster, as a RayJob or a Job."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from visionjobs.cli.console import err, out, print_error, print_warning
from visionjobs.cli.submit_inputs import RUN, was_in_pods_of
from visionjobs.cli.submit_plans import Code, Plan, warn_of_twin
from visionjobs.cli.submit_steps import Options, report, run_folder, say_submitted
from visionjobs.cluster.apply import PerhapsAppliedError, apply_job, remove_ended
from visionjobs.cluster.check import Check
from visionjobs.cluster.checks_objects import check_image
from visionjobs.cluster.checks_storage import check_seen_from_cluster
from visionjobs.cluster.client import Cluster, Object
from visionjobs.cluster.code import upload_code
from visionjobs.cluster.demand import pod_demands, total_demand
from visionjobs.cluster.kubeconfig import connect
from visionjobs.cluster.manifest_yaml import manifest_yaml
from visionjobs.cluster.preflight import (
    account,
    check_not_live,
    cluster_checks,
    cluster_failed,
    manifest_checks,
    secret_keys,
)
from visionjobs.cluster.render import render
from visionjobs.cluster.state import JobState, find_job, list_jobs
from visionjobs.cluster.submission import TRAINING, Submission
from visionjobs.cluster.validate import problems
from visionjobs.errors import UserError
from visionjobs.settings import ClusterSettings, Settings
from visionjobs.sweeps import folder_of


def submit_to_cluster(settings: Settings, plan: Plan, code: Code, options: Options) -> None:
    """Check everything, then apply exactly what `render` gives. Prints the address; raises typer.Exit with --wait."""
    cluster_settings = ClusterSettings.from_env()
    image = check_image(cluster_settings.image)
    checks = [*plan.checks, check_seen_from_cluster(settings), image]
    objects, refused = rendered(plan.submission, cluster_settings, options.backend) if image.ok else ([], [])
    checks += refused
    try:
        cluster = connect(cluster_settings)
    except UserError as error:
        report([*checks, Check("cluster", False, str(error))])
        return
    asked, ended, live = _ask(cluster, cluster_settings, plan, options.backend, objects)
    if _knows_run(cluster, plan, asked):
        checks = [check for check in checks if check.name != RUN]
    report([*checks, *asked])
    err.print(f"asks for {total_demand(pod_demands(objects))}", soft_wrap=True)
    warn_of_twin(plan, live)
    if options.dry_run:
        sys.stdout.write(manifest_yaml(objects))
        return
    if code.sha256:
        upload_code(plan.root, code.sha256, code.data)
    if ended is not None:
        err.print(f"removing the objects of {ended.name}, which has {ended.phase}")
        remove_ended(cluster, ended)
    _apply(cluster, cluster_settings, plan, options.backend, objects)
    say_submitted(plan, f"the namespace {cluster.namespace} of {cluster.server}")
    out.print(plan.address)
    if options.wait:
        raise typer.Exit(_wait(cluster, plan))


def rendered(submission: Submission, settings: ClusterSettings, backend: str) -> tuple[list[Object], list[Check]]:
    """The objects of a job, and what the operators would refuse in them. An image must be set."""
    try:
        objects = render(submission, settings, backend)
    except UserError as error:
        return [], [Check("manifest", False, " ".join(str(error).split()))]
    return objects, [Check("manifest", False, problem) for problem in problems(objects)]


def _ask(
    cluster: Cluster, settings: ClusterSettings, plan: Plan, backend: str, objects: Sequence[Object]
) -> tuple[list[Check], JobState | None, list[str]]:
    """Checks of the cluster; the ended job whose name this one takes; names of the live runs, or sweeps, of the same
    job."""
    checks = cluster_checks(cluster, settings, backend, secret_keys(plan.spec), account(objects))
    if cluster_failed(checks):
        return checks, None, []
    name = check_not_live(cluster, plan.submission.name)
    checks.append(name)
    if name.ok is False:
        return checks, None, []
    ended = find_job(cluster, plan.submission.name)
    if objects:
        checks += manifest_checks(cluster, settings, objects, replaces=ended is not None)
    wanted = (plan.submission.kind, plan.submission.job)
    jobs = list_jobs(cluster) if plan.submission.kind in TRAINING else []
    return checks, ended, [job.name for job in jobs if (job.kind, job.job) == wanted and not job.ended]


def _knows_run(cluster: Cluster, plan: Plan, asked: Sequence[Check]) -> bool:
    """Whether this cluster, rather than the run's folder, tells if the run goes on: it does here, or its last attempt
    was here and may have been killed just now."""
    free = next((check.ok for check in asked if check.name == "name"), None)
    if plan.run is None or free is None:
        return False
    return not free or was_in_pods_of(plan.run, cluster.server, cluster.namespace)


def _apply(
    cluster: Cluster, settings: ClusterSettings, plan: Plan, backend: str, objects: Sequence[Object]
) -> None:  # fmt: skip
    where = {"backend": backend, "server": cluster.server, "namespace": cluster.namespace}
    where |= {"image": settings.image or "", "owner": settings.owner}
    name = plan.submission.name
    try:
        with run_folder(plan, where):
            warnings = apply_job(cluster, objects)
    except PerhapsAppliedError as error:
        hint = f"When the cluster answers, `visionjobs status {name}` tells"
        if plan.submission.kind in TRAINING:
            hint += f"; if it is not there: visionjobs submit {plan.submission.job} --run {name}. {plan.address} stays"
        raise PerhapsAppliedError(f"{error} {hint}.") from error
    for warning in warnings:
        print_warning(warning)


def _wait(cluster: Cluster, plan: Plan) -> int:
    """Show the log on stderr until the job has ended; its exit status."""
    from visionjobs.cluster.follow import Follower
    from visionjobs.cluster.outcome import exit_status

    def emit(_pod: str, line: bytes) -> None:
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()

    name = plan.submission.name
    try:
        state = Follower(cluster, name, emit, lambda told: err.print(told, soft_wrap=True, markup=False)).follow()
    except KeyboardInterrupt:
        print_warning(f"{name} goes on without you: `visionjobs logs {name} -f`, `visionjobs cancel {name}`")
        raise typer.Exit(130) from None
    run = folder_of(plan.root, name) if plan.submission.kind in TRAINING else None
    status = exit_status(run, state)
    if status:
        reasons = "; ".join(state.reasons) if state else ""
        print_error(f"{name} did not complete{f' ({reasons})' if reasons else ''}: visionjobs status {name}")
    return status
