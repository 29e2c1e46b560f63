"""Each pair of runs on the same samples: who is right where the other is wrong, and whether that may be chance."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any, Protocol

import numpy as np

from visionjobs.errors import UserError
from visionjobs.metrics.bootstrap import RESAMPLES, paired_difference
from visionjobs.metrics.mcnemar import McNemar, holm, mcnemar
from visionjobs.predictions import KEY
from visionjobs.report.formatting import MINUS, NOT_AVAILABLE, count, decimal, signed
from visionjobs.report.page import Cell, Column, Section, Table, Text
from visionjobs.report.summary import RunSummary

LEVEL = 0.05
"""Of the family of all pairs' tests: the chance to call any of them different when none is."""

NO_BREAK = "\N{NO-BREAK SPACE}"

METHOD = (
    "For each pair, the samples are counted on which one run is right and the other wrong; those on which both are "
    "right or both wrong say nothing of a difference. McNemar's exact test (McNemar 1947, Psychometrika 12:153) asks "
    "how likely counts at least so uneven are if each of these samples were as likely to fall to either run: p is "
    "two-sided, from the binomial distribution. Holm's correction (Holm 1979, Scand. J. Statist. 6:65) raises the p "
    "values of all pairs so that the chance of calling any pair different when none is stays below 5 % over all of "
    "them together."
)

DIFFERENCE = (
    "Difference: accuracy of the first run less that of the second and, small, its 95 % percentile bootstrap interval "
    f"({RESAMPLES:,} resamples of the samples, the same for both runs; Efron and Tibshirani 1993, An Introduction to "
    "the Bootstrap, chapter 13). Where a difference is barely shown, or barely not, test and interval may disagree: "
    "the test is exact and conservative, the interval approximate and without Holm's correction. Neither test nor "
    "interval tells how another training of the same jobs, with other random draws, would have come out."
)


class AnyPair(Protocol):
    """Two runs of any task. first, second: places in the list of runs; tested: whether a test could be made; differs:
    what it says."""

    @property
    def first(self) -> int: ...

    @property
    def second(self) -> int: ...

    @property
    def tested(self) -> bool: ...

    @property
    def differs(self) -> bool: ...


@dataclass(frozen=True)
class Pair:
    """first, second: places in the list of runs. test, difference (accuracy of the first less that of the second),
    interval and p_holm are None where no test could be made; `reason` says why."""

    first: int
    second: int
    test: McNemar | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_holm: float | None = None
    reason: str = ""

    @property
    def tested(self) -> bool:
        """Whether a test could be made."""
        return self.test is not None

    @property
    def differs(self) -> bool:
        """Whether a difference is shown, at LEVEL over all pairs."""
        return self.p_holm is not None and self.p_holm <= LEVEL


def check_same_samples(runs: Sequence[RunSummary]) -> None:
    """Raise UserError where two runs' predictions are not of the same samples, in the same order."""
    kept = [(run, run.predictions) for run in runs if run.predictions is not None]
    for (one, first), (other, second) in pairwise(kept):
        if (first.split, first.classes, first.paths) != (second.split, second.classes, second.paths) or not (
            np.array_equal(first.labels, second.labels)
        ):
            raise UserError(
                f"run {one.run} and run {other.run} name the same dataset, but their predictions are not of the same "
                f"{len(first):,} and {len(second):,} samples, or have other labels: the predictions of one of them "
                "were changed; train or evaluate it again"
            )


def compare_pairs(runs: Sequence[RunSummary]) -> list[Pair]:
    """Every pair, in the order of the runs."""
    compared = [_compare(runs, first, second) for first, second in combinations(range(len(runs)), 2)]
    tested = [pair for pair in compared if pair.test is not None]
    adjusted = iter(holm([pair.test.p_value for pair in tested if pair.test is not None]))
    return [pair if pair.test is None else replace(pair, p_holm=next(adjusted)) for pair in compared]


def _compare(runs: Sequence[RunSummary], first: int, second: int) -> Pair:
    a, b = runs[first].predictions, runs[second].predictions
    lacking = [run.run for run in (runs[first], runs[second]) if run.predictions is None]
    if a is None or b is None:
        key = KEY.format(split=runs[first].metrics.get("split"))
        verb = "holds" if len(lacking) == 1 else "hold"
        return Pair(
            first, second, reason=f"{' and '.join(lacking)} {verb} no {key}, which older versions did not write"
        )
    found = paired_difference(a.correct, b.correct)
    if found is None:
        return Pair(first, second, reason="the split holds no samples")
    return Pair(first, second, mcnemar(a.correct, b.correct), found.difference, (found.low, found.high))


