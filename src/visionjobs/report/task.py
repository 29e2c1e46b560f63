"""TaskReport: all that a task adds to the report of its runs. Another task is another one of these (build.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from visionjobs.report.page import Section, Tile
from visionjobs.report.summary import RunSummary


@dataclass(frozen=True)
class Metric:
    """A metric's key in metrics.json, its name and its definition in a sentence or two.

    optional: it exists for some datasets only, and is left out where there is neither a value nor a published one.
    digits: decimals of a value.
    """

    key: str
    title: str
    definition: str
    higher_is_better: bool = True
    optional: bool = False
    digits: int = 4


@dataclass(frozen=True)
class CurveFigure:
    """A figure of history columns by epoch. `lines`: legend -> column. `limits`: of the y axis, None for any."""

    name: str
    caption: str
    ylabel: str
    lines: Mapping[str, str]
    limits: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class TaskReport:
    """score, score_name: the history column by which the best epoch is chosen (higher is better), and its name.
    unit: what is evaluated, in the plural; samples: how many of them were. columns: history column -> heading;
    columns_explained: what they mean, in sentences. results: the section that sets ours beside the published, where it
    is another one than that of results.py."""

    unit: str
    metrics: tuple[Metric, ...]
    score: str
    score_name: str
    curves: tuple[CurveFigure, ...]
    columns: Mapping[str, str]
    columns_explained: str
    samples: Callable[[RunSummary], int]
    tiles: Callable[[RunSummary], tuple[Tile, ...]]
    remarks: Callable[[RunSummary], Iterable[str]]
    sections: Callable[[RunSummary], tuple[Section, ...]]
    results: Callable[[RunSummary], Section] | None = None
