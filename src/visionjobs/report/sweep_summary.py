"""SweepSummary: everything a sweep's report is made of, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from visionjobs.report.build import TASKS
from visionjobs.report.sweep_importance import Importance, importance
from visionjobs.report.sweep_trials import held_gpus
from visionjobs.runs import Claim
from visionjobs.spec import JobSpec
from visionjobs.spec_sweep import Sweep
from visionjobs.sweep_progress import SweepProgress, TrialState
from visionjobs.sweeps import section_of

DEFINED_AS = {("classification", "val_loss"): "nll"}
"""(task, column) -> the metric of the run's report that it is, where that is not the column's name without val_."""

OTHERWISE_DEFINED = {
    "val_map": "Ultralytics' own mean average precision: the mean over the classes, and over the IoU .50, .55, ..., "
    ".95 from which a detection is right. COCO's AP, which a trial's own report shows, is computed otherwise.",
    "val_map50": "Ultralytics' own mean average precision: the mean over the classes; a detection is right from an "
    "IoU of .50 on. COCO's AP50, which a trial's own report shows, is computed otherwise.",
}
"""Column -> its definition, where no metric of the run's report is it."""


@dataclass(frozen=True)
class SweepSummary:
    """progress: its trials; spec: the job with its sweep section, as resolved. record, claims: of the sweep's folder;
    dataset: the manifest of the dataset (dataset.json), {} without. job_file: of the best trial's configuration, as
    text, "" where no trial is complete; job_path: what visionjobs run takes, a path, or the name to save it by where it
    lies in a bucket. continued_by: the command that continues the sweep. trials_at: where the page's links find the
    trials' runs, by default from the sweep's own report folder; None: the page has no such links."""

    progress: SweepProgress
    spec: JobSpec
    record: Mapping[str, Any] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    dataset: Mapping[str, Any] = field(default_factory=dict)
    job_file: str = ""
    job_path: str = ""
    continued_by: str = ""
    trials_at: str | None = "../runs"

    @property
    def section(self) -> Sweep:
        """The job's sweep section."""
        return section_of(self.spec)

    @property
    def trials(self) -> tuple[TrialState, ...]:
        """By number."""
        return self.progress.trials

    @property
    def best(self) -> int | None:
        """The number of the best trial."""
        return None if self.progress.best is None else self.progress.best.number

    @property
    def metric(self) -> str:
        """Its title: "Validation accuracy"."""
        return TASKS[self.progress.task].columns[self.progress.metric]

    @property
    def definition(self) -> str:
        """Of the metric, in a sentence or two."""
        task, column = self.progress.task, self.progress.metric
        key = DEFINED_AS.get((task, column), column.removeprefix("val_"))
        defined = {metric.key: metric.definition for metric in TASKS[task].metrics}
        return OTHERWISE_DEFINED.get(column) or defined[key]

    @property
    def has_test_split(self) -> bool:
        """Whether the dataset has one; finished runs are measured on it then."""
        return "test" in (self.dataset.get("counts") or {})

    @cached_property
    def gpus(self) -> bool:
        """Whether trials held GPUs: what they took is told in GPU-hours then."""
        return held_gpus(self.progress)

    @cached_property
    def importance(self) -> Importance:
        """Of the parameters."""
        return importance(self.progress, self.section)
