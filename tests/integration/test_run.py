"""One run of the tiny job through the command line and a private Ray, looked at from all sides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from cli_runs import Project, read_json, weights
from offline_run import OfflineRun


@pytest.fixture(scope="module")
def done(project: Project):
    return project.call("run", "tiny", "--set", "train.epochs=2", "--set", "train.label_smoothing=0.1")


@pytest.fixture(scope="module")
def run(done) -> Path:
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def test_address_is_the_last_line_on_stdout_and_the_only_one(done, run: Path, project: Project) -> None:
    assert done.stdout.splitlines() == [str(run)]
    assert run.parent == Path(project.storage) / "runs"


def test_progress_goes_to_stderr_without_tracebacks(done) -> None:
    assert "private Ray" in done.stderr
    assert "epoch 2/2: train loss" in done.stderr
    assert "/report/report.html" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_folder_is_complete(run: Path) -> None:
    for name in ("spec.yaml", "dataset.json", "record.json", "metrics.json", "weights/tiny.pth", "report/report.html",
                 "predictions/val.parquet", "predictions/samples.npz"):  # fmt: skip
        assert (run / name).stat().st_size > 0
    assert list((run / "report" / "figures").glob("*.png"))
    assert not [path for path in run.rglob("*") if "tmp" in path.name]


def test_spec_is_resolved(run: Path) -> None:
    spec = yaml.safe_load((run / "spec.yaml").read_text())
    assert (spec["train"]["epochs"], spec["train"]["optimizer"]) == (2, "adam")
    assert len(spec["data"]["version"]) == 16


def test_record_says_what_ran_where(run: Path) -> None:
    record = read_json(run / "record.json")
    (attempt,) = record["attempts"]
    assert (record["state"], record["gpu_hours"], record["job"]) == ("complete", 0.0, "tiny")
    assert (attempt["workers"], attempt["threads"], attempt["gpus"]) == (1, 1, 0)
    assert attempt["hardware"]["libraries"]["torch"] == torch.__version__.partition("+")[0]
    assert attempt["facts"]["resident"]["train"]["resident"] is True
    assert len(attempt["code"]["source"]) == 12


def test_metrics_follow_the_contract(run: Path) -> None:
    metrics = read_json(run / "metrics.json")
    assert (metrics["schema"], metrics["run"], metrics["job"], metrics["split"]) == (1, run.name, "tiny", "val")
    values = metrics["metrics"]
    assert sum(map(sum, values["confusion_matrix"])) == 12
    assert set(values["per_class"]) == {"bear", "deer", "fox", "owl"}
    assert values["accuracy"] == sum(row[i] for i, row in enumerate(values["confusion_matrix"])) / 12


def test_weights_are_a_plain_state_dict(run: Path) -> None:
    state = weights(run)
    assert state["fc.weight"].shape == (4, 128 * 8 * 8)


def test_report_shows_published_beside_ours(run: Path) -> None:
    page = (run / "report" / "report.html").read_text()
    assert "Started with train.epochs=2, train.label_smoothing=0.1: the published figures are of" in page
    assert "a made-up table, page 3" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert run.name in page


def test_wandb_has_it_offline(run: Path) -> None:
    (offline,) = (run / "wandb").iterdir()
    mirrored = OfflineRun(offline)
    assert mirrored.run_id == run.name
    assert [row["epoch"] for row in mirrored.history if "train_loss" in row] == [1, 2]
    assert mirrored.exit_code == 0


def test_its_report_is_built_again_alike(run: Path, project: Project) -> None:
    before = {path: path.read_bytes() for path in (run / "report").rglob("*") if path.is_file()}
    again = project.call("report", run.name)
    assert (again.returncode, again.stdout) == (0, f"{run}/report/report.html\n"), again.stderr
    assert {path: path.read_bytes() for path in (run / "report").rglob("*") if path.is_file()} == before


def test_its_weights_are_evaluated_again_alike(run: Path, project: Project) -> None:
    again = project.call("evaluate", run.name)
    assert again.returncode == 0, again.stderr
    evaluated = read_json(run / "evaluations" / "val" / "metrics.json")["metrics"]
    stored = read_json(run / "metrics.json")["metrics"]
    assert evaluated["confusion_matrix"] == stored["confusion_matrix"]
    assert evaluated["nll"] == pytest.approx(stored["nll"], abs=1e-5)


def test_no_process_is_left(run: Path, project: Project) -> None:
    assert [process.cmdline() for process in project.processes()] == []


def test_runs_lists_it(run: Path, project: Project) -> None:
    listed = project.call("runs", "--json")
    (row,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (row["run"], row["state"], row["attempts"]) == (run.name, "complete", 1)
    assert run.name in project.call("runs", "--sort", "accuracy").stderr
    narrow = Project(project.folder, project.storage, {"COLUMNS": "80"})
    assert run.name in narrow.call("runs").stderr, "a whole run id can be copied"
    assert project.call("runs", "--sort", "acuracy").returncode == 2


def test_complete_run_is_not_continued_by_accident(run: Path, project: Project) -> None:
    again = project.call("run", "tiny", "--run", run.name)
    assert again.returncode == 2
    assert "is complete after 2 epochs" in again.stderr


def test_other_learning_rate_is_refused_with_the_difference(run: Path, project: Project) -> None:
    refused = project.call("run", "tiny", "--run", run.name, "--set", "train.lr=0.5")
    assert refused.returncode == 2
    assert "train.lr: 0.001 in the run, 0.5 asked for" in refused.stderr


def test_more_gpus_than_there_are_is_refused_before_a_folder_is_made(run: Path, project: Project) -> None:
    before = project.runs()
    refused = project.call("run", "tiny", "--set", "resources.gpus=1", "--set", "resources.workers=4")
    assert refused.returncode == 2
    assert "resources.gpus: 4 worker(s) with 1 GPU each need 4" in refused.stderr
    assert project.runs() == before


def test_prune_shows_first_and_deletes_with_yes(run: Path, project: Project) -> None:
    """Last in this file: it takes the checkpoints away."""
    assert "Nothing was deleted" in project.call("prune").stderr
    assert list(run.rglob("state.pt"))
    project.call("prune", "--yes", "--caches")
    assert not list(run.rglob("state.pt"))
    assert (run / "weights" / "tiny.pth").is_file()
    assert (run / "attempts" / "0001" / "metrics.jsonl").is_file()
    assert "nothing to prune" in project.call("prune").stderr
