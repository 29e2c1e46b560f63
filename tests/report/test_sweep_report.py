"""The report of a sweep, and its results.json."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from made_sweeps import SWEEP, claims, job, many, summary, trial, waiting
from page_text import PageText

from visionjobs.report.sweep import build_sweep_report
from visionjobs.report.sweep_results import sweep_results
from visionjobs.report.sweep_summary import SweepSummary
from visionjobs.spec_sweep import METRICS
from visionjobs.sweep_progress import FAILED, RUNNING, STOPPED, TrialState

OWN = {"train.lr": 1e-3, "train.batch": 32, "train.label_smoothing": 0.0, "train.schedule": "constant"}


def page(sweep: SweepSummary) -> PageText:
    return PageText(build_sweep_report(sweep)["report.html"].decode())


def rows(sweep: SweepSummary) -> list[dict[str, str]]:
    """The leaderboard: heading -> text."""
    head, *found = page(sweep).tables["Leaderboard"]
    return [dict(zip(head, row, strict=True)) for row in found if len(row) == len(head)]


def some() -> list[TrialState]:
    """Of every kind, in an order that is not that of the leaderboard."""
    return [
        trial(0, OWN, [0.3, 0.5], epochs=2),
        trial(1, {**OWN, "train.lr": 1e-1}, [0.2], STOPPED, epochs=2, reason="after epoch 1: 0.2 did not reach 0.25"),
        trial(2, {**OWN, "train.lr": 2e-3}, [0.4, 0.7], epochs=2),
        trial(3, {**OWN, "train.lr": 9e-2}, [], FAILED, epochs=2, reason="the loss is not finite <nan>"),
        trial(4, {**OWN, "train.lr": 5e-2}, [0.24], STOPPED, epochs=2),
        trial(5, {**OWN, "train.lr": 3e-3}, [0.3, 0.7], epochs=2),
        trial(6, {**OWN, "train.lr": 4e-3}, [0.9], RUNNING, epochs=2),
    ]


def test_the_leaderboard_is_in_order() -> None:
    found = rows(summary(some()))
    assert [row["Trial"] for row in found] == ["2, best", "5", "0, the job's own", "4", "1", "6", "3"]
    assert [row["Rank"] for row in found] == ["1", "2", "3", "n/a", "n/a", "n/a", "n/a"]
    assert [row["train.lr"] for row in found][:3] == ["0.002", "0.003", "0.001"]
    assert [row["Epochs"] for row in found][-3:] == ["1 of 2", "1 of 2", "0 of 2"]
    assert (found[-1]["Validation accuracy"], found[-1]["Time"]) == ("n/a", "n/a")
    assert "GPU-hours" not in found[0]


def test_of_a_loss_the_lowest_is_best() -> None:
    found = rows(summary(some(), job("val_loss")))
    assert [row["Trial"] for row in found][:3] == ["0, best, the job's own", "2", "5"]
    assert [row["Trial"] for row in found][3:5] == ["1", "4"]
    shown = page(summary(some(), job("val_loss")))
    assert shown.tiles["Best validation loss"] == "0.5000"
    assert "lower is better" in shown.text
    assert "the search found no better ones" in shown.text


def test_complete_trials_lead_to_their_reports() -> None:
    links = {link for link in page(summary(some())).links if not link.startswith("#")}
    assert links == {f"../runs/{SWEEP}-t{number:03}/report/report.html" for number in (0, 2, 5)}


def test_a_job_file_in_a_bucket_is_to_be_saved_first() -> None:
    shown = page(summary(some(), job_file="name: a job\n", job_path="convnet_best.yaml"))
    assert "as a job of its own, save the job file below as convnet_best.yaml, then:" in shown.text
    assert "visionjobs run convnet_best.yaml" in shown.text


def test_the_best_one_beside_the_jobs_own() -> None:
    shown = page(summary(some(), job_file="name: <job> & more\n", job_path="./my runs/convnet_best.yaml"))
    assert (shown.tiles["Best validation accuracy"], shown.tiles["Over trial 0"]) == ("0.7000", "+0.2000")
    assert shown.row("train.lr", "Parameters that differ") == ["train.lr", "0.001", "0.002"]
    assert len(shown.tables["Parameters that differ"]) == 2
    assert "visionjobs run './my runs/convnet_best.yaml'" in shown.text
    assert "name: <job> & more" in shown.text
    assert "Share of the samples whose most probable class is the true one." in shown.text


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "val", "test")])
def test_says_that_the_best_of_many_is_an_optimistic_estimate(splits: tuple[str, ...]) -> None:
    text = page(summary(some(), dataset={"counts": {split: {} for split in splits}})).text
    assert "The best of 7 trials was chosen by the validation split" in text
    assert ("test split was not used to choose" in text) == ("test" in splits)
    assert ("has no test split" in text) == ("test" not in splits)


def test_reasons_stand_below_and_everything_is_escaped() -> None:
    odd = job(space='{model.weights: {choice: ["<b>&\\"", "random"]}}')
    trials = [
        trial(0, {"model.weights": "random"}, [0.5], epochs=1),
        trial(1, {"model.weights": '<b>&"'}, [], FAILED, epochs=1, reason="<script>alert(1)</script>"),
    ]
    files = build_sweep_report(summary(trials, odd))
    html = files["report.html"].decode()
    assert "<script" not in html
    assert "<b>" not in html
    shown = PageText(html)
    assert shown.row("1", "Leaderboard")[5] == '<b>&"'
    assert shown.after("1") == "<script>alert(1)</script>"
    assert "1 trial failed" in shown.text


def test_lists_nulls_and_missing_parameters() -> None:
    spec = job(space="{data.size: {choice: [[224, 224], [64, 96]]}, train.compile: {choice: [true, false]}}")
    trials = [
        trial(0, {"data.size": [224, 224], "train.compile": False}, [0.5], epochs=1),
        trial(1, {"data.size": [64, 96], "train.compile": None}, [0.6], epochs=1),
        trial(2, {"train.compile": True}, [0.4], epochs=1),
    ]
    found = rows(summary(trials, spec))
    assert [row["data.size"] for row in found] == ["[64, 96]", "[224, 224]", "n/a"]
    assert [row["train.compile"] for row in found] == ["null", "false", "true"]


def test_no_trial_is_complete() -> None:
    trials = [trial(0, OWN, [0.1], STOPPED), trial(1, OWN, [], FAILED, reason="out of memory"), waiting(2)]
    shown = page(summary(trials))
    assert shown.tiles["Best validation accuracy"] == "n/a"
    assert shown.tiles["Over trial 0"] == "n/a"
    assert "No trial is complete: there is no best one." in shown.text
    assert sweep_results(summary(trials))["best"] is None


@pytest.mark.parametrize(
    "trials", [[], [waiting(0)], [trial(0, OWN, [], FAILED, reason="out of memory"), trial(1, OWN, [], FAILED)]]
)
def test_nothing_was_trained(trials: list[TrialState]) -> None:
    shown, found = page(summary(trials)), sweep_results(summary(trials))
    assert shown.tiles["Time"] == "n/a"
    assert shown.images == []
    assert (found["hours"], found["gpu_hours"], found["best"], found["importance"]) == (None, None, None, None)
    assert len(found["trials"]) == len(trials)


def test_one_trial() -> None:
    shown = page(summary(many(1)))
    assert "there was nothing to choose from" in shown.text
    assert "nothing to compare" in shown.text
    assert shown.tiles["Saved"] == "0"
    assert len(shown.images) == 2


def test_trial_0_failed() -> None:
    trials = [trial(0, OWN, [], FAILED, reason="out of memory"), trial(1, {**OWN, "train.batch": 16}, [0.5], epochs=1)]
    shown = page(summary(trials))
    assert shown.tiles["Over trial 0"] == "n/a"
    assert shown.row("Trial 0", "Best trial")[2:] == ["n/a", "n/a"]
    assert sweep_results(summary(trials))["best"]["gain"] is None


def test_a_complete_trial_without_a_value_is_never_the_best() -> None:
    trials = [replace(trial(0, OWN, [], epochs=1)), trial(1, OWN, [0.2], epochs=1), trial(2, OWN, [], epochs=1)]
    found = rows(summary(trials))
    assert [row["Trial"] for row in found] == ["1, best", "0, the job's own", "2"]
    assert [row["Rank"] for row in found] == ["1", "n/a", "n/a"]


@pytest.mark.parametrize("gpus", [0.0, 0.5])
def test_hours_and_what_was_saved(gpus: float) -> None:
    trials = [
        trial(0, OWN, [0.5] * 10, seconds_an_epoch=360, gpus=gpus),
        trial(1, OWN, [0.1] * 2, STOPPED, seconds_an_epoch=720, gpus=gpus),
    ]
    shown, found = page(summary(trials)), sweep_results(summary(trials))
    unit = "GPU-hours" if gpus else "Time"
    texts = ["0.7", "0.8", "0.2"] if gpus else ["1 h 24 min", "1 h 36 min", "24 min 0 s"]
    assert [shown.tiles[unit], shown.tiles["Saved"], shown.row("1", "Stopped early")[2]] == texts
    assert shown.row("1", "Stopped early")[3] == texts[1]
    assert "53 % of what all would have taken" in shown.text
    assert (found["hours"], found["saved_hours"]) == pytest.approx((1.4, 1.6))
    assert found["gpu_hours"] == (pytest.approx(0.7) if gpus else None)
    assert found["saved_gpu_hours"] == (pytest.approx(0.8) if gpus else None)
    assert found["trials"][0]["saved_hours"] is None


def test_all_figures_are_there_with_their_texts() -> None:
    sweep = summary(many(30))
    files = build_sweep_report(sweep)
    names = ("metric_by_epoch", "parallel_coordinates", "metric_by_parameter", "importance", "cost")
    assert set(files) == {"report.html", *(f"figures/{name}.png" for name in names)}
    shown = PageText(files["report.html"].decode())
    assert shown.images == [files[f"figures/{name}.png"] for name in names]
    alts = [value for tag, key, value in shown.attributes if (tag, key) == ("img", "alt")]
    assert all(len(alt) > 30 for alt in alts)
    assert "29 trials, by their values after epoch 1, before the last one (10)" in alts[3]
    assert files == build_sweep_report(sweep)


def test_a_sweep_that_goes_on() -> None:
    sweep = summary(some(), record={"changes": {"sweep.trials": [8, 12]}}, claims=claims())
    shown = page(replace(sweep, progress=replace(sweep.progress, wanted=12, state="interrupted", message="stopped")))
    assert "6 trials of 12 ended" in shown.text
    assert f"may be continued by visionjobs sweep convnet --sweep {SWEEP}" in shown.text
    assert "The sweep: stopped" in shown.text
    assert "sweep.trials was changed from 8 to 12" in shown.text
    assert shown.row("1", "Attempts") == ["1", "2026-05-04 10:11:13 UTC", "2", "1", "4", "0"]
    assert "1 trial failed" in shown.text
    runs = page(replace(sweep, progress=replace(sweep.progress, wanted=12, state=RUNNING)))
    assert "6 trials of 12 ended: the sweep goes on" in runs.text
    assert "may be continued" not in runs.text, "that would take it over"


@pytest.mark.parametrize(("task", "metric"), [(task, metric) for task, known in METRICS.items() for metric in known])
def test_every_metric_has_a_title_and_a_definition(task: str, metric: str) -> None:
    sweep = summary([])
    sweep = replace(sweep, progress=replace(sweep.progress, task=task, metric=metric))
    assert sweep.metric.startswith("Validation")
    assert len(sweep.definition) > 40


def test_results_are_json_without_what_json_has_not() -> None:
    trials = [*some(), trial(7, OWN, [0.1, math.nan], FAILED, reason="the loss is not finite")]
    found = sweep_results(summary(trials))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["trials"][7]["curve"] == [[1, 0.1], [2, None]]
    assert found["best"] == {
        "trial": 2, "run": f"{SWEEP}-t002", "value": 0.7, "gain": pytest.approx(0.2),
        "parameters": {**OWN, "train.lr": 2e-3},
    }  # fmt: skip
    assert [entry["rank"] for entry in found["trials"]] == [3, None, 1, None, None, 2, None, None]
    assert sweep_results(summary(many(30)))["importance"]["epoch"] == 1
    assert (found["schema"], found["mode"], found["metric"]) == (1, "max", "val_accuracy")


def test_needs_neither_torch_nor_ray_nor_a_global_pyplot() -> None:
    code = """
import pickle, sys
from visionjobs.report.sweep import build_sweep_report
from visionjobs.report.sweep_results import sweep_results
import matplotlib
before = matplotlib.rcParams.copy()
sweep = pickle.load(sys.stdin.buffer)
files, results = build_sweep_report(sweep), sweep_results(sweep)
assert matplotlib.rcParams.copy() == before
print(len(files), [name for name in ("torch", "ray", "boto3", "matplotlib.pyplot") if name in sys.modules])
"""
    given = pickle.dumps(summary(many(12)))
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"6 []\n"), done.stderr.decode()
