"""`submit --backend ray` against a real `ray start --head` with token authentication: submitted, followed, stopped,
continued, and refused with a wrong token."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runs import Project, progress, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "AKIA-not-for-anybody"


@pytest.fixture(scope="module")
def url(project: Project) -> Iterator[str]:
    """The dashboard's address; the token's file is in the project's environment."""
    up = project.call("ray-up")
    assert up.returncode == 0, up.stderr
    project.extra |= {
        "RAY_AUTH_TOKEN_PATH": str(project.folder / "cache" / "ray" / "token"),
        "WANDB_API_KEY": KEY, "WANDB_MODE": "offline",
    }  # fmt: skip
    yield up.stdout.splitlines()[-1]
    assert project.call("ray-down").returncode == 0


@pytest.mark.parametrize("env", [{"RAY_AUTH_TOKEN": "wrong"}, {"RAY_AUTH_TOKEN_PATH": "", "HOME": "/nonexistent"}])
def test_refused_with_a_wrong_token_or_none(project: Project, url: str, env: dict[str, str]) -> None:
    other = Project(project.folder, project.storage, project.extra | env)
    refused = other.call("submit", "tiny", "--backend", "ray", "--address", url)
    assert refused.returncode == 1 or refused.returncode == 2, refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert project.runs() == [], "nothing was made"


def test_a_ray_that_is_not_there(project: Project) -> None:
    refused = project.call("submit", "tiny", "--backend", "ray", "--address", "http://127.0.0.1:1")
    assert refused.returncode in (1, 2, 4)
    assert "http://127.0.0.1:1 does not answer" in refused.stderr


@pytest.fixture(scope="module")
def stopped(project: Project, url: str) -> Path:
    """A run that was submitted, was followed, and was cancelled in the middle."""
    submitted = project.call("submit", "tiny", "--backend", "ray", "--address", url, "--set", "train.epochs=400")
    assert submitted.returncode == 0, submitted.stderr
    run = Path(submitted.stdout.splitlines()[-1])
    assert json.loads((run / "submission.json").read_text())["submission_id"].startswith(f"{run.name}-")
    follower = project.start("logs", run.name, "-f")
    wait_until(lambda: int(str(progress(run).get("step", 0))) > 20, "training", 300)
    again = project.call("submit", "tiny", "--run", run.name, "--backend", "ray", "--address", url)
    assert again.returncode == 2
    assert f"visionjobs cancel {run.name}" in again.stderr
    status = project.call("status", run.name, "--json")
    assert json.loads(status.stdout)["state"] == "running", status.stderr
    cancelled = project.call("cancel", run.name)
    assert cancelled.returncode == 0, cancelled.stderr
    out, err = follower.communicate(timeout=300)
    assert follower.returncode == 1, err
    assert "starting the workers" in out
    assert f"Continue with: visionjobs submit tiny --run {run.name} --backend ray --address {url}" in err
    return run


def test_cancelled_with_a_checkpoint_and_its_logs(stopped: Path) -> None:
    record = json.loads((stopped / "record.json").read_text())
    assert record["state"] == "interrupted"
    checkpoints = sorted((stopped / "attempts" / "0001" / "checkpoints").glob("*/manifest.json"))
    assert json.loads(checkpoints[-1].read_text())["step"] == progress(stopped)["step"], "of the very last step"
    assert "starting the workers" in (stopped / "attempts" / "0001" / "logs" / "driver.log").read_text()
    assert not (stopped / "attempts" / "0001" / "logs" / "ray").exists(), "they are of other people's jobs too"


TOO_MANY = ("--set", "resources.cpus=64")
"""More than this Ray has: the driver ends before it claims an attempt."""


def test_a_driver_that_ends_before_its_attempt_is_told_of(project: Project, url: str, stopped: Path) -> None:
    submit = ("submit", "tiny", "--run", stopped.name, "--backend", "ray", "--address", url)
    failed = project.call(*submit, *TOO_MANY, "--wait")
    assert failed.returncode == 1, failed.stderr
    assert "64" in failed.stderr
    assert "exit status 2: a mistake in what was asked" in failed.stderr
    told = json.loads(project.call("status", stopped.name, "--json").stdout)
    assert told["state"] == "failed to start"
    assert "exit status 2" in told["reasons"][0]
    assert project.call("status", stopped.name, "--watch").returncode == 1
    assert project.call("logs", stopped.name, "-f").returncode == 1
    assert not (stopped / "attempts" / "0002").exists(), "it claimed none, and is submitted again below"


def test_continued_to_the_end_by_the_code_that_travelled(project: Project, url: str, stopped: Path) -> None:
    before = int(str(progress(stopped)["step"]))
    epochs = before // 6 + 2  # 48 images in batches of 8
    done = project.call(
        "submit", "tiny", "--run", stopped.name, "--set", f"train.epochs={epochs}", "--backend", "ray",
        "--address", url, "--wait",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(stopped)
    record = json.loads((stopped / "record.json").read_text())
    assert record["state"] == "complete"
    assert [attempt["resumed_from_step"] for attempt in record["attempts"]] == [None, before]
    assert record["attempts"][-1]["pod"]["backend"] == "ray"
    logs = project.call("logs", stopped.name)
    assert logs.returncode == 0
    assert f"epoch {epochs}/{epochs}" in logs.stdout
    status = project.call("status", stopped.name, "--watch")
    assert status.returncode == 0, status.stderr


def test_a_complete_run_that_is_continued_and_does_not_begin(project: Project, url: str, stopped: Path) -> None:
    record = json.loads((stopped / "record.json").read_text())
    assert record["state"] == "complete"
    failed = project.call(
        "submit", "tiny", "--run", stopped.name, "--set", f"train.epochs={record['epochs'] + 1}", *TOO_MANY,
        "--backend", "ray", "--address", url, "--wait",
    )  # fmt: skip
    assert failed.returncode == 1, failed.stderr
    assert project.call("logs", stopped.name, "-f").returncode == 1


def test_no_secret_went_to_ray(project: Project, stopped: Path) -> None:
    """Neither its session folder nor the run folder holds the token of wandb."""
    found = []
    for folder in [stopped, *Path(tempfile.gettempdir()).glob("vjray-*")]:
        for path in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # Ray, which runs, removed it
                if path.is_file() and not path.is_symlink() and KEY.encode() in path.read_bytes():
                    found.append(path)
    assert found == []


def test_ctrl_c_while_waiting_leaves_it_running(project: Project, url: str, stopped: Path) -> None:
    ray = ("--backend", "ray", "--address", url)
    waiter = project.start("submit", "tiny", *ray, "--set", "train.epochs=400", "--wait")
    wait_until(lambda: len(project.runs()) == 2, "the run", 300)
    run = project.runs()[-1]
    wait_until((run / "attempts" / "0001" / "claim.json").exists, "the attempt", 300)
    os.kill(waiter.pid, signal.SIGINT)
    _, err = waiter.communicate(timeout=300)
    assert waiter.returncode == 130, err
    assert f"visionjobs cancel {run.name}" in err
    assert project.call("cancel", run.name, "--now").returncode == 0
    wait_until(lambda: json.loads((run / "record.json").read_text())["state"] == "interrupted", "its end", 300)
