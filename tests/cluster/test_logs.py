"""Parts of `logs` and `dashboard` without a cluster: which lines are new, whose log it is, what a run has stored."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from cluster_jobs import Commands, begin_run

from visionjobs.cluster.client import Cluster
from visionjobs.cluster.dashboard import head_pod, token_command
from visionjobs.cluster.follow import driver_pods, named_pod
from visionjobs.cluster.logs import SeenLines
from visionjobs.cluster.outcome import exit_status
from visionjobs.cluster.run_status import RunStatus
from visionjobs.cluster.state import JobState, PodState
from visionjobs.errors import UserError
from visionjobs.runs import open_run, stop_requested
from visionjobs.storage import open_store

DAY = "2026-01-31T12:00:"


def take(seen: SeenLines, stamped: Iterable[bytes]) -> list[bytes]:
    seen.since()
    return [line for one in stamped if (line := seen.new(one)) is not None]


def test_lines_that_come_again_are_left_out() -> None:
    seen = SeenLines()
    assert seen.since() is None
    lines = [
        f"{DAY}01.000000001Z a\n", f"{DAY}02.5Z twice\n", f"{DAY}02.5Z twice\n", f"{DAY}02.5Z other\n",
    ]  # fmt: skip
    stamped = [line.encode() for line in lines]
    assert take(seen, stamped) == [b"a\n", b"twice\n", b"twice\n", b"other\n"]
    assert seen.since() == f"{DAY}01Z", "a second before the newest, in whole seconds"
    more = [*stamped, f"{DAY}02.5Z twice\n".encode(), f"{DAY}03Z b\n".encode()]
    assert take(seen, more) == [b"twice\n", b"b\n"]
    assert take(seen, more[1:]) == [], "the server leaves out what is before `since`"


def test_times_may_step_back_and_have_any_zone() -> None:
    seen = SeenLines()
    lines = [f"{DAY}05.2Z out\n".encode(), f"{DAY}04.9Z err\n".encode(), b"2026-01-31T14:00:05.3+02:00 zone\n"]
    assert take(seen, lines) == [b"out\n", b"err\n", b"zone\n"]
    assert seen.since() == f"{DAY}04Z"
    assert take(seen, lines) == []


def test_lines_are_kept_as_they_are_and_a_kubelets_own_word_too() -> None:
    seen = SeenLines()
    lines = [f"{DAY}01Z ".encode() + rest for rest in (b"\xff\xfe\n", b"\n", b" two  blanks \r\n", b"no end")]
    assert take(seen, lines) == [b"\xff\xfe\n", b"\n", b" two  blanks \r\n", b"no end"]
    word = b"unable to retrieve container logs for containerd://1\n"
    assert take(seen, [word]) == [word]
    assert take(SeenLines(), [word, word]) == [word, word]


def test_what_is_remembered_is_bounded() -> None:
    seen = SeenLines()
    take(seen, (f"2026-01-31T12:{i // 60:02}:{i % 60:02}Z x\n".encode() for i in range(3000)))
    assert len(seen._recent) < 5


def pod(name: str, role: str, created: str = f"{DAY}00Z", **changes: Any) -> PodState:
    values: dict[str, Any] = {"phase": "Running", "reason": None, "node": "n", "container": "c", "started": created}
    return PodState(name=name, role=role, created=created, ended=False, **(values | changes))


def job(*pods: PodState, **changes: Any) -> JobState:
    values: dict[str, Any] = {"phase": "running", "reasons": [], "started": None, "finished": None, "retries": 0}
    values |= {"backend": "rayjob", "kind": "run", "job": "tiny", "owner": "jane", "created": f"{DAY}00Z"}
    return JobState(name="one", pods=list(pods), **(values | changes))


def test_whose_log_is_the_drivers() -> None:
    head, worker = pod("h", "head"), pod("w", "worker")
    waiting = pod("s", "submitter", started=None)
    assert driver_pods(job(worker, head, waiting)) == [head], "as long as there is no submitter"
    submitter = pod("s", "submitter")
    assert driver_pods(job(worker, head, submitter)) == [submitter]
    late, early = pod("b", "job", f"{DAY}09Z"), pod("a", "job", f"{DAY}01Z")
    assert driver_pods(job(late, early)) == [early, late]
    assert driver_pods(job(worker)) == []
    assert named_pod(job(head, worker), "w") is worker
    with pytest.raises(UserError, match="its pods: h, w"):
        named_pod(job(head, worker), "x")


def test_the_head_that_has_the_dashboard() -> None:
    old, new = pod("a", "head"), pod("b", "head", f"{DAY}05Z")
    assert head_pod(job(pod("w", "worker"), old, new)) is new
    assert head_pod(job(old, pod("b", "head", started=None, phase="Pending"))) is old
    assert head_pod(job(pod("w", "worker"), pod("s", "submitter"))) is None


class OnePod(Cluster):
    """A cluster of which only one pod is asked."""

    def __init__(self, obj: dict[str, Any]) -> None:
        super().__init__(api=None, namespace="team", server="")  # type: ignore[arg-type]
        object.__setattr__(self, "obj", obj)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.obj  # type: ignore[attr-defined,no-any-return]


def test_the_command_that_prints_the_token_names_the_operators_secret() -> None:
    secret = {"secretKeyRef": {"name": "its own", "key": "auth_token"}}
    env = [{"name": "RAY_AUTH_TOKEN", "valueFrom": secret}]
    told = {"metadata": {}, "spec": {"containers": [{"name": "c", "env": env}]}}
    assert token_command(OnePod(told), pod("h", "head"), None) == (
        "kubectl -n team get secret 'its own' -o 'jsonpath={.data.auth_token}' | base64 -d"
    )
    long = {"metadata": {"labels": {"ray.io/cluster": "r" * 3 + "1" + "x" * 49}}, "spec": {"containers": []}}
    command = token_command(OnePod(long), pod("h", "head"), "prod")
    assert command.startswith(f"kubectl --context prod -n team get secret r{'x' * 49} -o ")
    assert token_command(OnePod({}), pod("p", "job"), None) == "kubectl -n team exec p -c c -- cat /cache/ray/token"


@pytest.mark.parametrize(
    ("state", "phase", "finished", "status"),
    [
        ("complete", "succeeded", f"{DAY}30+00:00", 0),
        ("complete", "failed", f"{DAY}30+00:00", 0),  # Ray failed as it ended
        ("complete", "failed", "2026-01-30T00:00:00+00:00", 1),  # trained further, and never begun
        ("failed", "failed", f"{DAY}30+00:00", 3),
        ("interrupted", "failed", f"{DAY}30+00:00", 1),
        ("running", "failed", None, 1),  # killed
    ],
)
def test_the_record_tells_how_a_run_ended(tmp_path: Path, state: str, phase: str, finished: str, status: int) -> None:
    begin_run(str(tmp_path), "one", state, finished=finished)
    assert exit_status(open_run(open_store(str(tmp_path)), "one"), job(phase=phase)) == status


def test_without_a_record_the_objects_phase_tells() -> None:
    assert [exit_status(None, job(phase=phase)) for phase in ("succeeded", "failed")] == [0, 1]
    assert exit_status(None, None) == 1


@pytest.mark.parametrize(("phase", "status"), [("succeeded", 0), ("failed", 1)])
def test_of_an_evaluation_status_tells_the_same(phase: str, status: int) -> None:
    state = job(phase=phase, kind="evaluate")
    assert RunStatus("eval", None, state, {}, "team").exit_status == exit_status(None, state) == status


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Commands:
    """Without a cluster."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Commands(monkeypatch, capfdbinary, str(tmp_path / "storage"))