def p_text(p: float | None) -> str:
    """A p value with four decimals; what would round to 0 is "< 0.0001"."""
    return "< 0.0001" if p is not None and p < 1e-4 else decimal(p)


def sentence(pair: Pair, labels: Sequence[str]) -> str:
    """What the test says of the pair, in plain words."""
    a, b = labels[pair.first], labels[pair.second]
    if pair.test is None:
        return f"No test could be made: {pair.reason}."
    verdict = f"{'a difference' if pair.differs else 'no difference is shown'} at the 5{NO_BREAK}% level"
    return (
        f"{a} is right on {_samples(pair.test.only_a)} that {b} gets wrong, and {b} on {count(pair.test.only_b)} that "
        f"{a} gets wrong; {_p_is(pair.test.p_value)}, after Holm {_p_is(pair.p_holm)}: {verdict}."
    )


def _samples(number: int) -> str:
    return f"{count(number)} {'sample' if number == 1 else 'samples'}"


def _p_is(p: float | None) -> str:
    text = p_text(p)
    return f"p {text if text[0] == '<' else f'= {text}'}".replace(" ", NO_BREAK)


def pairs_section(pairs: Sequence[Pair], labels: Sequence[str]) -> Section:
    """A row and a sentence a pair, and how it was tested."""
    columns = ("Both right", "Only the first", "Only the second", "Neither", "Difference", "p", "p, Holm")
    table = Table(
        "Pairs",
        (Column("First and second", numeric=False), *map(Column, columns)),
        tuple(tuple(_cells(pair, labels)) for pair in pairs),
    )
    return Section(
        "pairs", "Pair by pair", (Text(summary(pairs, labels, "accuracy")), table, Text(METHOD), Text(DIFFERENCE))
    )


def summary(pairs: Sequence[AnyPair], labels: Sequence[str], score: str) -> str:
    """Which pairs were tested, and which of them differ in `score`."""
    tested = [pair for pair in pairs if pair.tested]
    different = [f"{labels[pair.first]} and {labels[pair.second]}" for pair in tested if pair.differs]
    if not tested:
        return "No pair could be tested."
    of = "the pair" if len(pairs) == 1 else f"{len(tested)} of {len(pairs)} pairs"
    if not different:
        return f"Tested: {of}. No difference in {score} is shown at the 5 % level."
    return f"Tested: {of}. A difference in {score} is shown at the 5 % level between {'; '.join(different)}."


def _cells(pair: Pair, labels: Sequence[str]) -> Iterator[Cell]:
    yield Cell(f"{breakable(labels[pair.first])} {MINUS} {breakable(labels[pair.second])}", (sentence(pair, labels),))
    test = pair.test
    for number in (test.both, test.only_a, test.only_b, test.neither) if test else ():
        yield Cell(count(number))
    if test is None:
        yield from [Cell(NOT_AVAILABLE)] * 4
    yield Cell(signed(pair.difference), interval_line(pair.interval, signed))
    yield Cell(p_text(test.p_value if test else None))
    yield Cell(p_text(pair.p_holm), ("different",) if pair.differs else ())


def interval_line(ends: tuple[float, float] | None, show: Callable[[float], str] = decimal) -> tuple[str, ...]:
    """An interval as one line, which a narrow column breaks in the middle; () where there is none."""
    return () if ends is None else (f"{show(ends[0])}{NO_BREAK}to {show(ends[1])}",)


def breakable(name: str) -> str:
    """The name with places, of no width, where a narrow column may break it: after "_", and "." before a letter."""
    return re.sub(r"_|\.(?=[a-z])", lambda mark: f"{mark[0]}\N{ZERO WIDTH SPACE}", name)


def pair_values(pair: Pair, runs: Sequence[RunSummary]) -> dict[str, Any]:
    """The pair as plain values, for compare.json."""
    test = pair.test
    return {
        "first": runs[pair.first].run,
        "second": runs[pair.second].run,
        "both_right": test.both if test else None,
        "only_first_right": test.only_a if test else None,
        "only_second_right": test.only_b if test else None,
        "neither_right": test.neither if test else None,
        "accuracy_difference": pair.difference,
        "interval": None if pair.interval is None else list(pair.interval),
        "p_value": test.p_value if test else None,
        "p_holm": pair.p_holm,
        "differs": pair.differs if test else None,
        "reason": pair.reason or None,
    }
