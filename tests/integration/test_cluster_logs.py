"""`visionjobs logs` against a real API server: over retries, broken connections, and where there is nothing yet."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from apiserver import ApiServer
from cluster_hands import Hands
from cluster_jobs import Commands, batch_job, begin_run, rayjob
from kubelet_stub import ContainerLog, Kubelet

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


def test_followed_from_before_there_is_a_pod_and_over_a_retry(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    apiserver.create(rayjob("one", attempt=4), namespace)
    begin_run(command.storage, "one")

    def script() -> None:
        time.sleep(0.5)
        first = hands.start_rayjob("one")
        hands.unschedulable_pod(first.head, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        time.sleep(2)
        hands.run_pod(first.head)
        hands.rayjob("one", jobDeploymentStatus="Running", jobStatus="RUNNING")
        log = kubelet.log(namespace, first.submitter, "submit")
        log.write("epoch 1\n")
        hands.run_pod(first.submitter)
        log.wait_for_reader()
        log.write("epoch 2\n")
        hands.end_pod(first.submitter, 1)
        log.end()
        time.sleep(2)
        second = hands.retry_rayjob("one", first)
        log = kubelet.log(namespace, second.submitter, "submit")
        hands.run_pod(second.head)
        hands.run_pod(second.submitter)
        log.wait_for_reader()
        log.write("epoch 3\n")
        log.end()
        hands.end_pod(second.submitter, 0)
        begin_run(command.storage, "one", "complete")
        hands.rayjob("one", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    ended = command("logs", "one", "-f", script=script)
    assert ended.out == b"epoch 1\nepoch 2\nepoch 3\n"
    assert ended.status == 0, ended.err
    assert "nvidia.com/gpu" in ended.err
    assert "Attempt 4 ended" in ended.err
    assert "one has ended: succeeded" in ended.err
    assert ended.err.count("Attempt 4 ended") == 1


def test_a_jobs_next_pod_is_followed_and_its_failure_is_the_exit_status(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    apiserver.create(batch_job("one"), namespace)
    begin_run(command.storage, "one")

    def attempt(line: str, exit_code: int) -> None:
        pod = hands.job_pod("one")
        log = kubelet.log(namespace, pod, "job")
        hands.run_pod(pod)
        log.wait_for_reader()
        log.write(line)
        log.end()
        hands.end_pod(pod, exit_code, "OOMKilled" if exit_code == 137 else "")

    def script() -> None:
        attempt("first\n", 137)
        hands.job("one", failed=1)
        time.sleep(3)  # pods are told apart by their times, in whole seconds; and it is seen that there is none
        attempt("second\n", 3)
        begin_run(command.storage, "one", "failed")
        hands.end_job("one", succeeded=False, reason="PodFailurePolicy")

    ended = command("logs", "one", "--follow", script=script)
    assert ended.out == b"first\nsecond\n"
    assert ended.status == 3, ended.err
    assert "Attempt 1 ended (" in ended.err
    assert "resources.memory" in ended.err
    assert "waiting for the next" in ended.err
    assert "Attempt 2 begins" in ended.err


def test_the_run_of_a_manifest_applied_by_hand_is_looked_for_at_the_end(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    log = kubelet.log(namespace, pod, "job")
    hands.run_pod(pod)

    def script() -> None:
        log.wait_for_reader()
        begin_run(command.storage, "one", "failed")
        log.end()
        hands.end_pod(pod, 3)
        hands.end_job("one", succeeded=False, reason="PodFailurePolicy")

    ended = command("logs", "one", "-f", script=script)
    assert ended.status == 3, ended.err


def test_an_attempt_that_came_and_went_between_two_looks_is_shown(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(follow, "LOOK_SECONDS", 4.0)
    apiserver.create(batch_job("one"), namespace)
    first = hands.job_pod("one")
    log = kubelet.log(namespace, first, "job")
    hands.run_pod(first)

    def script() -> None:
        log.wait_for_reader()
        log.write("first\n")
        log.end()
        time.sleep(1.1)
        second = hands.job_pod("one")
        kubelet.log(namespace, second, "job").write("second\n")
        kubelet.log(namespace, second, "job").end()
        hands.end_pod(first, 1)
        hands.end_pod(second, 0)
        hands.end_job("one", succeeded=True)

    ended = command("logs", "one", "-f", script=script)
    assert (ended.status, ended.out) == (0, b"first\nsecond\n"), ended.err


def test_a_submitter_that_is_begun_anew_is_no_new_attempt(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    apiserver.create(rayjob("one"), namespace)
    pods = hands.start_rayjob("one")
    hands.run_pod(pods.head)
    hands.rayjob("one", jobDeploymentStatus="Running", jobStatus="RUNNING")
    first = kubelet.log(namespace, pods.submitter, "submit")
    hands.run_pod(pods.submitter)

    def script() -> None:
        first.wait_for_reader()
        first.write("epoch 1\n")
        first.end()
        hands.end_pod(pods.submitter, 1)
        time.sleep(1.1)
        again = hands.job_pod("one")
        second = kubelet.log(namespace, again, "submit")
        second.write("epoch 1\nepoch 2\n")
        hands.run_pod(again)
        second.wait_for_reader()
        second.end()
        hands.end_pod(again, 0)
        hands.rayjob("one", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    ended = command("logs", "one", "-f", script=script)
    assert ended.out == b"epoch 1\nepoch 1\nepoch 2\n"
    assert "tells the log from its beginning" in ended.err
    assert "Attempt" not in ended.err
    assert ended.status == 0, "no record can be read: the object's phase counts"


def test_without_follow_what_there_is_now(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    apiserver.create(rayjob("one"), namespace)
    waiting = command("logs", "one")
    assert (waiting.status, waiting.out) == (1, b"")
    assert "visionjobs logs one -f" in waiting.err
    pods = hands.start_rayjob("one")
    logs: dict[str, ContainerLog] = {}
    for pod, container in [(pods.head, "ray"), (pods.workers[0], "ray"), (pods.submitter, "submit")]:
        logs[pod] = kubelet.log(namespace, pod, container)
        logs[pod].write(f"of {container}\n")
    hands.run_pod(pods.head)
    assert command("logs", "one").out == b"of ray\n", "the head's, as long as there is no submitter's"
    hands.run_pod(pods.submitter)
    hands.run_pod(pods.workers[0])
    assert command("logs", "one").out == b"of submit\n"
    assert command("logs", "one", "--pod", pods.workers[0]).out == b"of ray\n"
    every = command("logs", "one", "--all").out.decode().splitlines()
    assert sorted(every) == sorted(
        [f"[{pods.head}] of ray", f"[{pods.workers[0]}] of ray", f"[{pods.submitter}] of submit"]
    )
    wrong = command("logs", "one", "--pod", "two")
    assert wrong.status == 2
    assert pods.head in wrong.err


def test_all_pods_are_followed(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    apiserver.create(rayjob("one"), namespace)
    pods = hands.start_rayjob("one")
    names = {pods.head: "ray", pods.workers[0]: "ray", pods.submitter: "submit"}

    def script() -> None:
        for pod, container in names.items():
            log = kubelet.log(namespace, pod, container)
            hands.run_pod(pod)
            log.wait_for_reader()
            log.write("hello\n")
        for pod, container in names.items():
            kubelet.log(namespace, pod, container).end()
            hands.end_pod(pod, 0)
        hands.rayjob("one", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    ended = command("logs", "one", "-f", "--all", script=script)
    assert sorted(ended.out.decode().splitlines()) == sorted(f"[{pod}] hello" for pod in names)
    assert ended.status == 0, ended.err


def test_attempts_before_are_stored_and_the_newest_is_in_its_pod(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands
) -> None:
    begin_run(command.storage, "one").write("logs/driver.log", b"stored \xff\n")
    begin_run(command.storage, "one")
    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    kubelet.log(namespace, pod, "job").write("live\n")
    hands.run_pod(pod)
    assert command("logs", "one", "--attempt", "1").out == b"stored \xff\n"
    assert command("logs", "one", "--attempt", "2").out == b"live\n"
    assert command("logs", "one").out == b"live\n"
    assert "has no attempt 3; it has: 1, 2" in command("logs", "one", "--attempt", "3").err
    apiserver.delete("pods", namespace, pod)
    apiserver.delete("jobs", namespace, "one")
    begin_run(command.storage, "one", "interrupted").write("logs/driver.log", b"third\n")
    gone = command("logs", "one", "-f")
    assert gone.out == b"stored \xff\nthird\n"
    assert gone.status == 1
    assert "visionjobs run tiny --run one" in gone.err, "nothing tells that it was submitted"
