"""What is asked of runs that stand side by side: names short enough for a legend, settings that differ, throughput."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from visionjobs.report.compare_pairs import AnyPair
from visionjobs.report.compare_task import TaskComparison
from visionjobs.report.summary import RunSummary, as_number
from visionjobs.report.task import Metric, TaskReport
from visionjobs.spec import flatten

TOLD_ELSEWHERE = ("name", "published", "data.version")
"""Settings that have a row of their own or are the same in all."""


@dataclass(frozen=True)
class Compared:
    """Runs that can be compared, in the order in which they were given."""

    runs: tuple[RunSummary, ...]
    task: TaskReport
    kind: TaskComparison
    pairs: tuple[AnyPair, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A short name for each run."""
        return labels(self.runs)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the task, without the optional ones that no run has."""
        return tuple(
            metric
            for metric in self.task.metrics
            if not metric.optional or any(run.value(metric.key) is not None for run in self.runs)
        )

    @property
    def losses_differ(self) -> bool:
        """Whether the runs' losses are over different pixels."""
        return len({tuple(sorted(run.setting("train.ignore") or ())) for run in self.runs}) > 1

    def differing_settings(self) -> dict[str, tuple[Any, ...]]:
        """Key -> each run's value, for every setting that is not the same in all; None where a run has none."""
        flat = [flatten(dict(run.spec)) for run in self.runs]
        keys = sorted({key for settings in flat for key in settings if not _told_elsewhere(key)})
        values = {key: tuple(settings.get(key) for settings in flat) for key in keys}
        return {key: found for key, found in values.items() if any(value != found[0] for value in found)}

    @staticmethod
    def epochs(run: RunSummary) -> int | None:
        """Epochs that the run was trained for."""
        epochs = run.setting("train.epochs")
        return epochs if isinstance(epochs, int) else None

    @staticmethod
    def images_per_second(run: RunSummary) -> float | None:
        """Over all epochs' training, None where none was measured."""
        measured = [
            (rate, seconds)
            for row in run.history
            if (rate := as_number(row.get("images_per_second"))) is not None
            and (seconds := as_number(row.get("seconds")))
        ]
        total = sum(seconds for _, seconds in measured)
        return sum(rate * seconds for rate, seconds in measured) / total if total else None


def labels(runs: Sequence[RunSummary]) -> tuple[str, ...]:
    """The job's name where it tells the runs apart, else with the end of the run's id, else the run's id."""
    times = Counter(run.job for run in runs)
    names = [run.job if times[run.job] == 1 else f"{run.job} {run.run.rpartition('-')[2]}" for run in runs]
    return tuple(names) if len(set(names)) == len(names) else tuple(run.run for run in runs)


def dataset_of(run: RunSummary) -> tuple[str, str]:
    """Name and version of the run's dataset, as its manifest has them; as its spec does where there is no manifest."""
    name, version = (run.dataset.get(key) or run.setting(f"data.{key}") for key in ("name", "version"))
    return str(name), str(version)


def evaluated_split(run: RunSummary) -> str:
    """The split that the run's metrics are of."""
    return str(run.metrics.get("split"))


def _told_elsewhere(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in TOLD_ELSEWHERE)
