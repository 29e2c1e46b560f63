"""`visionjobs submit --backend ray`: to a Ray that is already there, through its Jobs API."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from urllib.parse import urlsplit

import typer

from visionjobs.cli.console import out, print_error, print_warning
from visionjobs.cli.submit_plans import Code, Plan
from visionjobs.cli.submit_steps import Options, report, run_folder, say_submitted
from visionjobs.cluster.check import Check, look
from visionjobs.cluster.checks_storage import check_seen_from_cluster, is_loopback
from visionjobs.cluster.code import working_tree
from visionjobs.cluster.ray_jobs import follow_ray, ray_state, submission_id, submit_ray
from visionjobs.cluster.run_status import read_submission
from visionjobs.errors import ClusterError
from visionjobs.settings import Settings
from visionjobs.sweeps import folder_of


def submit_to_ray(settings: Settings, plan: Plan, code: Code, options: Options) -> None:
    """Check the inputs, then submit. Prints the address; raises typer.Exit with --wait."""
    address = options.address or ""
    checks = [*plan.checks, *_checks_of_ray(address, plan)]
    if not is_loopback(urlsplit(address).hostname):  # a Ray on this machine sees its folders
        checks.append(check_seen_from_cluster(settings))
    report(checks)
    name = submission_id(plan.submission.name)
    where: dict[str, object] = {"backend": "ray", "address": address, "submission_id": name}
    if options.dry_run:
        out.print_json(json.dumps(where | {"entrypoint": plan.submission.command}))
        return
    with run_folder(plan, where):
        submit_ray(plan.submission, name, address, working_tree() if code.sha256 else None)
    say_submitted(plan, f"the Ray at {address}")
    out.print(plan.address)
    if options.wait:
        raise typer.Exit(_wait(plan, address, name))


def _checks_of_ray(address: str, plan: Plan) -> list[Check]:
    """The Ray answers and lets us in, and neither it nor the one before runs the run's last job any more."""
    submission = {} if plan.run is None else read_submission(plan.run)
    before, name = None, plan.submission.name  # of a new run Ray knows no such job: it answers
    if submission.get("backend") == "ray":
        before, name = str(submission.get("address")), str(submission.get("submission_id"))
    checks = [look("ray", lambda: _check_not_live(address, plan, name))]
    if before not in (None, address):
        check = look("ray before", lambda: _check_not_live(str(before), plan, name))
        gone = check.exit_status == ClusterError.exit_status
        checks.append(replace(check, ok=None, hint="if the run goes on there, end it") if gone else check)
    return checks


def _check_not_live(address: str, plan: Plan, name: str) -> Check | str:
    found = ray_state(address, name)
    if found is None or found.ended:
        return f"{address} answers"
    return Check("ray", False, f"{plan.submission.name} is on the Ray at {address} already ({found.phase})",
                 f"`visionjobs cancel {plan.submission.name}` ends it")  # fmt: skip


def _wait(plan: Plan, address: str, name: str) -> int:
    """Show the log on stderr until the job has ended; its exit status."""
    from visionjobs.cluster.outcome import exit_status

    run_id = plan.submission.name
    try:
        state = follow_ray(address, name, sys.stderr.write)
    except KeyboardInterrupt:
        print_warning(f"{run_id} goes on without you: `visionjobs logs {run_id} -f`, `visionjobs cancel {run_id}`")
        raise typer.Exit(130) from None
    status = exit_status(folder_of(plan.root, run_id), state)
    if status:
        reasons = "; ".join(state.reasons) if state else ""
        print_error(f"{run_id} did not complete{f' ({reasons})' if reasons else ''}: visionjobs status {run_id}")
    return status
