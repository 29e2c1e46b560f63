"""What the driver of a submitted sweep runs: the next attempt of the sweep (cli/attempt.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from visionjobs.cli.console import err
from visionjobs.cli.sweep import continued_sweep_spec
from visionjobs.cli.sweep_view import SweepView
from visionjobs.runs import Attempt
from visionjobs.settings import Settings
from visionjobs.storage import Store
from visionjobs.sweeps import Sweep


def next_attempt(
    settings: Settings, root: Store, sweep: Sweep, sets: Sequence[str], backend: str,
    started: Callable[[Attempt], None],
) -> None:  # fmt: skip
    """Run its next attempt to the end, unless it is complete. started: told of the attempt once it is claimed."""
    from visionjobs.tuning.driver import is_complete, run_sweep
    from visionjobs.tuning.place import PLACES

    spec = continued_sweep_spec(sweep.spec(), list(sets), sweep.id)
    if is_complete(sweep, spec):
        err.print(f"sweep {sweep.id} is complete: there is nothing to do")
        return
    with SweepView(err) as view:
        watcher = view.watcher()

        def begun(claimed: Sweep, attempt: Attempt, *more: Any) -> None:
            started(attempt)
            watcher.started(claimed, attempt, *more)

        run_sweep(settings, root, spec, sweep, replace(watcher, started=begun), PLACES[backend])
