"""`visionjobs submit --backend ray`: to a Ray that is already there, through its Jobs API."""

from __future__ import annotations

import json
import sys
from urllib.parse import urlsplit

import typer

from visionjobs.cli.console import out, print_error, print_warning
from visionjobs.cli.submit_plans import Code, Plan
from visionjobs.cli.submit_steps import Options, report, run_folder, say_submitted
from visionjobs.cluster.check import Check, look
from visionjobs.cluster.checks_storage import check_seen_from_cluster, is_loopback
from visionjobs.cluster.code import working_tree
from visionjobs.cluster.ray_jobs import ENDED, follow_ray_logs, ray_status, submission_id, submit_ray
from visionjobs.cluster.run_status import read_submission
from visionjobs.runs import Run
from visionjobs.settings import Settings


def submit_to_ray(settings: Settings, plan: Plan, code: Code, options: Options) -> None:
    """Check the inputs, then submit. Prints the address; raises typer.Exit with --wait."""
    address = options.address or ""
    checks = [*plan.checks, _check_not_live(address, plan)]
    if not is_loopback(urlsplit(address).hostname):  # a Ray on this machine sees its folders
        checks.append(check_seen_from_cluster(settings))
    report(checks)
    name = submission_id(plan.submission.name, plan.submission.attempt)
    where: dict[str, object] = {"backend": "ray", "address": address, "submission_id": name}
    if options.dry_run:
        out.print_json(json.dumps(where | {"entrypoint": plan.submission.command}))
        return
    with run_folder(plan, where):
        submit_ray(plan.submission, address, working_tree() if code.sha256 else None)
    say_submitted(plan, f"the Ray at {address}")
    out.print(plan.address)
    if options.wait:
        raise typer.Exit(_wait(plan, address, name))


def _check_not_live(address: str, plan: Plan) -> Check:
    """Ray answers, lets us in, and does not run the run's last attempt any more."""

    def find() -> Check | str:
        before = {} if plan.run is None else read_submission(plan.run)
        where, name = before.get("address") or address, before.get("submission_id") or plan.submission.name
        found = ray_status(where, name)
        if found is None or found[0] in ENDED:
            return f"{address} answers"
        return Check("ray", False, f"{plan.submission.name} is on the Ray at {where} already ({found[0]})",
                     f"`visionjobs cancel {plan.submission.name}` ends it")  # fmt: skip

    return look("ray", find)


def _wait(plan: Plan, address: str, name: str) -> int:
    """Show the log on stderr until the job has ended; its exit status."""
    from visionjobs.cluster.outcome import exit_status

    run_id = plan.submission.name
    try:
        for piece in follow_ray_logs(address, name):
            sys.stderr.write(piece)
    except KeyboardInterrupt:
        print_warning(f"{run_id} goes on without you: `visionjobs logs {run_id} -f`, `visionjobs cancel {run_id}`")
        raise typer.Exit(130) from None
    status = exit_status(Run(run_id, plan.root.at("runs", run_id)), None)
    if status:
        print_error(f"{run_id} did not complete: visionjobs status {run_id}")
    return status
