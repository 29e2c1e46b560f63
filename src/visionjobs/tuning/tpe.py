"""Optuna's tree-structured Parzen estimator, asked anew for every trial: it is told all that the trials so far reached.

Multivariate, since parameters of a training act together (a larger batch wants a larger learning rate): a candidate is
drawn and judged as a whole, as in BOHB (Falkner et al., ICML 2018). With the constant liar, trials that are still
running count as bad ones, so that those at the same time do not all try the same place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from visionjobs.spec_sweep import Domain, Sweep
from visionjobs.tuning.draw import readable

if TYPE_CHECKING:
    from visionjobs.tuning.search import Observed

ASKED = 20
"""Suggestions for one trial: some may be known already, or refused by the job."""


def startup(section: Sweep) -> int:
    """Trials with a value before which there is nothing to learn from: a third of all, at most Optuna's own 10."""
    return min(10, max(2, section.trials // 3))


def suggestions(section: Sweep, number: int, before: Sequence[Observed]) -> Iterator[dict[str, Any]]:
    """Parameters for trial `number`, the best ones first; none while too few trials have a value."""
    distributions = {key: _distribution(domain) for key, domain in section.space.items()}
    known = [told for trial in before if (told := _told(section, distributions, trial)) is not None]
    if sum(trial.state.is_finished() for trial in known) < startup(section):
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it tells of every study
    seed = int(np.random.SeedSequence((section.seed, number, 1)).generate_state(1)[0])
    sampler = TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=0)
    study = optuna.create_study(direction="maximize" if section.maximise else "minimize", sampler=sampler)
    study.add_trials(known)
    for _ in range(ASKED):  # one that was not taken stays in the study as a running one, and so is avoided
        asked = study.ask(distributions).params
        yield {key: _from_optuna(domain, asked[key]) for key, domain in section.space.items()}


def _told(section: Sweep, distributions: dict[str, BaseDistribution], trial: Observed) -> FrozenTrial | None:
    """An earlier trial in Optuna's words. None where it has nothing to say: it failed before its first value, or lies
    outside the space, as the job itself may."""
    if not all(domain.contains(trial.parameters[key]) for key, domain in section.space.items()):
        return None
    curve = {epoch: value for epoch, value in trial.curve if math.isfinite(value)}
    if trial.ended and not curve:
        return None
    ended = TrialState.COMPLETE if trial.complete else TrialState.PRUNED
    state = ended if trial.ended else TrialState.RUNNING
    return create_trial(
        state=state,
        value=curve[max(curve)] if state == TrialState.COMPLETE else None,
        params={key: _to_optuna(domain, trial.parameters[key]) for key, domain in section.space.items()},
        distributions=distributions,
        intermediate_values=curve,
    )


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.choice is not None:
        return CategoricalDistribution(range(len(domain.choice)))  # their places: Optuna takes no lists
    if domain.int is not None:
        first, last = domain.int
        return IntDistribution(first, last)
    low, high = domain.bounds
    return FloatDistribution(low, high, log=domain.loguniform is not None)


def _to_optuna(domain: Domain, value: Any) -> Any:
    return value if domain.choice is None else domain.choice.index(value)


def _from_optuna(domain: Domain, value: Any) -> Any:
    if domain.choice is not None:
        return domain.choice[value]
    return value if domain.int is not None else readable(value, domain)
