"""A sweep against a real API server and a real S3 server: submitted, followed, ended and continued."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from cluster_hands import Hands
from cluster_jobs import wait_for
from submit_lab import Lab

from visionjobs.cluster import cancel
from visionjobs.runs import Attempt, create_run, stop_requested
from visionjobs.sweeps import Sweep, open_sweep, section_of, trial_spec

pytestmark = [pytest.mark.apiserver, pytest.mark.s3]

SPACE = "sweep={metric: val_accuracy, trials: 6, space: {train.lr: {loguniform: [1e-4, 1e-2]}}}"


@pytest.fixture
def sweep(lab: Lab) -> Sweep:
    """Submitted, with three trials at once."""
    ended = lab.run("submit", "tiny", "--sweep", "--set", SPACE, "--set", "sweep.at_once=3", "--samples", "5")
    assert ended.status == 0, ended.err
    address = ended.out.splitlines()[-1]
    sweep = open_sweep(lab.root, address.rpartition("/")[2])
    assert address == sweep.store.address
    return sweep


@pytest.fixture
def running(lab: Lab, hands: Hands, sweep: Sweep) -> Attempt:
    """Its attempt in the pods, with one trial that is complete and one that runs."""
    pods = hands.start_rayjob(sweep.id)
    assert len(pods.workers) == 3
    for pod in (pods.head, *pods.workers, pods.submitter):
        hands.run_pod(pod)
    hands.rayjob(sweep.id, jobDeploymentStatus="Running", jobStatus="RUNNING")
    attempt = sweep.folder.claim("attempt", {"at_once": 3, "gpus": 0})
    attempt.update_record(state="running", job="tiny", trials=5)
    for number, (state, value) in enumerate([("complete", 0.75), ("running", 0.5)]):
        trial = sweep.add_trial(number, {"train.lr": 0.001 * (number + 1)})
        run = create_run(lab.root, trial_spec(sweep.spec(), trial.parameters), "{}", trial.run)
        begun = run.claim("attempt", {"gpus": 0})
        begun.update_record(state=state, job="tiny", epochs=2)
        rows = [{"epoch": epoch, "step": epoch + 1, "val_accuracy": value} for epoch in range(2 - number)]
        begun.store.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return attempt


def test_it_is_applied_whole(lab: Lab, sweep: Sweep) -> None:
    rayjob = lab.server.get("rayjobs", lab.namespace, sweep.id)
    policy = lab.server.get("networkpolicies", lab.namespace, sweep.id)
    (owner,) = policy["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("RayJob", rayjob["metadata"]["uid"])
    assert rayjob["metadata"]["labels"]["visionjobs/kind"] == "sweep"
    assert rayjob["spec"]["entrypoint"] == f"visionjobs attempt {sweep.id}"
    (group,) = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == 3
    assert section_of(sweep.spec()).trials == 5
    assert sweep.spec().data.version != "newest"
    assert json.loads(sweep.store.read("submission.json"))["backend"] == "rayjob"
    told = json.loads(lab.run("status", sweep.id, "--json").out)
    assert (told["kind"], told["job"], told["state"], told["trials"]) == ("sweep", "tiny", "pending", [])
    again = lab.run("submit", "--run", sweep.id)
    assert (again.status, f"{sweep.id} is on the cluster already" in again.err) == (2, True)
    twin = lab.run("submit", "tiny", "--sweep", "--set", SPACE, "--set", "sweep.at_once=3", "--samples", "5")
    assert f"{sweep.id} is of the same job with the same settings" in twin.err


def test_its_status_tells_of_its_trials(lab: Lab, sweep: Sweep, running: Attempt) -> None:
    told = lab.run("status", sweep.id)
    assert told.status == 0, told.err
    assert f"sweep {sweep.id} state running, attempt 1 of at most" in told.err
    assert "progress 1/5 trials (1 complete, 1 running)" in told.err
    assert "best val accuracy 0.7500 of trial 0" in told.err
    assert "0.001" in told.err, "the table of its trials"
    assert f"visionjobs cancel {sweep.id}" in told.err
    found: dict[str, Any] = json.loads(lab.run("status", sweep.id, "--json").out)
    assert [trial["state"] for trial in found["trials"]] == ["complete", "running"]
    assert (found["state"], found["wanted"], found["at_once"], found["epochs_done"]) == ("running", 5, 3, None)
    assert found["best"] == {"metric": "val_accuracy", "value": 0.75, "trial": 0}
    assert found["cluster"]["kind"] == "sweep"
    every = lab.run("status")
    assert "1/5 trials" in every.err
    one = json.loads(lab.run("status", f"{sweep.id}-t000", "--json").out)
    assert (one["kind"], one["state"]) == ("run", "complete")


def test_it_ends_with_checkpoints_and_goes_on(
    lab: Lab, sweep: Sweep, running: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel, "LOOK_SECONDS", 0.2)
    script = _when(lambda: stop_requested(sweep.store), lambda: running.update_record(state="interrupted"))
    ended = lab.run("cancel", sweep.id)
    script()
    assert ended.status == 0, ended.err
    assert f"Asked sweep {sweep.id} to stop with a checkpoint" in ended.err
    assert f"Continue with: visionjobs submit tiny --run {sweep.id}" in ended.err
    assert not lab.objects("rayjobs")
    assert not lab.objects("networkpolicies")
    assert stop_requested(sweep.store) is not None
    running.store.write("logs/driver.log", "trial 0 is complete\n")
    assert lab.run("logs", sweep.id).out == "trial 0 is complete\n", "stored, as its pods are gone"
    page = lab.run("dashboard", sweep.id)
    assert (page.status, f"{sweep.id} is not on the cluster" in page.err) == (1, True)

    refused = lab.run("submit", "--run", sweep.id, "--set", "train.epochs=5")
    assert (refused.status, "train.epochs: 2 in the sweep, 5 asked for" in refused.err) == (2, True)
    fewer = lab.run("submit", "--run", sweep.id, "--samples", "1")
    assert (fewer.status, "fewer than the 2" in fewer.err) == (2, True)
    again = lab.run("submit", "--run", sweep.id, "--samples", "7", "--set", "sweep.at_once=2")
    assert again.status == 0, again.err
    rayjob = lab.server.get("rayjobs", lab.namespace, sweep.id)
    assert "--set sweep.at_once=2 --set sweep.trials=7" in rayjob["spec"]["entrypoint"]
    assert rayjob["metadata"]["labels"]["visionjobs/attempt"] == "2"
    assert rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 2
    assert stop_requested(sweep.store) is None


def _when(ready: Callable[[], object], act: Callable[[], object]) -> Callable[[], None]:
    """Do it in a thread, once it is ready; call what is returned to wait for that."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            wait_for(ready, "the request to stop")
            act()
        except BaseException as error:  # noqa: BLE001 (the test's thread raises it)
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def join() -> None:
        thread.join(30)
        assert not failed, failed

    return join


def test_what_does_not_fit_makes_nothing(lab: Lab) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
             "spec": {"hard": {"requests.cpu": "6"}}}  # fmt: skip
    lab.server.create(quota, lab.namespace)
    ended = lab.run("submit", "tiny", "--sweep", "--set", SPACE)
    assert (ended.status, ended.out) == (2, "")
    assert "allows 6 CPUs" in ended.err
    assert "lower sweep.at_once, resources.cpus" in ended.err
    assert not lab.objects("rayjobs")
    assert not lab.root.entries("sweeps")


def test_a_sweep_in_one_pod(lab: Lab) -> None:
    ended = lab.run("submit", "tiny", "--sweep", "--set", SPACE, "--backend", "job", "--no-code")
    assert ended.status == 0, ended.err
    sweep_id = ended.out.splitlines()[-1].rpartition("/")[2]
    (container,) = lab.server.get("jobs", lab.namespace, sweep_id)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["visionjobs", "attempt", sweep_id]
    assert container["resources"]["limits"]["cpu"] == "8", "four trials and the driver"
