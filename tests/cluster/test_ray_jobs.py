"""What the state of a job on a Ray that was there before makes of `status`, `cancel` and `submit --run`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cluster_jobs import Commands, begin_run
from ray_stub import RayStub

from visionjobs.cli import status as status_verb
from visionjobs.cli.submit_plans import Plan
from visionjobs.cli.submit_ray import _checks_of_ray
from visionjobs.cluster import ray_jobs
from visionjobs.cluster.check import Check
from visionjobs.cluster.outcome import exit_status
from visionjobs.cluster.ray_jobs import ray_state, submission_id
from visionjobs.cluster.submission import run_submission
from visionjobs.errors import ClusterError, UserError
from visionjobs.jobfile import build_spec
from visionjobs.runs import Run, create_run
from visionjobs.settings import Settings
from visionjobs.storage import open_store

FAILED = "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars):\n...\nerror"


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


@pytest.fixture
def ray() -> Iterator[RayStub]:
    stub = RayStub()
    yield stub
    stub.close()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Commands:
    """Without a cluster; looks ten times a second."""
    for name in ("KUBECONFIG", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(status_verb, "WATCH_SECONDS", 0.1)
    return Commands(monkeypatch, capfdbinary, str(tmp_path / "storage"))


@pytest.fixture
def submitted(command: Commands, ray: RayStub) -> Callable[..., Run]:
    """The run `one`, submitted to the Ray `ago` seconds ago as job one-1; with the `state`, in which its only attempt
    is, that began before."""

    def submitted(state: str | None = None, ago: float = 60, **record: Any) -> Run:
        root = open_store(command.storage)
        if state is None:
            tree = {"name": "tiny", "task": "classification", "model": {"name": "convnet"}, "data": {"name": "tiny"}}
            run = create_run(root, build_spec(tree, "tiny", ()), "{}", "one")
        else:
            attempt = begin_run(command.storage, "one", state, **record)
            claim = {"kind": "attempt", "started": at(-600), "info": {}}
            attempt.store.write("claim.json", json.dumps(claim))
            run = attempt.run
        note = {"backend": "ray", "address": ray.address, "submission_id": "one-1", "submitted": at(-ago)}
        run.store.write("submission.json", json.dumps(note))
        return run

    return submitted


def status(command: Commands) -> dict[str, Any]:
    told = command("status", "one", "--json")
    assert told.status == 0, told.err
    return json.loads(told.out)


def test_a_job_that_died_before_it_began_an_attempt(
    command: Commands, ray: RayStub, submitted: Callable[..., Run]
) -> None:
    submitted()
    ray.job("one-1", "FAILED", FAILED, began=-60)
    told = status(command)
    assert (told["state"], told["backend"], told["namespace"]) == ("failed to start", "ray", None)
    assert "its command ended with exit status 2: a mistake in what was asked" in told["reasons"][0]
    assert f"visionjobs submit tiny --run one --backend ray --address {ray.address}" in told["next"]
    shown = command("status", "one")
    assert f"the Ray at {ray.address}, submitted 0:01:0" in " ".join(shown.err.split())
    assert command("status", "one", "--watch").status == 1


@pytest.mark.parametrize(
    ("of_ray", "message", "state"),
    [
        ("PENDING", "Job has not started yet. It may be waiting for the runtime environment.", "starting"),
        ("RUNNING", "", "running"),
        ("STOPPED", "", "failed to start"),
    ],
)
def test_before_the_first_attempt_ray_tells(
    command: Commands, ray: RayStub, submitted: Callable[..., Run], of_ray: str, message: str, state: str
) -> None:
    submitted()
    ray.job("one-1", of_ray, message)
    told = status(command)
    assert told["state"] == state
    assert message in " ".join(told["reasons"])


def test_a_complete_run_that_is_continued_and_dies_before_it_begins(
    command: Commands, ray: RayStub, submitted: Callable[..., Run]
) -> None:
    run = submitted("complete", finished=at(-300))
    ray.job("one-1", "FAILED", "runtime_env setup failed: no space left", began=-60)
    assert exit_status(run, ray_state(ray.address, "one-1")) == 1
    told = status(command)
    assert told["state"] == "failed to start"
    assert told["reasons"] == ["it failed (runtime_env setup failed: no space left)"]
    assert command("status", "one", "--watch").status == 1
    ray.job("one-1", "RUNNING", began=-60)
    assert status(command)["state"] == "running"


def test_a_driver_that_was_killed(command: Commands, ray: RayStub, submitted: Callable[..., Run]) -> None:
    run = submitted("running", ago=700)
    ray.job("one-1", "FAILED", "its node is gone", began=-700)
    ray.jobs["one-1"]["end_time"] = int(time.time() * 1000)
    assert status(command)["state"] == "interrupted"
    assert command("status", "one", "--watch").status == 1
    assert exit_status(run, ray_state(ray.address, "one-1")) == 1


@pytest.mark.parametrize(("state", "watched"), [("complete", 0), ("failed", 3), ("interrupted", 1)])
def test_what_the_folder_tells_alone_is_not_asked_for(
    command: Commands, ray: RayStub, submitted: Callable[..., Run], state: str, watched: int
) -> None:
    """Its Ray may be gone for long."""
    submitted(state, ago=700, finished=at(-300))
    ray.close()
    shown = command("status", "one")
    assert (shown.status, "warning" in shown.err) == (0, False)
    assert command("status", "one", "--watch").status == watched
    assert ray.asked == 0


def test_a_ray_that_does_not_answer_or_let_us_in(
    command: Commands, ray: RayStub, submitted: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted()
    ray.delay = 1.0
    with monkeypatch.context() as patch:
        patch.setattr(ray_jobs, "ANSWER_SECONDS", 0.2)
        shown = command("status", "one")
    assert shown.status == 4
    assert f"warning: Ray at {ray.address} does not answer" in shown.err
    assert "not started" in shown.err
    ray.delay, ray.token = 0.0, "right"
    for token in ("", "wrong"):
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        shown = command("status", "one")
        assert shown.status == 2
        assert "RAY_AUTH_TOKEN_PATH" in shown.err
        assert "wrong" not in shown.err
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    assert command("status", "one").status == 0, "it knows no such job (any more)"
    ray.close()
    assert command("status", "one").status == 4


def test_watching_goes_on_while_ray_does_not_answer(
    command: Commands, ray: RayStub, submitted: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted()
    monkeypatch.setattr(ray_jobs, "ANSWER_SECONDS", 1.0)
    ray.job("one-1", "RUNNING")

    def script() -> None:
        time.sleep(1.0)
        ray.delay = 2.0
        time.sleep(4.0)
        ray.job("one-1", "FAILED", FAILED)
        ray.delay = 0.0

    ended = command("status", "one", "--watch", script=script)
    assert ended.status == 1
    assert ended.err.count("does not answer") == 1
    assert ended.err.rindex("failed to start") > ended.err.index("does not answer")


def test_addresses_that_are_none(ray: RayStub, command: Commands) -> None:
    assert ray_state(ray.address, "nobody") is None
    with pytest.raises(ClusterError, match="does not answer as Ray's dashboard does"):
        ray_state(f"{ray.address}/elsewhere", "one")
    with pytest.raises(UserError, match="expected the dashboard's address"):
        ray_state("ray://127.0.0.1", "one")


def test_each_submission_has_a_name_of_its_own() -> None:
    """Ray keeps those of ended jobs, and the number of attempts does not grow by one that never began."""
    names = {submission_id("tiny-1") for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("tiny-1-") for name in names)


@pytest.fixture
def checks(command: Commands) -> Callable[..., list[Check]]:
    """What `submit --run one --backend ray --address ADDRESS` asks of Ray."""

    def checks(run: Run, address: str) -> list[Check]:
        submission = run_submission(run.spec(), run.id, Settings.from_env({}))
        return _checks_of_ray(address, Plan(open_store(command.storage), submission, [], "", run=run))

    return checks


def test_a_run_whose_last_job_is_live_is_not_submitted_again(
    ray: RayStub, submitted: Callable[..., Run], checks: Callable[..., list[Check]]
) -> None:
    run = submitted("interrupted")
    assert [check.ok for check in checks(run, ray.address)] == [True]
    ray.job("one-1", "PENDING")
    (check,) = checks(run, ray.address)
    assert (check.ok, "already (starting)" in check.message) == (False, True)
    ray.job("one-1", "STOPPED")
    assert [check.ok for check in checks(run, ray.address)] == [True]


def test_another_ray_than_before(
    ray: RayStub, submitted: Callable[..., Run], checks: Callable[..., list[Check]]
) -> None:
    run, other = submitted("interrupted"), RayStub()
    ray.job("one-1", "RUNNING")
    assert [check.ok for check in checks(run, other.address)] == [True, False], "it is live on the one before"
    ray.close()
    there, before = checks(run, other.address)
    assert (there.ok, before.ok) == (True, None), "one that is gone is no reason not to go elsewhere"
    other.close()
    assert checks(run, other.address)[0].ok is False


def test_cancel_tells_how_to_continue_where_it_was(
    command: Commands, ray: RayStub, submitted: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted("interrupted")
    stopped: list[str] = []
    monkeypatch.setattr(ray_jobs, "stop_ray", lambda address, name: bool(stopped.append(name)))
    ended = command("cancel", "one")
    assert (ended.status, stopped) == (0, ["one-1"])
    assert f"Continue with: visionjobs submit tiny --run one --backend ray --address {ray.address}" in ended.err


def test_a_sweep_is_told_as_one(ray: RayStub) -> None:
    ray.job("sweep-tiny-1-1", "RUNNING", run="sweep-tiny-1")
    ray.jobs["sweep-tiny-1-1"]["metadata"]["kind"] = "sweep"
    state = ray_state(ray.address, "sweep-tiny-1-1")
    assert state is not None
    assert (state.name, state.kind) == ("sweep-tiny-1", "sweep")
