"""Runs that are right and wrong on samples of one's choice, and what their comparison says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from page_text import PageText

from visionjobs.metrics.classification import ClassificationResult, new_counts, update
from visionjobs.metrics.classification_samples import sample_metrics
from visionjobs.predictions import Predictions
from visionjobs.report.compare import build_comparison
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]
CREATED = "2026-05-05T08:00:00+00:00"


def run_of(make_run: MakeRun, job: str, wrong: Sequence[int], n: int = 12, **parts: Any) -> RunSummary:
    """A run that is wrong on these of n samples of two classes."""
    labels = np.arange(n) % 2
    sure = np.where(np.isin(np.arange(n), wrong), 1 - labels, labels)
    logits = (2 * np.eye(2)[sure]).astype(np.float32)
    predictions = Predictions("val", ("cat", "dog"), tuple(f"{i}.png" for i in range(n)), labels, logits)
    counts = new_counts(2, "cpu")
    update(counts, torch.from_numpy(logits), torch.from_numpy(labels))
    values = ClassificationResult.from_counts(counts, predictions.classes).to_dict() | sample_metrics(predictions)
    run_id = f"{job.replace('_', '-')}-20260504-101112-ab12"
    made = make_run(epochs=3)
    metrics = {"schema": 1, "run": run_id, "job": job, "task": "classification", "split": "val", "metrics": values}
    return replace(made, **({"run": run_id, "job": job, "metrics": metrics, "predictions": predictions} | parts))


def three_runs(make_run: MakeRun) -> list[RunSummary]:
    """all: right on all 12; few: wrong on the first 8; most: wrong on the last."""
    return [run_of(make_run, "all", []), run_of(make_run, "few", range(8)), run_of(make_run, "most", [11])]


def page_of(runs: Sequence[RunSummary]) -> PageText:
    return PageText(build_comparison(runs, CREATED)["compare.html"].decode())


def numbers_of(runs: Sequence[RunSummary]) -> dict[str, Any]:
    return json.loads(build_comparison(runs, CREATED)["compare.json"], parse_constant=pytest.fail)


def with_spec(run: RunSummary, section: str, **values: Any) -> RunSummary:
    return replace(run, spec=dict(run.spec) | {section: run.spec[section] | values})
