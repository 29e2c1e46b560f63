"""What the driver of a submitted sweep runs: the next attempt of the sweep (cli/attempt.py)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from visionjobs.cli.console import err
from visionjobs.cli.sweep import continued_sweep_spec
from visionjobs.cli.sweep_view import SweepView
from visionjobs.errors import ObjectExistsError, UserError
from visionjobs.jobfile import parse_job
from visionjobs.runs import Attempt
from visionjobs.settings import Settings
from visionjobs.storage import Store
from visionjobs.sweeps import Sweep, create_sweep, open_sweep, section_of


def next_attempt(
    settings: Settings, root: Store, sweep: Sweep, sets: Sequence[str], backend: str,
    started: Callable[[Attempt], None], spec_variable: str,
) -> None:  # fmt: skip
    """Make the sweep if it is not there, and run its next attempt to the end, unless it is complete.

    started: told of the attempt once it is claimed; spec_variable: names the variable with the job as YAML.
    """
    from visionjobs.tuning.driver import run_sweep
    from visionjobs.tuning.place import PLACES

    if not sweep.store.exists("spec.yaml"):
        _make(settings, root, sweep, spec_variable)
    spec = continued_sweep_spec(open_sweep(root, sweep.id).spec(), list(sets), sweep.id)
    record = sweep.folder.record()
    if record.get("state") == "complete" and section_of(spec).trials <= record.get("trials", 0):
        err.print(f"sweep {sweep.id} is complete: there is nothing to do")
        return
    with SweepView(err) as view:
        watcher = view.watcher()

        def begun(claimed: Sweep, attempt: Attempt, *more: Any) -> None:
            started(attempt)
            watcher.started(claimed, attempt, *more)

        run_sweep(settings, root, spec, sweep, replace(watcher, started=begun), PLACES[backend])


def _make(settings: Settings, root: Store, sweep: Sweep, variable: str) -> None:
    """The sweep, of the manifest's own job."""
    from visionjobs.data.catalog import find_dataset
    from visionjobs.tuning.driver import pin_sweep

    text = os.environ.get(variable)
    if not text:
        raise UserError(f"there is no sweep {sweep.id} in {root.address}, and {variable} holds no job to make it of")
    spec = pin_sweep(root, parse_job(text, variable, "job"), settings.cache)
    manifest = find_dataset(root, spec.data.name, spec.data.version).manifest
    try:
        create_sweep(root, spec, manifest.model_dump_json(indent=1), sweep.id)
    except ObjectExistsError:
        err.print(f"sweep {sweep.id} was made by another pod just now")
