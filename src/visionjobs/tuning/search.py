"""Which parameters the next trial has.

`propose` is a pure function of the job, the number of the trial and the trials before it: nothing of a search lives in
memory, so a sweep that was killed proposes what it would have proposed.

random: each parameter drawn by itself, from a generator seeded with (sweep.seed, number). tpe: Optuna's
tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), from what the trials so far reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visionjobs.spec import JobSpec


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
    raise NotImplementedError
