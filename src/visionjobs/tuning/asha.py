"""Asynchronous successive halving (Li et al., MLSys 2020, algorithm 2, the stopping variant) by epochs.

Rungs are at grace * reduction^k epochs, as long as a trial that goes on from there has as many epochs to the next one:
one that is stopped shortly before its end saves nothing, and might have been the best. A trial that reaches one goes on
if its value there is among the best 1 / reduction of those recorded so far.

Trial 0 is never stopped: the best one shall not be worse than the job as it is.

Tune's scheduler, told at its start of what earlier attempts of the sweep recorded: from histories, so by epochs, not by
iterations since a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from visionjobs.spec import JobSpec
from visionjobs.sweeps import Stopped, section_of

NUMBER, EPOCH, VALUE, ENDED = "number", "epoch", "value", "ended"
"""Keys of what a trial reports: its number, epochs done, the metric there (None: it has none), and, in its last report,
how it ended."""


ROUNDING = 1.0001
"""Tune counts the rungs by logarithms, which lose one where the last is just reached."""


@dataclass(frozen=True)
class _Named:
    """Stands for a trial of the sweep, in this attempt of it or an earlier one: all that a scheduler reads of one."""

    trial_id: str


CONTINUE = str(TrialScheduler.CONTINUE)

NOBODY: Any = None
"""Stands for Tune's controller, which this scheduler does not ask anything."""


class Asha(ASHAScheduler):  # type: ignore[misc]  # Ray Tune has no types
    """on_stop: told of a decision, with the trial's number, before Tune carries it out."""

    def __init__(self, spec: JobSpec, on_stop: Callable[[int, Stopped], None]) -> None:
        section = section_of(spec)
        super().__init__(
            time_attr=EPOCH,
            metric=VALUE,
            mode="max" if section.maximise else "min",
            max_t=max(section.grace, spec.train.epochs / section.reduction) * ROUNDING,
            grace_period=section.grace,
            reduction_factor=section.reduction,
            stop_last_trials=False,
        )
        self._epochs, self._on_stop, self._sign = spec.train.epochs, on_stop, 1 if section.maximise else -1

    def remember(self, number: int, curve: Sequence[tuple[int, float]]) -> None:
        """Record what a trial reached before: (epoch from 1, value). These epochs are not judged again."""
        for epoch, value in curve:
            if epoch < self._epochs:
                super().on_trial_result(NOBODY, self._named(number), {EPOCH: epoch, VALUE: value})

    def judge(self, number: int, curve: Sequence[tuple[int, float]]) -> None:
        """As if the trial reported these epochs now, to the first that it is stopped after."""
        for epoch, value in curve:
            if self.on_trial_result(NOBODY, NOBODY, {NUMBER: number, EPOCH: epoch, VALUE: value}) != CONTINUE:
                return

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Trials go by their numbers, which a restart does not change."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Tune's question after a report."""
        if result[EPOCH] >= self._epochs or ENDED in result:
            return CONTINUE
        if result[NUMBER] == 0:  # the job as it is: others are measured by it, so it is trained to the end
            if result[VALUE] is not None:
                self.remember(0, [(result[EPOCH], result[VALUE])])
            return CONTINUE
        named = self._named(result[NUMBER])
        cutoff = self._cutoff(named, result[EPOCH])
        if result[VALUE] is None:  # no number, as of a loss that has become infinite: worse than any
            if cutoff is None:
                return CONTINUE
            self._on_stop(result[NUMBER], Stopped(result[EPOCH], None, cutoff))
            return str(TrialScheduler.STOP)
        action = str(super().on_trial_result(tune_controller, named, dict(result)))
        if action == TrialScheduler.STOP:
            self._on_stop(result[NUMBER], Stopped(result[EPOCH], result[VALUE], cutoff))
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """A trial's last report is no further epoch."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """What it reached stays."""

    def _named(self, number: int) -> Any:
        named: Any = _Named(f"{number}")
        if named.trial_id not in self._trial_info:
            super().on_trial_add(NOBODY, named)
        return named

    def _cutoff(self, named: Any, epoch: int) -> float | None:
        """What the next rung demands, in the metric's own sign; None where nothing is recorded there."""
        bracket = self._trial_info[named.trial_id]
        for milestone, recorded in bracket._rungs:
            if epoch >= milestone and named.trial_id not in recorded:
                cutoff = bracket.cutoff(recorded)
                return None if cutoff is None else float(cutoff) * self._sign
        return None
