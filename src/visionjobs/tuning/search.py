"""Which parameters the next trial has.

`propose` is a pure function of the job, the number of the trial and the trials before it: nothing of a search lives in
memory, so a sweep that was killed proposes what it would have proposed.

random: each parameter drawn by itself, from a generator seeded with (sweep.seed, number). tpe: Optuna's
tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), from what the trials so far reached (tpe.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionjobs.errors import UserError
from visionjobs.spec import JobSpec
from visionjobs.spec_sweep import Sweep
from visionjobs.sweeps import own_parameters, section_of, trial_spec
from visionjobs.tuning.draw import draw, draw_all, grid

DRAWS = 300
"""Random draws for one trial: some may be known already, or refused by the job."""

COMPANIONS = 50
"""Random draws of the other parameters, in which a value has its chances to be taken by the job."""

SAMPLES = 20
"""Values that stand for a range, besides its ends."""


@dataclass(frozen=True)
class Observed:
    """An earlier trial, as far as it is. curve: (epoch from 1, value); ended: not running any more; complete: trained
    to the end."""

    number: int
    parameters: dict[str, Any]
    curve: tuple[tuple[int, float], ...]
    ended: bool
    complete: bool


def propose(spec: JobSpec, number: int, earlier: Sequence[Observed]) -> dict[str, Any] | None:
    """The parameters of trial `number`: key -> value; of trial 0 the job's own.

    Never those of an earlier trial, nor any that the job refuses. None where no others are to be found.
    """
    section = section_of(spec)
    if number == 0:
        return own_parameters(spec, list(section.space))
    before = sorted((trial for trial in earlier if trial.number < number), key=lambda trial: trial.number)
    known = [trial.parameters for trial in before]
    fresh = (parameters for parameters in _candidates(section, number, before) if parameters not in known)
    return next((parameters for parameters in fresh if _refusal(spec, parameters) is None), None)


def check_space(spec: JobSpec) -> list[str]:
    """Try out the search space before anything is trained: warnings, of values with which no trial can be made.

    Raises UserError where a searched key has no other values than such, or no combination can be a trial.
    """
    section = section_of(spec)
    generator = np.random.default_rng(section.seed)
    warnings = []
    for key, domain in section.space.items():
        values = domain.corners()
        if domain.choice is None:
            values += [draw(domain, generator) for _ in range(SAMPLES)]
        refused = [(value, why) for value in values if (why := _never(spec, key, value, generator)) is not None]
        if len(refused) == len(values):
            raise UserError(f"sweep.space.{key}: the job takes none of these values: {refused[0][1]}")
        if domain.choice is not None:
            warnings += [f"sweep.space.{key}: {value!r} is never tried: {why}" for value, why in refused]
    holds = _holds(spec)
    if holds is not None and holds < section.trials:
        warnings.append(f"sweep.space holds {holds} different trials, fewer than sweep.trials = {section.trials}")
    if propose(spec, 1, []) is None:
        why = _refusal(spec, draw_all(section.space, generator))
        raise UserError(f"sweep.space: the job takes no combination of these values: {why}")
    return warnings


def _holds(spec: JobSpec) -> int | None:
    """How many different trials there are, the job's own values included, counted up to those that the sweep is to
    have; None where they cannot be counted."""
    section = section_of(spec)
    everything, found = grid(section.space), [own_parameters(spec, list(section.space))]
    for parameters in everything:
        if len(found) >= section.trials:
            break
        if parameters not in found and _refusal(spec, parameters) is None:
            found.append(parameters)
    return len(found) if everything else None


def _candidates(section: Sweep, number: int, before: Sequence[Observed]) -> Iterator[dict[str, Any]]:
    """Parameters that trial `number` may have, in the order in which they are wanted."""
    if section.search == "tpe":
        from visionjobs.tuning.tpe import suggestions  # Optuna is slow to import

        yield from suggestions(section, number, before)
    generator = np.random.default_rng((section.seed, number))
    for _ in range(DRAWS):
        yield draw_all(section.space, generator)
    everything = grid(section.space)  # few may be left: chance would hardly find them
    for place in generator.permutation(len(everything)):
        yield everything[place]


def _never(spec: JobSpec, key: str, value: Any, generator: np.random.Generator) -> str | None:
    """Why the job does not take the value, neither alone nor with random values of the other keys; None: it does."""
    why = _refusal(spec, {key: value})
    space = section_of(spec).space
    tries = COMPANIONS if why is not None and len(space) > 1 else 0
    for _ in range(tries):
        if _refusal(spec, draw_all(space, generator) | {key: value}) is None:
            return None
    return why


def _refusal(spec: JobSpec, parameters: Mapping[str, Any]) -> str | None:
    """Why the job does not take these parameters; None where it does."""
    try:
        trial_spec(spec, parameters)
    except UserError as error:
        return str(error)
    return None
