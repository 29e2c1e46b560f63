"""A run is submitted twice at once, or where it goes on already: one goes on, and what belongs to it is left alone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cluster_hands import Hands, stamp
from submit_lab import Ended, Lab, some_run

from visionjobs.cluster.apply import apply_job, remove_ended
from visionjobs.cluster.client import Cluster
from visionjobs.cluster.kubeconfig import connect
from visionjobs.cluster.state import find_job
from visionjobs.errors import UserError
from visionjobs.runs import Run, request_stop
from visionjobs.settings import ClusterSettings

pytestmark = [pytest.mark.apiserver, pytest.mark.s3, pytest.mark.slow]

Object = dict[str, Any]


def meanwhile(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], then: Callable[[], None] | None = None
) -> None:
    """`act` once, when a submit has made its NetworkPolicy and is about to make its RayJob; then `then`."""
    real, begun = Cluster.create, [False]

    def create(self: Cluster, obj: Object) -> Object:
        if obj["kind"] == "RayJob" and not begun[0]:
            begun[0] = True
            act()
            if then is not None:
                then()
        return real(self, obj)

    monkeypatch.setattr(Cluster, "create", create)


@pytest.fixture
def run(lab: Lab) -> Run:
    """One that was interrupted."""
    return some_run(lab.root, "interrupted")


@pytest.fixture
def other(lab: Lab, run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Bob submits the run, and then asks it to stop."""

    def submit() -> None:
        with monkeypatch.context() as theirs:
            theirs.setenv("VISIONJOBS_OWNER", "bob")
            ended = lab.run("submit", "--run", run.id)
        assert ended.status == 0, ended.err
        request_stop(run.store, "bob cancelled it")

    return submit


def check_is_bobs(lab: Lab, run: Run, ended: Ended) -> None:
    """All that there is is of Bob's submit, which a second one that has ended so did not change."""
    assert ended.out == ""
    (rayjob,) = lab.objects("rayjobs")
    (policy,) = lab.objects("networkpolicies")
    assert rayjob["metadata"]["labels"]["visionjobs/owner"] == "bob"
    assert [owner["uid"] for owner in policy["metadata"]["ownerReferences"]] == [rayjob["metadata"]["uid"]]
    assert json.loads(run.store.read("submission.json"))["owner"] == "bob"
    assert run.store.exists("stop.json")


