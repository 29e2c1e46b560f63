"""kill -9 of a worker, then of everything, under a real Ray: the weights are those of an uninterrupted run."""

from __future__ import annotations

import signal

import pytest
from cli_runs import Project, kill_9, progress, read_json, wait_until, weights
from offline_run import OfflineRun
from tiny import assert_same_bits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STEPS = 144  # 24 epochs of 6, or 12 of 12


def sets(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.mark.parametrize(
    ("workers", "options"),
    [
        (1, ("model.dropout=0.5", "train.epochs=24")),
        (2, ("model.dropout=0.5", "data.augment=wildlife", "data.copies=1", "train.epochs=12")),
    ],
    ids=["dropout", "dropout_augmented"],
)
def test_worker_killed_then_everything_killed(project: Project, workers: int, options: tuple[str, ...]) -> None:
    options = (*options, f"resources.workers={workers}")
    whole = project.call("run", "tiny", *sets(*options))
    assert whole.returncode == 0, whole.stderr
    reference = project.runs()[-1]

    before = set(project.runs())
    driver = project.start("run", "tiny", *sets(*options))
    wait_until(lambda: set(project.runs()) - before, "the run folder", driver=driver)
    (run,) = set(project.runs()) - before
    wait_until(lambda: int(progress(run).get("step", 0)) >= 9, "step 9", driver=driver)
    assert int(progress(run)["step"]) < STEPS - 30, "it must be killed in the middle"
    kill_9(project.workers()[-1:])
    wait_until(lambda: progress(run).get("resumed_from_step"), "the workers' restart", driver=driver)
    wait_until(lambda: int(progress(run)["step"]) >= 32, "step 32", driver=driver)
    assert int(progress(run)["step"]) < STEPS
    kill_9(project.processes())
    assert driver.wait() == -signal.SIGKILL

    # one without a manifest was being written when everything was killed: it is no checkpoint, and nobody reads it
    newest = sorted(run.glob("attempts/*/checkpoints/*/manifest.json"))[-1].with_name("state.pt")
    newest.write_bytes(newest.read_bytes()[:1000])

    resumed = project.call("run", "tiny", "--run", run.name)
    assert resumed.returncode == 0, resumed.stderr
    assert "is set aside" in resumed.stderr
    assert_same_bits(weights(reference), weights(run))
    assert read_json(run / "metrics.json")["metrics"] == read_json(reference / "metrics.json")["metrics"]
    attempts = read_json(run / "record.json")["attempts"]
    assert [attempt["number"] for attempt in attempts] == [1, 2]
    assert attempts[1]["resumed_from_step"] > 9
    (offline,) = (run / "wandb").iterdir()
    mirrored = [row["epoch"] for row in OfflineRun(offline).history if "train_loss" in row]
    assert mirrored == list(range(1, 13 if "train.epochs=12" in options else 25)), "each once"
    assert project.processes() == []


def test_ctrl_c_ends_cleanly_and_says_how_to_continue(project: Project) -> None:
    before = set(project.runs())
    driver = project.start("run", "tiny")
    wait_until(lambda: set(project.runs()) - before, "the run folder", driver=driver)
    (run,) = set(project.runs()) - before
    wait_until(lambda: int(progress(run).get("step", 0)) >= 6, "step 6", driver=driver)
    driver.send_signal(signal.SIGINT)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert f"Continue with: visionjobs run tiny --run {run.name}" in told.replace("\n", " ")
    assert "Traceback" not in told
    assert read_json(run / "record.json")["state"] == "interrupted"
    wait_until(lambda: project.processes() == [], "the processes to end", 30)
    assert project.call("run", "tiny", "--run", run.name).returncode == 0


def test_workers_that_die_too_often_end_the_attempt_but_not_the_run(project: Project) -> None:
    before = set(project.runs())
    driver = project.start("run", "tiny", *sets("limits.worker_failures=0"))
    wait_until(lambda: set(project.runs()) - before, "the run folder", driver=driver)
    (run,) = set(project.runs()) - before
    wait_until(lambda: int(progress(run).get("step", 0)) >= 6, "step 6", driver=driver)
    kill_9(project.workers())
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "limits.worker_failures" in told
    assert "Traceback" not in told
    assert (run / "attempts" / "0001" / "error.txt").stat().st_size > 0
    assert f"visionjobs run tiny --run {run.name}" in " ".join(told.split())
    assert read_json(run / "record.json")["state"] == "interrupted"
