"""`visionjobs cancel` against a real API server, in each phase of a job."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from apiserver import ApiRefusalError, ApiServer
from cluster_hands import Hands
from cluster_jobs import Commands, batch_job, begin_run, policy, rayjob, wait_for

from visionjobs.cluster import cancel
from visionjobs.runs import open_run, stop_requested
from visionjobs.storage import open_store

pytestmark = pytest.mark.apiserver


@pytest.fixture
def command(
    apiserver: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Commands:  # fmt: skip
    """Looks at the run five times a second."""
    apiserver.use(monkeypatch)
    monkeypatch.setenv("VISIONJOBS_NAMESPACE", namespace)
    monkeypatch.setattr(cancel, "LOOK_SECONDS", 0.2)
    return Commands(monkeypatch, capfdbinary, str(tmp_path / "storage"))


def is_there(apiserver: ApiServer, plural: str, namespace: str, name: str) -> bool:
    try:
        apiserver.get(plural, namespace, name)
    except ApiRefusalError as refusal:
        assert refusal.status == 404
        return False
    return True


def asked_to_stop(command: Commands, name: str) -> str | None:
    return stop_requested(open_run(open_store(command.storage), name).store)


def running_rayjob(apiserver: ApiServer, namespace: str, hands: Hands, name: str) -> None:
    apiserver.create(policy(name), namespace)
    apiserver.create(rayjob(name), namespace)
    pods = hands.start_rayjob(name)
    hands.run_pod(pods.head)
    hands.run_pod(pods.submitter)
    hands.rayjob(name, jobDeploymentStatus="Running", jobStatus="RUNNING")


def test_one_that_has_not_begun_is_deleted_at_once(apiserver: ApiServer, namespace: str, command: Commands) -> None:
    queued = rayjob("queued")
    queued["spec"]["suspend"] = True
    queued["spec"]["shutdownAfterJobFinishes"] = True
    apiserver.create(queued, namespace)
    apiserver.create(policy("queued"), namespace)
    apiserver.create(batch_job("pending"), namespace)
    for name, plural in [("queued", "rayjobs"), ("pending", "jobs")]:
        begin_run(command.storage, name, "interrupted")
        ended = command("cancel", name)
        assert (ended.status, ended.out) == (0, b""), ended.err
        assert f"{name} was {name}, and is deleted" in ended.err
        assert f"visionjobs submit tiny --run {name}" in ended.err
        assert not is_there(apiserver, plural, namespace, name)
        assert not is_there(apiserver, "networkpolicies", namespace, name)
        assert asked_to_stop(command, name) is None
        again = command("cancel", name)
        assert again.status == 0
        assert f"Nothing of run {name} is on the cluster; its state: interrupted" in again.err


def test_a_running_one_stops_with_a_checkpoint_first(
    apiserver: ApiServer, namespace: str, hands: Hands, command: Commands
) -> None:
    attempt = begin_run(command.storage, "one")
    running_rayjob(apiserver, namespace, hands, "one")
    there_while_it_stopped: list[bool] = []

    def script() -> None:
        wait_for(lambda: asked_to_stop(command, "one"), "the request to stop")
        time.sleep(0.5)
        there_while_it_stopped.append(is_there(apiserver, "rayjobs", namespace, "one"))
        attempt.update_record(state="interrupted")

    ended = command("cancel", "one", script=script)
    assert ended.status == 0, ended.err
    assert there_while_it_stopped == [True]
    assert "waiting for at most 120 s" in ended.err, "the grace of its pods"
    assert asked_to_stop(command, "one") == "jane cancelled it"
    assert not is_there(apiserver, "rayjobs", namespace, "one")
    assert not is_there(apiserver, "networkpolicies", namespace, "one")
    assert "visionjobs submit tiny --run one" in ended.err


def test_one_that_completes_meanwhile_is_not_to_be_continued(
    apiserver: ApiServer, namespace: str, hands: Hands, command: Commands
) -> None:
    attempt = begin_run(command.storage, "one")
    apiserver.create(batch_job("one"), namespace)
    hands.run_pod(hands.job_pod("one"))

    def script() -> None:
        wait_for(lambda: asked_to_stop(command, "one"), "the request to stop")
        attempt.update_record(state="complete")

    ended = command("cancel", "one", script=script)
    assert ended.status == 0
    assert "The run is complete" in ended.err
    assert "--run" not in ended.err
    assert not is_there(apiserver, "jobs", namespace, "one")


def test_one_that_is_too_slow_is_deleted_after_the_grace(
    apiserver: ApiServer, namespace: str, hands: Hands, command: Commands
) -> None:
    begin_run(command.storage, "one")
    running_rayjob(apiserver, namespace, hands, "one")
    begin = time.monotonic()
    ended = command("cancel", "one", "--grace", "1")
    assert 1 <= time.monotonic() - begin < 15
    assert ended.status == 0, ended.err
    assert "has not stopped within 1 s" in ended.err
    assert not is_there(apiserver, "rayjobs", namespace, "one")


def test_now_does_not_wait_and_gives_the_policy_to_the_pods(
    apiserver: ApiServer, namespace: str, hands: Hands, command: Commands
) -> None:
    begin_run(command.storage, "one")
    running_rayjob(apiserver, namespace, hands, "one")
    job = apiserver.get("rayjobs", namespace, "one")
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "one", "uid": job["metadata"]["uid"]}
    apiserver.patch("networkpolicies", namespace, "one", {"metadata": {"ownerReferences": [owner]}})
    ended = command("cancel", "one", "--now")
    assert ended.status == 0
    assert asked_to_stop(command, "one") is None
    assert not is_there(apiserver, "rayjobs", namespace, "one")
    owners = apiserver.get("networkpolicies", namespace, "one")["metadata"]["ownerReferences"]
    assert {owner["kind"] for owner in owners} == {"Pod"}, "its pods may still write a checkpoint; the RayJob is gone"
    uids = {owner["uid"] for owner in owners}
    owning = [pod for pod in apiserver.items("pods", namespace) if pod["metadata"]["uid"] in uids]
    assert {pod["metadata"]["labels"]["visionjobs/role"] for pod in owning} == {"head", "worker"}


def test_it_is_ended_in_the_namespace_that_it_was_submitted_to(
    apiserver: ApiServer, namespace: str, hands: Hands, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever VISIONJOBS_NAMESPACE says by now: it must not be told that nothing runs."""
    run = begin_run(command.storage, "one").run
    server = apiserver.client().configuration.host
    run.store.write("submission.json", json.dumps({"backend": "rayjob", "namespace": namespace, "server": server}))
    running_rayjob(apiserver, namespace, hands, "one")
    monkeypatch.setenv("VISIONJOBS_NAMESPACE", "default")
    told = command("status", "one", "--json")
    assert json.loads(told.out)["namespace"] == namespace, told.err
    ended = command("cancel", "one", "--grace", "1")
    assert ended.status == 0, ended.err
    assert not is_there(apiserver, "rayjobs", namespace, "one")


