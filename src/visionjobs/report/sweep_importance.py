"""How much each searched parameter matters: functional ANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014), by Optuna.

A random forest is fitted to the trials' values; a parameter's importance is the share of the forest's variance over the
search space that its main effect explains. What is left is due to parameters together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visionjobs.report.sweep_trials import curve_of, value_text
from visionjobs.spec_sweep import Domain, Sweep
from visionjobs.sweep_progress import FAILED, SweepProgress, TrialState

FEWEST_TRIALS, FEWEST_PARAMETERS = 8, 2
SEED = 0


@dataclass(frozen=True)
class Importance:
    """shares: parameter -> share of the variance, 0 to 1, the largest first; None: why there are none, in `why`.

    epoch: the one at which the trials were compared, None where they share none; epochs: of a whole training; trials:
    how many were compared, outside: how many others were left out, as they lie outside the search space.
    """

    shares: dict[str, float] | None
    why: str
    epoch: int | None
    epochs: int
    trials: int
    outside: int


def importance(progress: SweepProgress, sweep: Sweep) -> Importance:
    """Of the values at the latest epoch that every trial with a curve reached, so that trials that were stopped early
    count too and all values are comparable. Failed ones do not count: they would hold back the epoch."""
    curves = [(trial, dict(curve_of(trial))) for trial in progress.trials if trial.state != FAILED]
    curves = [(trial, curve) for trial, curve in curves if curve]
    inside = [(trial, curve) for trial, curve in curves if _inside(trial, sweep.space)]
    epoch = max(set.intersection(*(set(curve) for _, curve in inside)), default=None) if inside else None
    values = [curve[epoch] for _, curve in inside] if epoch is not None else []
    trials = [trial for trial, _ in inside] if epoch is not None else []
    searched = {key: domain for key, domain in sweep.space.items() if _varies(key, trials)}
    why, shares = _why_not(epoch, values, searched), None
    if not why:
        shares = _fanova([trial.parameters for trial in trials], values, searched)
    epochs = max((trial.epochs for trial in progress.trials), default=0)
    return Importance(shares, why, epoch, epochs, len(trials), len(curves) - len(inside))


def _inside(trial: TrialState, space: Mapping[str, Domain]) -> bool:
    """The job's own values, trial 0's, may lie outside."""
    return all(key in trial.parameters and domain.contains(trial.parameters[key]) for key, domain in space.items())


def _varies(key: str, trials: Sequence[TrialState]) -> bool:
    return len({value_text(trial.parameters[key]) for trial in trials}) > 1


def _why_not(epoch: int | None, values: Sequence[float], searched: Mapping[str, Domain]) -> str:
    if epoch is None:
        return "no epoch was reached by all trials"
    if len(values) < FEWEST_TRIALS:
        return f"{len(values)} trials within the search space have values; it takes {FEWEST_TRIALS} or more"
    if len(searched) < FEWEST_PARAMETERS:
        return f"{len(searched)} of the parameters took more than one value; it takes {FEWEST_PARAMETERS} or more"
    if min(values) == max(values):
        return f"all trials have the same value after epoch {epoch}"
    return ""


def _fanova(
    parameters: Sequence[Mapping[str, Any]], values: Sequence[float], space: Mapping[str, Domain]
) -> dict[str, float]:
    import optuna  # slow to import

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it tells of every study
    distributions = {key: _distribution(domain) for key, domain in space.items()}
    study = optuna.create_study()
    for given, value in zip(parameters, values, strict=True):
        placed = {key: _placed(domain, given[key]) for key, domain in space.items()}
        study.add_trial(optuna.trial.create_trial(params=placed, distributions=distributions, value=value))
    found = optuna.importance.FanovaImportanceEvaluator(seed=SEED).evaluate(study)  # not normalised: shares of all
    return {key: float(found[key]) for key in sorted(found, key=lambda key: -found[key])}


def _distribution(domain: Domain) -> Any:
    """The variance is that over the space as it is drawn from. Optuna's own logarithmic distribution would have it
    over the values: of 1e-5 to 1e-1 nine tenths would be those from 1e-2 on."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if domain.choice is not None:
        return CategoricalDistribution(tuple(dict.fromkeys(map(value_text, domain.choice))))
    if domain.int is not None:
        return IntDistribution(domain.int[0], domain.int[1])
    low, high = (_placed(domain, bound) for bound in domain.bounds)
    return FloatDistribution(low, high)


def _placed(domain: Domain, value: Any) -> Any:
    if domain.choice is not None:
        return value_text(value)
    if domain.kind == "loguniform":
        return math.log(value)
    return int(value) if domain.kind == "int" else float(value)
