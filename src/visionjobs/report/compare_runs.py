"""What is asked of runs that stand side by side: names short enough for a legend, settings that differ, throughput."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from visionjobs.report.compare_pairs import AnyPair
from visionjobs.report.compare_task import TaskComparison
from visionjobs.report.detection_metrics import metrics_at
from visionjobs.report.overfitting import loss_gap, score_gap
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
    def floors(self) -> tuple[str, ...]:
        """Confidence floors at which any run was evaluated, ascending; () for tasks that have none."""
        found = {floor for run in self.runs for floor in run.values.get("floors") or ()}
        return tuple(sorted(found, key=float))

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the task, without the optional ones that no run has."""
        known = metrics_at(self.floors) if self.kind.groups else self.task.metrics
        return tuple(
            metric
            for metric in known
            if not metric.optional or any(run.value(metric.key) is not None for run in self.runs)
        )

    @property
    def headline(self) -> list[Metric]:
        """Metrics of the first tiles, at each floor where there are floors."""
        keys = self.kind.headline
        if self.kind.groups:
            keys = tuple(f"floors.{floor}.{key}" for key in keys for floor in self.floors)
        known = {metric.key: metric for metric in self.metrics}
        return [known[key] for key in keys if key in known]

    @cached_property
    def common_floor(self) -> str | None:
        """The lowest floor at which all runs were evaluated, None without one."""
        return next((floor for floor in self.floors if all(floor in run.values["floors"] for run in self.runs)), None)

    def per_class(self) -> list[Mapping[str, Any]]:
        """Of each run: class -> its scores; at the lowest common floor where there are floors."""
        values = [run.values for run in self.runs]
        if self.kind.groups:
            values = [found["floors"][self.common_floor] if self.common_floor else {} for found in values]
        return [found.get("per_class") or {} for found in values]

    @property
    def trains(self) -> bool:
        """Whether any of the runs trains, and does not evaluate weights as they are."""
        return any(run.trains for run in self.runs)

    def gaps(self, run: RunSummary) -> dict[str, float | None]:
        """Between training and validation in the last epoch; {} where the task's history does not tell them."""
        gap, last = self.kind.gap, run.history[-1] if run.history else {}
        return {"loss": loss_gap(run, last), gap.score: score_gap(last, gap.score)} if gap else {}

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