def test_a_run_of_another_cluster_is_not_said_to_be_nowhere(
    apiserver: ApiServer, namespace: str, command: Commands
) -> None:
    run = begin_run(command.storage, "one").run
    where = {"backend": "rayjob", "namespace": namespace, "server": "https://other.example"}
    run.store.write("submission.json", json.dumps(where))
    ended = command("cancel", "one")
    assert ended.status == 2
    assert "it was submitted to https://other.example" in ended.err
    told = command("status", "one")
    assert "https://other.example" in told.err


def test_one_that_has_ended_and_an_evaluation(
    apiserver: ApiServer, namespace: str, hands: Hands, command: Commands
) -> None:
    begin_run(command.storage, "one", "complete")
    apiserver.create(batch_job("one"), namespace)
    hands.end_job("one", succeeded=True)
    ended = command("cancel", "one")
    assert ended.status == 0
    assert "one had ended (succeeded): it is deleted" in ended.err
    apiserver.create(batch_job("eval", kind="evaluate"), namespace)
    hands.run_pod(hands.job_pod("eval"))
    ended = command("cancel", "eval")
    assert ended.status == 0, ended.err
    assert "eval was running, and is deleted" in ended.err
    assert "--run" not in ended.err
    assert not is_there(apiserver, "jobs", namespace, "eval")


def test_a_run_that_the_cluster_does_not_know_is_asked_too(command: Commands) -> None:
    attempt = begin_run(command.storage, "one")

    def script() -> None:
        wait_for(lambda: asked_to_stop(command, "one"), "the request to stop")
        attempt.update_record(state="interrupted")

    assert command("cancel", "one", script=script).status == 0
    attempt.update_record(state="running")
    slow = command("cancel", "one", "--grace", "0")
    assert slow.status == 1
    assert "visionjobs run tiny --run one" in slow.err


def test_who_may_only_look_is_refused_before_the_run_is_asked_to_stop(
    apiserver: ApiServer, namespace: str, hands: Hands, command: Commands
) -> None:
    begin_run(command.storage, "one")
    running_rayjob(apiserver, namespace, hands, "one")
    rules = "--resource=pods,events,jobs.batch,rayjobs.ray.io,networkpolicies.networking.k8s.io"
    apiserver.kubectl("-n", namespace, "create", "role", "reader", "--verb=get,list", rules)
    for role in ("reader", None):
        apiserver.use(command.monkeypatch, apiserver.user(namespace, f"with-{role}".lower(), role))
        denied = command("cancel", "one")
        assert denied.status == 2, denied.err
        assert "visionjobs-submitter" in denied.err
    assert asked_to_stop(command, "one") is None
    assert is_there(apiserver, "rayjobs", namespace, "one")


def test_neither_a_name_that_nobody_knows_nor_a_cluster_that_is_away(apiserver: ApiServer, command: Commands) -> None:
    assert command("cancel", "two").status == 2
    begin_run(command.storage, "one")
    config: dict[str, object] = {"apiVersion": "v1", "kind": "Config", "current-context": "gone"}
    config["clusters"] = [{"name": "gone", "cluster": {"server": "https://127.0.0.1:9"}}]
    config["contexts"] = [{"name": "gone", "context": {"cluster": "gone", "user": "gone"}}]
    config["users"] = [{"name": "gone", "user": {"token": "x"}}]
    path = Path(command.storage).parent / "gone.json"
    path.write_text(json.dumps(config))
    command.monkeypatch.setenv("KUBECONFIG", str(path))
    away = command("cancel", "one")
    assert away.status == 4
    assert "does not answer" in away.err
    assert asked_to_stop(command, "one") is None
