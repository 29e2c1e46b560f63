"""`visionjobs logs` where the cluster goes away, does not let one in, or loses the job, on a real API server."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from apiserver import ApiServer
from cluster_hands import Hands
from cluster_jobs import Commands, batch_job, begin_run, wait_for
from kubelet_stub import Kubelet

from visionjobs.cluster import follow

pytestmark = [pytest.mark.apiserver, pytest.mark.slow]


@pytest.fixture
def command(
    apiserver: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Commands:  # fmt: skip
    """Looks at the cluster five times a second."""
    apiserver.use(monkeypatch)
    monkeypatch.setenv("VISIONJOBS_NAMESPACE", namespace)
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.2)
    return Commands(monkeypatch, capfdbinary, str(tmp_path / "storage"))


def test_a_broken_connection_costs_and_repeats_no_line(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    apiserver.create(batch_job("eval", kind="evaluate"), namespace)
    pod = hands.job_pod("eval")
    log = kubelet.log(namespace, pod, "job")
    hands.run_pod(pod)
    hard = ["10%\r50%\r100%\n", "x" * 300_000 + "\n", "\udcff\udcfe no UTF-8\n", "\n", "twice\n", "twice\n"]

    def write(lines: list[str]) -> None:
        with log.changed:
            log.lines += [(datetime.now(UTC), line) for line in lines]
            log.changed.notify_all()

    def script() -> None:
        write(hard)
        for number in range(3):
            log.wait_for_reader()
            log.write(f"before the break {number}\n")
            time.sleep(0.05)
            log.cut()
            wait_for(lambda: log.readers == 0, "the reader to go")
            log.write(f"while it was broken {number}\n")
            log.over = ""
        log.wait_for_reader()
        write(["the end, unfinished"])
        log.end()
        hands.end_pod(pod, 0)
        hands.end_job("eval", succeeded=True)

    ended = command("logs", "eval", "-f", script=script)
    numbered = [f"{when} {number}\n" for number in range(3) for when in ("before the break", "while it was broken")]
    wanted = "".join([*hard, *numbered, "the end, unfinished"]).encode(errors="surrogateescape")
    assert ended.out == wanted
    assert ended.status == 0, ended.err


def test_a_server_that_goes_away_is_waited_for(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    log = kubelet.log(namespace, pod, "job")
    hands.run_pod(pod)

    def script() -> None:
        log.write("before\n")
        log.wait_for_reader()
        time.sleep(1)  # the line is on its way
        with apiserver.away():
            time.sleep(0.5)
            log.write("meanwhile\n")
        time.sleep(0.3)
        log.write("after\n")
        log.end()
        hands.end_pod(pod, 1)
        hands.end_job("one", succeeded=False)

    ended = command("logs", "one", "-f", script=script)
    assert ended.out == b"before\nmeanwhile\nafter\n"
    assert ended.status == 1, ended.err
    assert "does not answer" in ended.err
    assert "The cluster answers again." in ended.err


def test_a_server_that_stays_away_ends_it_with_4(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 1.0)
    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    log = kubelet.log(namespace, pod, "job")
    hands.run_pod(pod)

    def script() -> None:
        log.write("before\n")
        log.wait_for_reader()
        time.sleep(0.3)
        apiserver.stop("apiserver")

    ended = command("logs", "one", "-f", script=script)
    assert (ended.status, ended.out) == (4, b"before\n")
    assert "Trying again for 1 seconds" in ended.err
    assert re.search("error: the cluster .*does not answer", ended.err)
    begin_run(command.storage, "one").write("logs/driver.log", "stored before it went\n")
    stored = command("logs", "one")
    assert (stored.status, stored.out) == (0, b"stored before it went\n")
    assert re.search("warning: the cluster .*does not answer", stored.err)
    assert command("logs", "two").status == 4, "whether there is such a run cannot be told"


def test_a_job_that_is_deleted_meanwhile_ends_it(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    begin_run(command.storage, "one")
    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    log = kubelet.log(namespace, pod, "job")
    hands.run_pod(pod)

    def script() -> None:
        log.write("before\n")
        log.wait_for_reader()
        apiserver.delete("jobs", namespace, "one")
        log.write("its last words\n")
        log.end()
        apiserver.delete("pods", namespace, pod)

    ended = command("logs", "one", "-f", script=script)
    assert ended.out == b"before\nits last words\n"
    assert ended.status == 1
    assert "was deleted from the cluster" in ended.err


def test_who_may_not_read_is_told_which_role(apiserver: ApiServer, namespace: str, command: Commands) -> None:
    apiserver.create(batch_job("one"), namespace)
    apiserver.use(command.monkeypatch, apiserver.user(namespace, "nobody"))
    denied = command("logs", "one", "-f")
    assert (denied.status, denied.out) == (2, b"")
    assert "visionjobs-submitter" in denied.err


def test_a_name_that_nobody_knows(command: Commands) -> None:
    begin_run(command.storage, "tiny-20260101-000000-abcd")
    wrong = command("logs", "tiny-20260101-000000-abce")
    assert wrong.status == 2
    assert 'Did you mean "tiny-20260101-000000-abcd"?' in wrong.err
    assert "Nor is it on the cluster" in wrong.err
