"""`visionjobs submit JOB`: train or search on a cluster, as a new run or sweep or as the next attempt of one; evaluate
or import there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from visionjobs.cli.console import err, print_warning
from visionjobs.cli.submit_plans import Code, Plan, plan_evaluation, plan_import, plan_new_run, plan_next_attempt
from visionjobs.cli.submit_steps import Options
from visionjobs.cli.sweep import with_samples
from visionjobs.cluster.check import refuse
from visionjobs.cluster.checks_objects import check_image, check_reached
from visionjobs.cluster.checks_storage import check_seen_from_cluster, check_storage
from visionjobs.cluster.kubeconfig import connect
from visionjobs.errors import UserError, nearest
from visionjobs.runs import TRIAL_ID
from visionjobs.settings import BACKENDS, ClusterSettings, Settings, unknown_variables
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import names_sweep


@dataclass(frozen=True)
class Asked:
    """What is to be submitted, as it was given."""

    job: str | None
    sets: list[str]
    sample: bool
    run_id: str | None
    sweep: bool
    samples: int | None
    evaluate: str | None
    split: str | None
    data: str | None
    version: str | None
    layout: str | None
    name: str | None

    @property
    def changes(self) -> list[str]:
        """key=value, of all options that change the job."""
        return with_samples(self.sets, self.samples)


def submit(
    job: Annotated[
        str | None,
        typer.Argument(help="name of a job file in jobs/, or the path of one; with --import the raw files, s3://..."),
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="change a key: train.epochs=3 (may be repeated)")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="use the synthetic sample of the job's dataset")] = False,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="continue this run or sweep instead of starting a new one")
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="search the job's hyperparameters: a new sweep")] = False,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="of a sweep: number of trials, instead of sweep.trials")
    ] = None,
    evaluate: Annotated[str | None, typer.Option(metavar="RUN", help="evaluate a finished run there")] = None,
    split: Annotated[str | None, typer.Option(help="of --evaluate, as of `visionjobs evaluate`")] = None,
    data: Annotated[str | None, typer.Option(help="of --evaluate, as of `visionjobs evaluate`")] = None,
    version: Annotated[str | None, typer.Option(help="of --evaluate, as of `visionjobs evaluate`")] = None,
    layout: Annotated[
        str | None, typer.Option("--import", metavar="LAYOUT", help="pack a raw dataset there, on CPUs")
    ] = None,
    name: Annotated[str | None, typer.Option(help="of --import: what to call the dataset")] = None,
    backend: Annotated[str, typer.Option(help="rayjob (KubeRay), job (no KubeRay needed) or ray")] = "rayjob",
    address: Annotated[
        str | None, typer.Option(help="of --backend ray: a running Ray's dashboard, http://HOST:8265")
    ] = None,
    no_code: Annotated[bool, typer.Option("--no-code", help="run the image's code, not that of this folder")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="show the log until the end, and end as the job did")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check, print the YAML, and submit nothing")] = False,
) -> None:
    """Check that a job can run on the cluster, and submit it. The folder of its run, or sweep, is the last line on
    stdout.

    Nothing is made where a check fails: each is told in one line, with what to do. --dry-run writes no more than a
    small object to the storage, which it deletes again. With --wait the exit status is the job's: 0 complete, 1 not
    complete (--run continues it), 3 failed for good; Ctrl-C leaves the job running.
    """
    asked = Asked(job, sets or [], sample, run_id, sweep, samples, evaluate, split, data, version, layout, name)
    _check_together(asked)
    options = Options(_checked_backend(backend, address, evaluate or layout), address, dry_run, wait)
    _submit(asked, options, no_code=no_code)


def _submit(asked: Asked, options: Options, *, no_code: bool) -> None:
    for line in unknown_variables():
        print_warning(line)
    settings = Settings.from_env()
    if asked.sample and not options.dry_run and options.backend != "ray":
        _check_before_drawing(settings)
    root = open_store(settings.storage, settings.endpoint)
    storage = check_storage(root)
    refuse([storage])
    code = Code() if no_code else _pack()
    err.print("looking at the job and its inputs")
    plan = _plan(settings, root, asked, code, options.dry_run)
    plan.checks.insert(0, storage)
    if options.backend == "ray":
        from visionjobs.cli.submit_ray import submit_to_ray

        submit_to_ray(settings, plan, code, options)
    else:
        from visionjobs.cli.submit_cluster import submit_to_cluster

        submit_to_cluster(settings, plan, code, options)


def _check_before_drawing(settings: Settings) -> None:
    """What is cheap to see: drawing a sample takes a while, and leaves it in a storage that may be the wrong one."""
    cluster_settings = ClusterSettings.from_env()
    refuse([check_image(cluster_settings.image), check_seen_from_cluster(settings)])
    refuse([check_reached(connect(cluster_settings))])


def _plan(settings: Settings, root: Store, asked: Asked, code: Code, dry_run: bool) -> Plan:
    if asked.evaluate:
        return plan_evaluation(settings, root, asked.evaluate, asked.split, asked.data, asked.version, code)
    if asked.layout:
        return plan_import(settings, root, asked.layout, asked.job, asked.name, code)
    if asked.run_id and names_sweep(asked.run_id):
        from visionjobs.cli.submit_sweep import plan_next_sweep_attempt

        return plan_next_sweep_attempt(settings, root, asked.job, asked.changes, asked.run_id, code)
    if asked.run_id:
        return plan_next_attempt(settings, root, asked.job, asked.sets, asked.run_id, code)
    job = asked.job or ""  # _check_together saw to it
    if asked.sweep:
        from visionjobs.cli.submit_sweep import plan_new_sweep

        return plan_new_sweep(settings, root, job, asked.changes, sample=asked.sample, dry_run=dry_run, code=code)
    return plan_new_run(settings, root, job, asked.sets, sample=asked.sample, dry_run=dry_run, code=code)


def _check_together(asked: Asked) -> None:
    """Raises UserError for options that do not go together."""
    options: dict[str, object] = {
        "--set": asked.sets, "--sample": asked.sample, "--split": asked.split, "--data": asked.data,
        "--version": asked.version, "--name": asked.name, "--sweep": asked.sweep, "--samples": asked.samples,
    }  # fmt: skip
    given = {name for name, value in options.items() if value}
    what, allowed = "a JOB", {"--set", "--sample", "--sweep"}
    if asked.evaluate:
        what, allowed = "--evaluate", {"--split", "--data", "--version"}
    elif asked.layout:
        what, allowed = "--import", {"--name"}
    elif asked.run_id:
        what, allowed = "--run", {"--set"}
        if names_sweep(asked.run_id):
            what, allowed = "--run SWEEP", {"--set", "--samples"}
    elif asked.job is None:
        raise UserError(
            "give a JOB (`visionjobs jobs` lists them), --run ID, --evaluate RUN or --import LAYOUT s3://..."
        )
    elif asked.sweep:
        what, allowed = "--sweep", allowed | {"--samples"}
    several = sum(bool(one) for one in (asked.run_id, asked.evaluate, asked.layout)) > 1
    if several or (asked.evaluate and asked.job):
        raise UserError(
            "a new JOB, --run, --evaluate RUN and --import LAYOUT SOURCE do not go together: give one of them"
        )
    if wrong := sorted(given - allowed):
        raise UserError(f"{', '.join(wrong)}: not with {what}, which takes {', '.join(sorted(allowed))}")
    if trial := TRIAL_ID.match(asked.run_id or ""):
        raise UserError(f"{asked.run_id} is a trial, and goes on with its sweep: visionjobs submit --run {trial[1]}")


def _checked_backend(backend: str, address: str | None, other: str | None) -> str:
    """`backend`; of evaluations and imports always job. Raises UserError."""
    if backend not in BACKENDS:
        raise UserError(f"--backend {backend}: expected one of: {', '.join(BACKENDS)}.{nearest(backend, BACKENDS)}")
    if (backend == "ray") != (address is not None):
        raise UserError("--backend ray and --address http://HOST:8265 go together: give both, or none")
    if other and backend == "ray":
        raise UserError("--backend ray is for training: evaluations and imports need a cluster of their own")
    return "job" if other else backend


def _pack() -> Code:
    """The code of this working tree."""
    from visionjobs.cluster.code import pack_code, working_tree
    from visionjobs.provenance import code_version

    sha256, data = pack_code(working_tree())
    err.print(f"code {sha256[:12]}, {len(data) / 1e6:.1f} MB, goes with the job")
    return Code(sha256, data, code_version()["commit"])
