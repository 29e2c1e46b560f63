"""A sweep that is to be submitted: a new one, or one that is continued, as a Plan."""

from __future__ import annotations

from collections.abc import Sequence

from visionjobs.cli.submit_inputs import check_inputs, check_run, stored_weights
from visionjobs.cli.submit_plans import Code, Plan, checkpoint_seconds
from visionjobs.cli.sweep import continued_spec_of, continued_sweep_spec, new_sweep_spec
from visionjobs.cluster.check import Check, look
from visionjobs.cluster.submission import sweep_submission
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store
from visionjobs.sweeps import new_sweep_id, open_sweep, section_of


def plan_new_sweep(
    settings: Settings, root: Store, job: str, sets: Sequence[str], *, sample: bool, dry_run: bool, code: Code
) -> Plan:
    """A job as a new sweep. With `sample` its dataset is drawn into the storage, unless it is there or this is dry.

    Raises UserError for a job without a sweep section.
    """
    from visionjobs.tuning.driver import pin_sweep

    spec = new_sweep_spec(settings, root, job, sets, sample=sample, dry_run=dry_run)
    inputs = check_inputs(root, spec, settings.cache, pin=pin_sweep)
    sweep_id = new_sweep_id(spec.name)
    submission = sweep_submission(
        inputs.spec, sweep_id, settings, code=code.sha256, commit=code.commit,
        checkpoint_seconds=checkpoint_seconds(root, spec.name),
    )  # fmt: skip
    checks = [*inputs.checks, *_space_checks(root, inputs.spec)]
    address = root.at("sweeps", sweep_id).address
    return Plan(root, submission, checks, address, spec=inputs.spec, manifest=inputs.manifest)


def plan_next_sweep_attempt(
    settings: Settings, root: Store, job: str | None, sets: list[str], sweep_id: str, code: Code
) -> Plan:
    """The next attempt of a sweep: its stored spec counts. Raises as `sweep --sweep` does where it may not be
    continued."""
    from visionjobs.tuning.driver import check_may_go_on

    sweep = open_sweep(root, sweep_id)
    spec = continued_spec_of(sweep, job, sets) if job else continued_sweep_spec(sweep.spec(), sets, sweep_id)
    check_may_go_on(sweep, spec)
    inputs = check_inputs(root, spec, settings.cache, sweep.folder)
    attempts = len(sweep.folder.attempts())
    submission = sweep_submission(
        spec, sweep_id, settings, sets=sets, code=code.sha256, commit=code.commit, attempt=attempts + 1,
        checkpoint_seconds=checkpoint_seconds(root, spec.name, [sweep.run_of(trial) for trial in sweep.trials()]),
    )  # fmt: skip
    checks = [check_run(sweep.folder), *inputs.checks, *_space_checks(root, spec)]
    return Plan(root, submission, checks, sweep.store.address, spec=spec, run=sweep.folder)


def _space_checks(root: Store, spec: JobSpec) -> list[Check]:
    """That there are trials to make, and the weights of each model that they may choose."""
    from visionjobs.tuning.driver import other_models
    from visionjobs.tuning.search import check_space

    section = section_of(spec)
    warnings: list[Check] = []

    def space() -> str:
        warnings.extend(Check("search space", None, warning) for warning in check_space(spec))
        return f"{section.trials} trials, {len(section.space)} parameters"

    def weights() -> str:
        return ", ".join(dict.fromkeys(stored_weights(root, other) for other in other_models(spec)))

    checks = [look("search space", space)]
    checks += warnings
    if any(key.startswith("model.") for key in section.space):
        checks.append(look("weights to choose from", weights))
    return checks
