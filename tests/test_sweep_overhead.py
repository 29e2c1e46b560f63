"""What becomes of the seconds that a sweep and separate runs took; and that the benchmark runs at toy size."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.measure import Row
from benchmarks.sweep_overhead import Command, Trained, compare, figures

CONSTANT: Row = {"trials": 2, "epochs": 2, "images": 60, "size": 32, "batch": 8, "device": "cpu"}


def trained(claimed: float, began: float, *epochs: float, weight: float = 1.0, accuracy: float = 0.5) -> Trained:
    """A complete run."""
    return Trained(epochs, claimed, began, 2, {"accuracy": accuracy}, {"w": torch.tensor([weight])})


def stopped(claimed: float, began: float, *epochs: float) -> Trained:
    return Trained(epochs, claimed, began, 2, None, None)


SWEEP = [trained(107, 108, 2, 3), trained(114, 114, 1, 4)]
RUNS = [trained(210, 225, 2, 3), trained(310, 335, 1, 3)]
SWEPT = [Command(100.0, 20.0, "")]
RAN = [Command(200.0, 40.0, ""), Command(300.0, 49.0, "")]


def test_overhead_is_all_but_the_epochs() -> None:
    found = figures(SWEPT, SWEEP, RUNS)
    assert (found["seconds"], found["epochs_trained"], found["epoch_seconds"]) == (20, 4, 10)
    assert found["overhead_per_trial"] == 5
    assert (found["start_seconds"], found["overhead_after_start"]) == (8, 1), "one start, paid once"
    assert found["claim_to_step_seconds"] == 0.5
    assert (found["threads"], found["complete"], found["same_as_runs"]) == (2, 2, 2)


def test_of_separate_runs_every_command_has_its_start() -> None:
    found = figures(RAN, RUNS, RUNS)
    assert (found["seconds"], found["epoch_seconds"]) == (89, 9)
    assert (found["overhead_per_trial"], found["claim_to_step_seconds"]) == (40, 20)
    assert (found["start_seconds"], found["overhead_after_start"]) == (30, 10)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({}, 2),
        ({"weight": 1.0 + 2**-20}, 1),
        ({"accuracy": 0.25}, 1),
    ],
)
def test_same_is_the_same_to_the_bit(other: dict[str, Any], same: int) -> None:
    assert figures(SWEPT, SWEEP, [RUNS[0], trained(310, 335, 1, 3, **other)])["same_as_runs"] == same


def test_a_trial_that_was_stopped_is_not_complete() -> None:
    found = figures(SWEPT, [SWEEP[0], stopped(114, 114, 1)], RUNS)
    assert (found["complete"], found["same_as_runs"], found["epochs_trained"]) == (1, 1, 3)
    assert found["epoch_seconds"] == 6


def rows(sweep_seconds: float) -> list[Row]:
    asha = [Command(400.0, 14.0, "")]
    return [
        CONSTANT | {"side": "sweep"} | figures([Command(100.0, sweep_seconds, "")], SWEEP, RUNS),
        CONSTANT | {"side": "runs"} | figures(RAN, RUNS, RUNS),
        CONSTANT | {"side": "asha"} | figures(asha, [SWEEP[0], stopped(114, 114, 1)], RUNS),
    ]


def test_what_is_compared() -> None:
    overhead, allowed, stopping = (comparison.to_row() for comparison in compare(rows(20.0)))
    assert (overhead["ours_median"], overhead["other_median"], overhead["ratio_median"]) == (5, 40, 0.125)
    assert (allowed["ours_median"], allowed["other_median"], allowed["met"]) == (5, 5, "yes")
    assert (stopping["ours_median"], stopping["other_median"]) == (14, 20)
    assert "metrics and weights of 2 of 2 trials are the same" in str(overhead["note"])
    assert "counted against the epochs of the separate runs, which nothing goes on beside, 5.5 s" in str(
        allowed["note"]
    )
    assert "1 of 2 trials were stopped: 3 epochs were trained instead of 4" in str(stopping["note"])


def test_more_than_is_allowed_is_not_met() -> None:
    assert [comparison.to_row()["met"] for comparison in compare(rows(20.1))] == ["yes", "no", "yes"]
    assert [comparison.to_row()["met"] for comparison in compare(rows(30.0))] == ["no", "no", "yes"]


@pytest.mark.slow
@pytest.mark.ray
def test_runs_at_toy_size(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--only", "g", "--quick", "--to", str(tmp_path)])
    assert result.exception is None, result.output
    with (tmp_path / "sweep_overhead.csv").open() as file:
        found = {row["side"]: row for row in csv.DictReader(file)}
    assert list(found) == ["sweep", "runs", "asha"]
    for row in found.values():
        assert (row["trials"], row["epochs_trained"], row["threads"]) == ("2", "2", found["runs"]["threads"])
        assert 0 < float(row["epoch_seconds"]) < float(row["seconds"])
        assert 0 < float(row["start_seconds"]) < float(row["seconds"])
    assert found["sweep"]["complete"] == found["runs"]["complete"] == "2"
    if found["sweep"]["device"] == "cpu":
        assert found["sweep"]["same_as_runs"] == "2"
    with (tmp_path / "summary.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