def test_of_two_at_once_one_gets_the_name(
    lab: Lab, run: Run, other: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(lab, monkeypatch, other)
    ended = lab.run("submit", "--run", run.id)
    assert ended.status == 2
    assert f"another submit of {run.id} was faster" in ended.err
    check_is_bobs(lab, run, ended)


def test_one_that_is_refused_leaves_the_others_policy(
    lab: Lab, run: Run, other: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise UserError("exceeded quota")

    meanwhile(lab, monkeypatch, other, refuse)
    ended = lab.run("submit", "--run", run.id)
    assert (ended.status, "exceeded quota" in ended.err) == (2, True)
    check_is_bobs(lab, run, ended)


def test_ctrl_c_leaves_the_others_job(
    lab: Lab, run: Run, other: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(lab, monkeypatch, other, lambda: os.kill(os.getpid(), signal.SIGINT))
    ended = lab.run("submit", "--run", run.id)
    assert ended.status == 130
    check_is_bobs(lab, run, ended)


def test_a_policy_that_another_took_back_is_made_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_back() -> None:
        (policy,) = lab.objects("networkpolicies")
        lab.server.delete("networkpolicies", lab.namespace, policy["metadata"]["name"])

    meanwhile(lab, monkeypatch, take_back)
    run_id = lab.submitted()
    (owner,) = lab.server.get("networkpolicies", lab.namespace, run_id)["metadata"]["ownerReferences"]
    assert owner["uid"] == lab.server.get("rayjobs", lab.namespace, run_id)["metadata"]["uid"]


def test_a_failed_submit_does_not_ask_the_run_to_go_on(lab: Lab, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    request_stop(run.store, "ada cancelled it")

    def refuse() -> None:
        raise UserError("exceeded quota")

    meanwhile(lab, monkeypatch, refuse)
    assert lab.run("submit", "--run", run.id).status == 2
    assert run.store.exists("stop.json")
    assert not run.store.exists("submission.json")
    assert not lab.objects("networkpolicies")


def test_only_the_job_that_has_ended_is_put_aside(lab: Lab, hands: Hands) -> None:
    """Both saw it: the slower one must not delete what the faster one has made in its place."""
    run_id = lab.submitted()
    hands.rayjob(run_id, jobDeploymentStatus="Failed", jobStatus="FAILED", endTime=stamp())
    cluster = connect(ClusterSettings.from_env())
    seen = find_job(cluster, run_id)
    assert seen is not None
    assert seen.ended
    objects = [cluster.get(kind, run_id) for kind in ("NetworkPolicy", "RayJob")]
    time.sleep(1.1)  # times of creation are in whole seconds
    remove_ended(cluster, seen)
    assert not lab.objects("rayjobs")
    assert not lab.objects("networkpolicies")
    metadata = {"name": run_id}
    parts = ("apiVersion", "kind", "spec")
    apply_job(cluster, [{part: obj[part] for part in parts} | {"metadata": metadata} for obj in objects if obj])
    remove_ended(cluster, seen)
    assert len(lab.objects("rayjobs")) == len(lab.objects("networkpolicies")) == 1


def begin(lab: Lab, pod: dict[str, str] | None) -> Run:
    """A run that was submitted here, whose last attempt says that it trains."""
    run = Run(run_id := lab.submitted(), lab.root.at("runs", run_id))
    where = {"pod": pod} if pod else {"hardware": {"host": "a-workstation"}}
    attempt = run.claim("attempt", {"gpus": 0} | where)
    attempt.update_record(run=run.id, job="tiny", state="running", epochs=2)
    return run


def fail(lab: Lab, hands: Hands, run: Run) -> None:
    hands.rayjob(run.id, jobDeploymentStatus="Failed", jobStatus="FAILED", endTime=stamp())


def delete(lab: Lab, hands: Hands, run: Run) -> None:
    del hands
    lab.server.delete("rayjobs", lab.namespace, run.id)


@pytest.mark.parametrize("end", [fail, delete])
def test_a_run_that_was_killed_on_this_cluster_goes_on_at_once(
    lab: Lab, hands: Hands, end: Callable[[Lab, Hands, Run], None]
) -> None:
    run = begin(lab, {"backend": "rayjob", "pod": "head"})
    live = lab.run("submit", "--run", run.id)
    assert (live.status, live.out) == (2, "")
    assert f"nothing was submitted: name: {run.id} is on the cluster already" in live.err, "and that alone"
    end(lab, hands, run)
    ended = lab.run("submit", "--run", run.id)
    assert ended.status == 0, ended.err


def test_a_run_that_goes_on_elsewhere_is_not_taken_over(
    lab: Lab, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(lab, None)  # by `visionjobs run --run`, after its job here had ended
    fail(lab, hands, run)
    request_stop(run.store, "ada cancelled it")
    before = run.store.read("submission.json")
    ended = lab.run("submit", "--run", run.id)
    assert (ended.status, ended.out) == (2, "")
    assert f"run: {run.id} is running on a-workstation" in ended.err
    assert f"visionjobs cancel {run.id}" in ended.err
    assert run.store.exists("stop.json")
    assert run.store.read("submission.json") == before
    note = json.loads(before) | {"server": "https://another.example:6443"}
    run.store.write("submission.json", json.dumps(note))
    claim = json.loads(run.store.read("attempts/0001/claim.json"))
    claim["info"]["pod"] = {"backend": "rayjob"}
    run.store.write("attempts/0001/claim.json", json.dumps(claim))
    assert "is running on a-workstation" in lab.run("submit", "--run", run.id).err, "in pods of another cluster"
    claim["started"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    run.store.write("attempts/0001/claim.json", json.dumps(claim))
    silent = lab.run("submit", "--run", run.id)
    assert silent.status == 0, silent.err
    assert not run.store.exists("stop.json")
