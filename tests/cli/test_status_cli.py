"""`visionjobs status` of runs that no cluster has: local ones, finished ones, and those on a Ray that was there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from finished_runs import Project

from visionjobs.cli import status as status_verb
from visionjobs.cluster.run_status import cluster_state, joined_state
from visionjobs.cluster.state import JobState
from visionjobs.jobfile import build_spec
from visionjobs.run_progress import best_epoch, eta_seconds
from visionjobs.runs import Attempt, create_run, request_stop
from visionjobs.storage import open_store


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(status_verb, "WATCH_SECONDS", 0.1)


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Attempt]:
    """A run with one attempt that is at step 30 of 50 and wrote that `silent` seconds ago."""

    def begin(state: str = "running", silent: float = 0, **record: Any) -> Attempt:
        tree = {"name": "photos", "task": "classification", "model": {"name": "convnet"}, "data": {"name": "tiny"}}
        spec = build_spec(tree | {"train": {"epochs": 5}}, "photos", ())
        run = create_run(open_store(str(tmp_path / "storage")), spec, "{}")
        attempt = run.claim("attempt", {"gpus": 2, "hardware": {"host": "desk-1"}})
        claim = {"kind": "attempt", "started": ago(silent + 400), "info": {"gpus": 2, "hardware": {"host": "desk-1"}}}
        attempt.store.write("claim.json", json.dumps(claim))
        rows = [
            {"epoch": epoch, "step": 10 * (epoch + 1), "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0,
             "val_accuracy": accuracy, "images_per_second": 100.0} for epoch, accuracy in enumerate([0.5, 0.7, 0.6])
        ]  # fmt: skip
        attempt.store.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        progress = {"epochs": 5, "steps_per_epoch": 10, "step": 30, "epoch": 3, "updated": ago(silent),
                    "began": ago(silent + 300), "resumed_from_step": None}  # fmt: skip
        attempt.store.write("progress.json", json.dumps(progress))
        attempt.update_record(state=state, epochs=5, created=ago(silent + 400), **record)
        return attempt

    return begin


def test_a_run_here(visionjobs: Callable[..., Any], begin: Callable[..., Attempt]) -> None:
    run = begin().run
    told = visionjobs("status", run.id)
    assert told.status == 0
    assert "state running, attempt 1 of at most 10" in told.err
    assert "where a local Ray on desk-1" in told.err
    assert "progress 3/5 epochs, step 30/50" in told.err
    assert "training ends in about 0:03:2" in told.err, "30 steps took 300 s"
    assert "best val accuracy 0.7000 in epoch 2" in told.err
    assert "last epoch 3/5: train loss 1.0000 accuracy 0.500" in told.err
    assert "GPU-hours 0.22" in told.err
    assert run.store.address in told.err
    assert told.out == ""


def test_it_fits_into_80_columns(
    visionjobs: Callable[..., Any], begin: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run_id = begin("interrupted", message="x" * 200).run.id
    assert f"visionjobs run photos --run {run_id}" in visionjobs("status", run_id).err


@pytest.mark.parametrize(
    ("state", "silent", "told", "hint"),
    [
        ("running", 3700, "state silent for 1:01:40", "visionjobs run photos --run"),
        ("interrupted", 0, "state interrupted", "visionjobs run photos --run"),
        ("failed", 0, "state failed", ""),
        ("complete", 0, "state complete", "report/report.html"),
    ],
)
def test_each_state(
    visionjobs: Callable[..., Any], begin: Callable[..., Attempt], state: str, silent: float, told: str, hint: str
) -> None:
    run_id = begin(state, silent, message="its last words").run.id
    ended = visionjobs("status", run_id)
    assert ended.status == 0
    assert told[:-1] in ended.err
    assert hint in ended.err
    assert "message its last words" in ended.err
    assert "ends in" not in ended.err


@pytest.mark.parametrize(
    ("state", "silent", "status"),
    [("complete", 0, 0), ("interrupted", 0, 1), ("failed", 0, 3), ("running", 3700, 1)],
)
def test_watching_what_has_ended(
    visionjobs: Callable[..., Any], begin: Callable[..., Attempt], state: str, silent: float, status: int
) -> None:
    assert visionjobs("status", begin(state, silent).run.id, "--watch").status == status


@pytest.mark.timeout(60)
def test_watching_until_it_ends(visionjobs: Callable[..., Any], begin: Callable[..., Attempt]) -> None:
    attempt = begin()

    def end() -> None:
        time.sleep(2)
        attempt.update_record(state="complete", gpu_hours=0.25)

    thread = threading.Thread(target=end)
    thread.start()
    told = visionjobs("status", attempt.run.id, "--watch", "--json")
    thread.join()
    assert told.status == 0
    assert [json.loads(line)["state"] for line in told.out.splitlines()] == ["running", "complete"]
    assert json.loads(told.out.splitlines()[-1])["gpu_hours"] == 0.25


def test_json_of_a_run_here(visionjobs: Callable[..., Any], begin: Callable[..., Attempt]) -> None:
    run = begin().run
    told = json.loads(visionjobs("status", run.id, "--json").out)
    assert (told["run"], told["kind"], told["job"], told["task"]) == (run.id, "run", "photos", "classification")
    assert (told["state"], told["backend"], told["cluster"]) == ("running", "local", None)
    assert (told["namespace"], told["owner"], told["message"]) == (None, None, None)
    assert told["best"] == {"metric": "val_accuracy", "value": 0.7, "epoch": 1}
    assert told["row"]["epoch"] == 2
    assert told["eta_seconds"] == pytest.approx(200, abs=2)
    assert told["folder"] == run.store.address
    assert told["failures"] == []


def test_a_run_on_a_ray_that_was_there(visionjobs: Callable[..., Any], begin: Callable[..., Attempt]) -> None:
    run = begin("interrupted").run
    submission = {"backend": "ray", "address": "http://ray.example:8265", "submission_id": "x"}
    run.store.write("submission.json", json.dumps(submission))
    told = visionjobs("status", run.id)
    assert "where the Ray at http://ray.example:8265" in told.err
    assert f"visionjobs submit photos --run {run.id}" in told.err
    assert json.loads(visionjobs("status", run.id, "--json").out)["address"] == "http://ray.example:8265"


def test_a_real_finished_run(visionjobs: Callable[..., Any], project: Project) -> None:
    told = visionjobs("status", project.first.id)
    assert told.status == 0
    assert "state complete" in told.err
    assert "progress 2/2 epochs, step 12/12" in told.err
    assert "best val accuracy" in told.err


def test_without_a_run(visionjobs: Callable[..., Any], begin: Callable[..., Attempt]) -> None:
    assert "Nothing runs in" in visionjobs("status").err
    running = begin().run.id
    begin("complete")
    told = visionjobs("status")
    assert f"{running} running 3/5 0:03:" in told.err
    assert "complete" not in told.err
    (line,) = visionjobs("status", "--json").out.splitlines()
    assert json.loads(line)["run"] == running


def test_a_run_that_was_told_to_stop(visionjobs: Callable[..., Any], begin: Callable[..., Attempt]) -> None:
    run = begin().run
    request_stop(run.store, "jane cancelled it")
    assert "stop it was asked to stop, because jane cancelled it" in visionjobs("status", run.id).err


def test_a_request_to_stop_is_shown_until_the_run_is_complete(
    visionjobs: Callable[..., Any], begin: Callable[..., Attempt]
) -> None:
    attempt = begin("interrupted", message="a worker died")
    request_stop(attempt.run.store, "ada cancelled it")
    assert "it was asked to stop, because ada cancelled it" in visionjobs("status", attempt.run.id).err
    attempt.update_record(message="stopped at step 7: ada cancelled it", stopped="ada cancelled it")
    assert "it was asked to stop" not in visionjobs("status", attempt.run.id).err, "not twice"
    attempt.update_record(state="complete", message=None, stopped=None)
    assert "it was asked to stop" not in visionjobs("status", attempt.run.id).err
    assert json.loads(visionjobs("status", attempt.run.id, "--json").out)["stop"] is None


def test_a_run_that_was_refused_before_it_began(visionjobs: Callable[..., Any], tmp_path: Path) -> None:
    folder = open_store(str(tmp_path / "storage")).at("runs", "photos-1")
    request_stop(folder, "of a mistake: no such dataset")
    told = visionjobs("status", "photos-1")
    assert (told.status, "it is not begun, because of a mistake: no such dataset" in told.err) == (0, True)


def test_mistakes(visionjobs: Callable[..., Any], begin: Callable[..., Attempt]) -> None:
    run = begin().run
    told = visionjobs("status", f"{run.id}x")
    assert told.status == 2
    assert f'Did you mean "{run.id}"?' in told.err
    assert visionjobs("status", "--watch").status == 2
    run.store.write("record.json", "{")
    told = visionjobs("status", run.id)
    assert told.status == 2
    assert "record.json is not valid JSON" in told.err


def test_a_kubeconfig_that_cannot_be_used_is_a_warning(
    visionjobs: Callable[..., Any], begin: Callable[..., Attempt], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing-here"))
    run_id = begin().run.id
    told = visionjobs("status", run_id)
    assert (told.status, "names no usable cluster" in told.err) == (0, True)
    told = visionjobs("runs")
    assert (told.status, run_id in told.err, told.err.count("warning:")) == (0, True, 1)


def job(phase: Any, created: str = "2026-01-31T10:00:00Z", finished: str | None = None, kind: str = "run") -> JobState:
    return JobState("a", "rayjob", kind, "photos", "jane", phase, [], created, None, finished, 0, [])


BEFORE, AFTER, LATE = "2026-01-31T09:00:00+00:00", "2026-01-31T11:00:00+00:00", "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("state", "started", "finished", "of_job", "joined"),
    [
        ("not started", None, None, job("queued"), "queued"),
        ("not started", None, None, job("failed"), "failed to start"),
        ("running", AFTER, None, job("running"), "running"),
        ("running", AFTER, None, job("stopping"), "stopping"),
        ("running", AFTER, None, job("failed", finished=LATE), "interrupted"),
        ("silent for 1:00:00", AFTER, None, job("failed", finished=LATE), "interrupted"),
        ("running", LATE, None, job("failed", finished=AFTER), "running"),  # continued elsewhere since
        ("interrupted", AFTER, None, job("pending"), "pending"),  # between two attempts
        ("interrupted", AFTER, None, job("failed", finished=LATE), "interrupted"),
        ("interrupted", BEFORE, None, job("failed", finished=LATE), "failed to start"),  # its next attempt
        ("complete", AFTER, LATE, job("running"), "complete"),  # the pods still end
        ("complete", BEFORE, BEFORE, job("running"), "running"),  # trained further
        ("failed", AFTER, None, job("running"), "failed"),
    ],
)
def test_record_and_cluster_joined(
    state: str, started: str | None, finished: str | None, of_job: JobState, joined: str
) -> None:
    assert joined_state(state, started, finished, of_job) == joined


def test_what_only_the_cluster_knows() -> None:
    assert cluster_state(job("succeeded", kind="evaluate")) == "complete"
    assert cluster_state(job("failed", kind="import")) == "failed"
    assert cluster_state(job("failed")) == "failed to start"
    assert cluster_state(job("pending")) == "pending"


def test_eta() -> None:
    began = {"began": "2026-01-31T10:00:00+00:00", "updated": "2026-01-31T10:01:40+00:00"}
    progress = {"epochs": 10, "steps_per_epoch": 10, "step": 50, "resumed_from_step": 30} | began
    assert eta_seconds(progress, "2026-01-31T09:00:00+00:00") == 250, "20 steps in 100 s, 50 are left"
    assert eta_seconds(progress | {"resumed_from_step": 50}, began["began"]) is None
    assert eta_seconds({key: value for key, value in progress.items() if key != "began"}, began["began"]) == 250
    predicting = {"stage": "predicting", "total": 300, "done": 100, "images_per_second": 8.0}
    assert eta_seconds(progress | predicting, began["began"]) == 25
    assert eta_seconds(predicting | {"images_per_second": None}, began["began"]) is None
    assert eta_seconds({}, began["began"]) is None


def test_the_best_epoch() -> None:
    rows = [{"epoch": 0, "val_map": None}, {"epoch": 1, "val_map": 0.3}, {"epoch": 2, "val_map": 0.3}]
    assert best_epoch("detection", rows) == {"metric": "val_map", "value": 0.3, "epoch": 1}
    assert best_epoch("detection", rows[:1]) is None
