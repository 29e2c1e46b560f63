"""The trials of a running sweep, as its driver knows them: what Tune's thread, the finisher and the view share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from visionjobs.sweep_progress import COMPLETE, ENDING, TrialState, follow_trials
from visionjobs.sweeps import Sweep, Trial
from visionjobs.tuning.asha import EPOCH, NUMBER, VALUE
from visionjobs.tuning.search import Observed


class Board:
    """Thread-safe. What the folders tell at the start, and what is reported from then on."""

    def __init__(self, sweep: Sweep, trials: list[Trial]) -> None:
        self._sweep, self._spec, self._lock = sweep, sweep.spec(), threading.Lock()
        self._trials = {trial.number: trial for trial in trials}
        states = follow_trials(sweep, trials, self._spec)
        self._states = {state.number: state for state in states}
        self._seen = {state.number: observed(state) for state in states}

    def trials(self) -> list[Trial]:
        """All trials so far, by number."""
        with self._lock:
            return [self._trials[number] for number in sorted(self._trials)]

    def states(self) -> list[TrialState]:
        """The trials' states when they were last read, by number."""
        with self._lock:
            return [self._states[number] for number in sorted(self._states)]

    def add(self, trial: Trial) -> None:
        """A new trial."""
        with self._lock:
            self._trials[trial.number] = trial
            self._seen[trial.number] = Observed(trial.number, trial.parameters, (), ended=False, complete=False)

    def report(self, result: Mapping[str, Any]) -> None:
        """What a trial told after an epoch."""
        if result.get(VALUE) is None:
            return
        with self._lock:
            seen = self._seen[result[NUMBER]]
            curve = dict(seen.curve) | {result[EPOCH]: result[VALUE]}
            self._seen[seen.number] = replace(seen, curve=tuple(sorted(curve.items())))

    def end(self, number: int, *, complete: bool) -> None:
        """A trial does not run any more. complete: it was trained to the end."""
        with self._lock:
            self._seen[number] = replace(self._seen[number], ended=True, complete=complete)

    def observed(self) -> list[Observed]:
        """For the search, by number."""
        with self._lock:
            return [self._seen[number] for number in sorted(self._seen)]

    def read(self) -> list[TrialState]:
        """The states as the folders tell them now; those that have ended are not read again."""
        with self._lock:
            known = dict(self._states)
            asked = [trial for number, trial in self._trials.items() if number not in known or not known[number].ended]
        found = {state.number: state for state in follow_trials(self._sweep, asked, self._spec)}
        with self._lock:
            self._states |= found
            return [self._states[number] for number in sorted(self._states)]


def observed(state: TrialState) -> Observed:
    """A trial's state as the search sees it."""
    return Observed(
        state.number, state.parameters, state.curve,
        ended=state.ended or state.state == ENDING,
        complete=state.state in (COMPLETE, ENDING) and state.value is not None,
    )  # fmt: skip
