"""`visionjobs reproduce`: which runs it takes, what it trains, and that one failure stops nothing but its own rows."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from finished_runs import JOB, Project
from rich.console import Console

from visionjobs.cli import reproduce
from visionjobs.errors import StorageError
from visionjobs.report.reproduce_page import Row
from visionjobs.runs import Run


@pytest.fixture
def trained(project: Project, monkeypatch) -> list[str]:
    """Jobs that were asked to be trained; training one gives the second run."""
    asked: list[str] = []

    def train(_settings: Any, _root: Any, job: str, _sets: list[str], _sample: bool) -> Run:
        asked.append(job)
        return project.second

    monkeypatch.setattr(reproduce, "run_new", train)
    return asked


def rows_of(ended: Any) -> list[dict[str, Any]]:
    return json.loads(Path(ended.out.splitlines()[-1], "reproduce.json").read_text())["rows"]


def set_record(run: Run, **changes: Any) -> None:
    run.store.write("record.json", json.dumps(run.record() | changes))


def test_the_run_of_the_job_file_is_taken(project: Project, visionjobs: Callable[..., Any]) -> None:
    """The second run is newer, but of another seed."""
    ended = visionjobs("reproduce", "--no-run")
    assert ended.status == 0, ended.err
    folder = Path(ended.out.strip())
    assert folder.parent == project.folder / "storage" / "reproduce"
    assert {path.name for path in folder.iterdir()} == {
        "reproduce.html", "reproduce.csv", "reproduce.json", "figures",
    }  # fmt: skip
    accuracy, f1 = rows_of(ended)
    values = (project.first.metrics() or {})["metrics"]
    assert (accuracy["run"], accuracy["metric"], accuracy["published"]) == (project.first.id, "accuracy", 0.5)
    assert accuracy["ours"] == values["accuracy"]
    assert [accuracy["interval_low"], accuracy["interval_high"]] == values["intervals"]["accuracy"]
    assert (f1["metric"], f1["ours"], f1["samples"], f1["epochs"]) == ("f1_macro", values["f1_macro"], 12, 2)
    assert accuracy["version"] == (project.first.dataset() or {})["version"]
    assert f"run {project.second.id} is not taken (train.seed: 0 in the job, 1 in the run)" in ended.err
    assert f"taking run {project.first.id}" in ended.err
    lines = list(csv.DictReader((folder / "reproduce.csv").read_text().splitlines()))
    assert [line["run"] for line in lines] == [project.first.id] * 2


def test_nothing_of_the_table_is_cut_at_80_columns() -> None:
    text = "no finished run with the job's settings: tiny-1 differs in train.seed"
    values = ("table 3", 0.5, 0.4, 0.6, -0.3, True, 12, "wildlife", "v", "r", 2, text)
    console = Console(width=80, file=io.StringIO())
    console.print(reproduce._table([Row("resnet_aug_of_long_name", "f1_macro", "F1", 0.8, *values)]))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "resnet_aug_of_long_name" in "".join(lines)
    assert "difference" in "".join(lines)
    assert "…" not in "".join(lines)


def test_set_chooses_another_run(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("reproduce", "--no-run", "--set", "train.seed=1")
    assert [row["run"] for row in rows_of(ended)] == [project.second.id] * 2
    ended = visionjobs("reproduce", "--no-run", "--set", "train.seed=2")
    assert ended.status == 0
    newest = max((project.first, project.second), key=lambda run: (run.record()["finished"], run.id))
    problem = f"no finished run with the job's settings: {newest.id} differs in train.seed"
    assert [row["state"] for row in rows_of(ended)] == [problem] * 2
    assert f"tiny: {problem}" in ended.err
    assert [row["ours"] for row in rows_of(ended)] == [None, None]


def test_the_newest_of_two_alike(project: Project, visionjobs: Callable[..., Any]) -> None:
    spec = yaml.safe_load(project.second.store.read("spec.yaml"))
    spec["train"]["seed"] = 0
    project.second.store.write("spec.yaml", yaml.safe_dump(spec))
    set_record(project.first, finished="2026-05-04T10:00:00+00:00")
    set_record(project.second, finished="2026-05-03T10:00:00+00:00")
    assert rows_of(visionjobs("reproduce", "--no-run"))[0]["run"] == project.first.id
    set_record(project.second, finished="2026-05-05T10:00:00+00:00")
    assert rows_of(visionjobs("reproduce", "--no-run"))[0]["run"] == project.second.id
    set_record(project.second, state="interrupted")
    assert rows_of(visionjobs("reproduce", "--no-run"))[0]["run"] == project.first.id


def test_a_run_trained_further_is_what_it_became(project: Project, visionjobs: Callable[..., Any]) -> None:
    set_record(project.first, changes={"train.epochs": [2, 5]}, epochs=5)
    ended = visionjobs("reproduce", "--no-run")
    assert f"run {project.first.id} is not taken (train.epochs: 2 in the job, 5 in the run)" in ended.err
    ended = visionjobs("reproduce", "--no-run", "--set", "train.epochs=5")
    assert [(row["run"], row["epochs"]) for row in rows_of(ended)] == [(project.first.id, 5)] * 2


def test_other_published_figures_or_resources_are_no_other_experiment(
    project: Project, visionjobs: Callable[..., Any]
) -> None:
    (project.jobs / "tiny.yaml").write_text(JOB.replace("0.5", "0.25") + "resources: {workers: 2}\n")
    row = rows_of(visionjobs("reproduce", "--no-run"))[0]
    assert (row["run"], row["published"]) == (project.first.id, 0.25)


def test_only_runs_of_the_sample_count_with_sample(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("reproduce", "--no-run", "--sample")
    assert [row["state"] for row in rows_of(ended)] == ["no finished run"] * 2
    assert "is not taken" not in ended.err
    spec = yaml.safe_load(project.first.store.read("spec.yaml"))
    spec["data"] |= {"name": "wildlife-sample", "version": "0123456789abcdef"}
    project.first.store.write("spec.yaml", yaml.safe_dump(spec))
    project.first.store.delete(["dataset.json"])
    ended = visionjobs("reproduce", "--no-run", "--sample")
    row = rows_of(ended)[0]
    assert (row["run"], row["dataset"]) == (project.first.id, "wildlife-sample")
    page = Path(ended.out.strip(), "reproduce.html").read_text()
    assert "is a drawn sample" in page
    assert (row["difference"], row["published_within_interval"]) == (None, None)
    assert "Drawn sample: figures do not compare" in ended.err


def test_what_has_no_run_is_trained(project: Project, visionjobs: Callable[..., Any], trained: list[str]) -> None:
    visionjobs("reproduce")
    assert trained == []
    ended = visionjobs("reproduce", "--set", "train.seed=7")
    assert trained == ["tiny"]
    assert (ended.status, rows_of(ended)[0]["run"]) == (0, project.second.id)
    visionjobs("reproduce", "--new")
    assert trained == ["tiny", "tiny"]


def test_a_failure_stops_nothing_but_its_own_rows(
    project: Project, visionjobs: Callable[..., Any], monkeypatch
) -> None:
    (project.jobs / "another.yaml").write_text(JOB.replace("epochs: 2", "epochs: 9"))
    (project.jobs / "broken.yaml").write_text("task: {")
    (project.jobs / "without_figures.yaml").write_text(JOB.partition("published")[0])

    def fail(*_args: Any) -> Run:
        raise StorageError("the disk [of node 7] is full\nContinue with: visionjobs run another --run x")

    monkeypatch.setattr(reproduce, "run_new", fail)
    ended = visionjobs("reproduce")
    assert ended.status == 1
    rows = rows_of(ended)
    assert [row["job"] for row in rows] == ["another", "another", "broken", "tiny", "tiny"]
    assert rows[0]["state"].startswith("failed: the disk [of node 7] is full Continue with: visionjobs run another")
    assert rows[2]["state"].startswith("failed: ")
    assert "broken.yaml" in rows[2]["state"]
    assert [row["run"] for row in rows[3:]] == [project.first.id] * 2
    assert "another: the disk [of node 7] is full" in ended.err
    assert "not reproduced: another, broken" in ended.err
    assert "Traceback" not in ended.err


def test_a_job_that_cannot_be_trained_fails_for_real(project: Project, visionjobs: Callable[..., Any]) -> None:
    """Without a patch: its dataset is not there, so nothing is started."""
    ended = visionjobs("reproduce", "--set", "data.name=nowhere")
    assert ended.status == 1
    assert 'failed: There is no dataset "nowhere"' in rows_of(ended)[0]["state"]


@pytest.mark.parametrize("how", [KeyboardInterrupt, typer.Exit])
def test_ctrl_c_ends_at_once(project: Project, visionjobs: Callable[..., Any], monkeypatch, how: Any) -> None:
    (project.jobs / "another.yaml").write_text(JOB)

    def interrupted(*_args: Any) -> Run:
        raise how(130) if how is typer.Exit else how

    monkeypatch.setattr(reproduce, "run_new", interrupted)
    ended = visionjobs("reproduce", "--new")
    assert (ended.status, ended.out) == (130, "")
    assert not (project.folder / "storage" / "reproduce").exists()


def test_sigterm_ends_like_ctrl_c(project: Project, visionjobs: Callable[..., Any], monkeypatch) -> None:
    monkeypatch.setattr(reproduce, "run_new", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert visionjobs("reproduce", "--new").status == 130
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def test_jobs_by_name_and_path(project: Project, visionjobs: Callable[..., Any]) -> None:
    (project.jobs / "broken.yaml").write_text("task: {")
    path = project.folder / "tiny.yaml"
    path.write_text(JOB.replace("0.5", "0.125"))
    ended = visionjobs("reproduce", "--no-run", "--jobs", f"tiny, {path},tiny")
    assert (ended.status, [row["published"] for row in rows_of(ended)]) == (0, [0.5, 0.4, 0.125, 0.4])


def test_runs_that_cannot_be_read_are_passed_over(project: Project, visionjobs: Callable[..., Any]) -> None:
    project.second.store.write("record.json", "{")
    ended = visionjobs("reproduce", "--no-run")
    assert ended.status == 0
    assert f"{project.second.store.address}/record.json is not valid JSON" in ended.err
    assert rows_of(ended)[0]["run"] == project.first.id
    project.first.store.write("predictions/val.parquet", b"PAR1")
    ended = visionjobs("reproduce", "--no-run")
    assert ended.status == 1
    assert "holds no predictions, or is damaged" in rows_of(ended)[0]["state"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--jobs", "tinny"), 'Did you mean "tiny"?'),
        (("--jobs", "tiny,nowhere.yaml"), "There is no job file nowhere.yaml"),
        (("--jobs", " , "), "--jobs: expected names or paths of job files, separated by commas"),
        (("--jobs", "plain"), 'job "plain" has no published figures'),
        (("--set", "train.lrr=1"), 'Did you mean "lr"?'),
        (("--new", "--no-run"), "do not go together"),
        (("--no-run", "--out", "JOBS"), "there are other files in it"),
    ],
)
def test_mistakes_end_with_2_and_one_message(
    project: Project, visionjobs: Callable[..., Any], trained: list[str], arguments: tuple[str, ...], said: str
) -> None:
    (project.jobs / "plain.yaml").write_text(JOB.partition("published")[0])
    given = [str(project.jobs) if argument == "JOBS" else argument for argument in arguments]
    ended = visionjobs("reproduce", *given)
    assert (ended.status, ended.out, trained) == (2, "", [])
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not (project.folder / "storage" / "reproduce").exists()


def test_no_job_with_published_figures(project: Project, visionjobs: Callable[..., Any]) -> None:
    (project.jobs / "tiny.yaml").write_text(JOB.partition("published")[0])
    ended = visionjobs("reproduce")
    assert ended.status == 2
    assert "No job file in" in ended.err