def test_stored_logs_of_all_attempts_and_of_one(command: Commands) -> None:
    begin_run(command.storage, "one", "interrupted").write("logs/driver.log", b"first \xff\r\n")
    second = begin_run(command.storage, "one", "complete")
    second.write("logs/driver.log", b"second\n")
    second.write("logs/ray/10.0.0.1/gcs_server.out", "x")
    shown = command("logs", "one")
    assert (shown.status, shown.out) == (0, b"first \xff\r\nsecond\n")
    assert "Attempt 1:" in shown.err
    assert f"attempt 2 (1 files): {second.store.address}/logs/ray" in shown.err
    assert command("logs", "one", "--attempt", "2").out == b"second\n"
    assert command("logs", "one", "-f").status == 0
    assert command("logs", "one", "--attempt", "9").status == 2


def test_a_run_that_stored_no_log_says_so(command: Commands) -> None:
    here = begin_run(command.storage, "here")
    local = command("logs", "here")
    assert (local.status, local.out) == (2, b"")
    assert "it ran on the machine it was started on" in local.err
    here.write_shared("submission.json", '{"backend": "job"}')
    assert "it has not begun" in command("logs", "here").err
    here.write_shared("submission.json", "{")
    broken = command("logs", "here")
    assert broken.status == 2
    assert "submission.json" in broken.err


@pytest.mark.parametrize(
    "arguments", [("--attempt", "1", "-f"), ("--attempt", "1", "--all"), ("--all", "--pod", "p"), ("--pod", "p")]
)
def test_options_that_do_not_go_together(command: Commands, arguments: tuple[str, ...]) -> None:
    begin_run(command.storage, "one").write("logs/driver.log", "x")
    assert command("logs", "one", *arguments).status == 2


@pytest.mark.parametrize(
    ("submission", "again"),
    [(None, "run tiny --run one"), ({"backend": "job", "namespace": "team"}, "submit tiny --run one --backend job"),
     ({"backend": "rayjob"}, "submit tiny --run one")],
)  # fmt: skip
def test_how_to_continue_is_told_by_where_it_was(
    command: Commands, submission: dict[str, str] | None, again: str
) -> None:
    attempt = begin_run(command.storage, "one", "interrupted")
    attempt.write("logs/driver.log", "x")
    if submission:
        attempt.write_shared("submission.json", json.dumps(submission))
    for verb in (("cancel", "one"), ("logs", "one", "-f")):
        assert f"Continue with: visionjobs {again}\n" in command(*verb).err


def test_cancel_now_of_a_run_that_is_not_on_the_cluster_does_not_wait(command: Commands) -> None:
    run = begin_run(command.storage, "one").run
    begin = time.monotonic()
    ended = command("cancel", "one", "--now")
    assert time.monotonic() - begin < 5
    assert ended.status == 0
    assert "where it still runs it stops at its next step" in ended.err
    assert "Continue with: visionjobs run tiny --run one" in ended.err
    assert stop_requested(run.store) == "jane cancelled it"


def test_cancel_and_dashboard_of_runs_that_are_on_no_cluster(command: Commands) -> None:
    begin_run(command.storage, "one", "complete")
    done = command("cancel", "one")
    assert done.status == 0
    assert "The run is complete" in done.err
    assert command("cancel", "two").status == 2
    assert command("dashboard", "one").status == 1
    assert command("dashboard", "two").status == 2
    begin_run(command.storage, "one").write_shared(
        "submission.json", '{"backend": "ray", "address": "http://10.0.0.1:8265"}'
    )
    assert command("dashboard", "one").out == b"http://10.0.0.1:8265\n"
