"""Tune's way to ask for the next trial: first those that an earlier attempt of the sweep began, then new ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from visionjobs.cluster.sizes import Trials
from visionjobs.errors import ObjectExistsError
from visionjobs.patience import patiently
from visionjobs.runs import STOP, Attempt
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.sweeps import Sweep, Trial, section_of, trial_spec
from visionjobs.training.driver import pin_inputs
from visionjobs.tuning.board import Board
from visionjobs.tuning.search import propose
from visionjobs.tuning.trial import TrialWork


@dataclass(frozen=True)
class Trialling:
    """What all trials of an attempt have in common. spec: the sweep's, dataset: the manifest of its dataset (JSON)."""

    sweep: Sweep
    spec: JobSpec
    dataset: str
    settings: Settings
    trials: Trials

    def work(self, trial: Trial) -> TrialWork:
        """What the trial's process is told; the trial's run is made if it is not there."""
        run = self.sweep.run_of(trial)
        run.store.delete([STOP])  # of an attempt before: whoever continues the sweep wants the trial to go on
        if not run.store.exists("spec.yaml"):
            pinned = pin_inputs(self.sweep.root, trial_spec(self.spec, trial.parameters), self.settings.cache)
            run = self.sweep.make_run(trial, pinned, self.dataset)
        now = {"resources": self.spec.resources, "limits": self.spec.limits, "wandb": self.spec.wandb}
        return TrialWork(
            number=trial.number,
            run=trial.run,
            metric=section_of(self.spec).metric,
            settings=self.settings,
            spec=run.spec().model_copy(update=now).model_dump(mode="json"),
            share=self.trials.share,
            on_device=self.trials.on_device,
            before=len(run.attempts()),
        )


class Suggest(Searcher):  # type: ignore[misc]  # Ray Tune has no types
    """holder: the sweep's own attempt; unfinished: trials to be continued; exhausted: called where the space has no
    more to give."""

    def __init__(
        self, common: Trialling, holder: Attempt, board: Board, unfinished: list[Trial],
        exhausted: Callable[[int], None],
    ) -> None:  # fmt: skip
        section = section_of(common.spec)
        super().__init__(metric="value", mode="max" if section.maximise else "min")
        self._common, self._holder, self._board = common, holder, board
        self._unfinished, self._exhausted = unfinished, exhausted
        self._wanted = section.trials
        self.closed = False  # the sweep is to end: no more trials

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """A trial's config, or that there are no more."""
        trial = None if self.closed else self._next()
        if trial is None:
            return str(Searcher.FINISHED)
        return {"number": trial.number, "work": patiently(lambda: self._common.work(trial))}

    def _next(self) -> Trial | None:
        if self._unfinished:
            return self._unfinished.pop(0)
        number = len(self._board.trials())
        if number >= self._wanted:
            return None
        parameters = propose(self._common.spec, number, self._board.observed())
        if parameters is None:
            self._exhausted(number)
            return None
        trial = self._noted(number, parameters)
        self._board.add(trial)
        return trial

    def _noted(self, number: int, parameters: dict[str, Any]) -> Trial:
        """The new trial. Where it is there already, its storing was not answered, or a driver before this one made it
        that had not yet noticed that it was replaced: it is taken as it is. Raises SupersededError."""
        sweep = self._common.sweep
        patiently(self._holder.check_not_superseded)
        try:
            return patiently(lambda: sweep.add_trial(number, parameters))
        except ObjectExistsError:
            patiently(self._holder.check_not_superseded)
            return next(trial for trial in patiently(sweep.trials) if trial.number == number)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The board knows."""

    def save(self, checkpoint_path: str) -> None:
        """There is nothing to save: the trials are in the sweep's folder."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Never called: a sweep is continued from its folder."""
