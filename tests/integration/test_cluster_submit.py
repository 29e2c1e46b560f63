"""`visionjobs submit` against a real API server and a real S3 server: what it applies, and what it leaves behind."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import yaml
from apiserver import ApiRefusalError
from cluster_hands import Hands, stamp
from submit_lab import Lab, some_run

from visionjobs.cluster import follow
from visionjobs.runs import open_run

pytestmark = [pytest.mark.apiserver, pytest.mark.s3]


def test_a_new_run_is_applied_whole(lab: Lab) -> None:
    ended = lab.run("submit", "tiny", "--set", "train.epochs=3")
    assert ended.status == 0, ended.err
    address = ended.out.splitlines()[-1]
    run_id = address.rpartition("/")[2]
    assert address == f"{lab.root.address}/runs/{run_id}"
    assert f"visionjobs logs {run_id} -f" in ended.err
    rayjob = lab.server.get("rayjobs", lab.namespace, run_id)
    policy = lab.server.get("networkpolicies", lab.namespace, run_id)
    (owner,) = policy["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("RayJob", rayjob["metadata"]["uid"])
    run = open_run(lab.root, run_id)
    assert run.spec().train.epochs == 3
    assert run.spec().data.version != "newest"
    note = json.loads(run.store.read("submission.json"))
    assert (
        note["code"]
        in rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["initContainers"][0]["command"]
    )
    assert lab.root.exists(f"code/{note['code']}.zip")
    assert (note["backend"], note["namespace"], note["owner"]) == ("rayjob", lab.namespace, "ada")
    assert "c2VjcmV0" not in json.dumps(rayjob)
    assert "test-secret" not in json.dumps(rayjob)


def test_a_dry_run_prints_what_would_be_applied_and_makes_nothing(lab: Lab) -> None:
    before = [entry.key for entry in lab.root.entries()]
    ended = lab.run("submit", "tiny", "--dry-run")
    assert ended.status == 0, ended.err
    policy, rayjob = yaml.safe_load_all(ended.out)
    assert (policy["kind"], rayjob["kind"]) == ("NetworkPolicy", "RayJob")
    assert [entry.key for entry in lab.root.entries()] == before
    assert lab.left_nothing()


def test_the_job_backend_applies_one_job(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none.yaml").write_text("{}")
    with monkeypatch.context() as without:
        without.setenv("VISIONJOBS_OVERLAY", str(tmp_path / "none.yaml"))
        old = lab.run("submit", "tiny", "--backend", "job")
    assert (old.status, "the overlay is wrong, or the cluster too old" in old.err) == (2, True)
    run_id = lab.submitted("--backend", "job", "--no-code")
    job = lab.server.get("jobs", lab.namespace, run_id)
    assert job["spec"]["template"]["spec"].get("initContainers") is None
    assert not lab.objects("networkpolicies")
    assert json.loads(open_run(lab.root, run_id).store.read("submission.json"))["code"] is None


def test_a_second_submit_of_the_same_is_warned_of_and_of_a_live_run_refused(lab: Lab) -> None:
    first = lab.submitted()
    other = lab.run("submit", "tiny", "--set", "train.epochs=4")
    assert other.status == 0
    assert "with the same settings" not in other.err
    again = lab.run("submit", "tiny")
    assert again.status == 0
    assert f"{first} is of the same job with the same settings" in again.err
    refused = lab.run("submit", "tiny", "--run", first)
    assert refused.status == 2
    assert f"{first} is on the cluster already" in refused.err
    assert f"visionjobs cancel {first}" in refused.err
    assert refused.out == ""
    assert len(lab.objects("rayjobs")) == 3


def test_an_interrupted_run_is_continued_after_its_objects_are_gone(lab: Lab, hands: Hands) -> None:
    run_id = lab.submitted()
    started = hands.start_rayjob(run_id)
    run = open_run(lab.root, run_id)
    attempt = run.claim("attempt", {"gpus": 0})
    attempt.update_record(run=run_id, job="tiny", state="interrupted", epochs=2, checkpoint_seconds=100.0)
    run.store.write("stop.json", json.dumps({"reason": "of a test"}))
    hands.rayjob(run_id, jobDeploymentStatus="Complete", jobStatus="STOPPED", endTime=stamp())
    hands.remove(run_id, started)
    before = lab.server.get("rayjobs", lab.namespace, run_id)["metadata"]["uid"]
    ended = lab.run("submit", "--run", run_id, "--set", "train.epochs=3")
    assert ended.status == 0, ended.err
    after = lab.server.get("rayjobs", lab.namespace, run_id)
    assert after["metadata"]["uid"] != before
    assert "--set train.epochs=3" in after["spec"]["entrypoint"]
    head = after["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert head["terminationGracePeriodSeconds"] == 360
    assert not run.store.exists("stop.json")
    (owner,) = lab.server.get("networkpolicies", lab.namespace, run_id)["metadata"]["ownerReferences"]
    assert owner["uid"] == after["metadata"]["uid"]


@pytest.mark.parametrize(
    ("state", "status", "said"),
    [("complete", 2, "is complete after 2 epochs"), ("failed", 3, "failed for good and is not tried again")],
)
def test_a_run_that_is_over_is_not_submitted_again(lab: Lab, state: str, status: int, said: str) -> None:
    run = some_run(lab.root, state)
    ended = lab.run("submit", "tiny", "--run", run.id)
    assert (ended.status, ended.out) == (status, "")
    assert said in ended.err
    assert not lab.objects("rayjobs")
    assert run.record()["state"] == state


def test_an_evaluation_and_an_import_are_jobs_of_one_pod(lab: Lab) -> None:
    run = some_run(lab.root, "complete")
    unfinished = lab.run("submit", "--evaluate", run.id)
    assert (unfinished.status, "is not finished" in unfinished.err) == (2, True)
    run.store.write("metrics.json", json.dumps({"metrics": {}}))
    wrong = lab.run("submit", "--evaluate", run.id, "--split", "tset")
    assert (wrong.status, "--split tset" in wrong.err) == (2, True)
    ended = lab.run("submit", "--evaluate", run.id, "--split", "all")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1].startswith(f"{run.store.address}/evaluations/")
    lab.root.write("raw/bear/1.png", b"an image")
    source = f"{lab.root.address}/raw"
    ended = lab.run("submit", "--import", "wildlife", source, "--name", "animals")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1] == f"{lab.root.address}/datasets/animals"
    commands = [
        job["spec"]["template"]["spec"]["containers"][0]["command"] for job in lab.objects("jobs")
    ]  # fmt: skip
    assert ["visionjobs", "evaluate", run.id, "--split", "all"] in commands
    assert ["visionjobs", "data", "import", "wildlife", source, "--name", "animals"] in commands
    empty = lab.run("submit", "--import", "wildlife", f"{lab.root.address}/nothing")
    assert (empty.status, "holds no raw files" in empty.err) == (2, True)


@pytest.mark.parametrize(("state", "status"), [("complete", 0), ("interrupted", 1), ("failed", 3)])
def test_waiting_ends_as_the_job_does(
    lab: Lab, hands: Hands, monkeypatch: pytest.MonkeyPatch, state: str, status: int
) -> None:
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.2)
    told = {"complete": "SUCCEEDED", "interrupted": "FAILED", "failed": "FAILED"}[state]

    def operator() -> None:
        while not (rayjobs := lab.objects("rayjobs")):
            time.sleep(0.1)
        name = rayjobs[0]["metadata"]["name"]
        started = hands.start_rayjob(name)
        hands.run_pod(started.submitter)
        log = hands.kubelet.log(lab.namespace, started.submitter, "submit")
        attempt = open_run(lab.root, name).claim("attempt", {"gpus": 0})
        attempt.update_record(run=name, job="tiny", state=state, epochs=2, message="it ended so")
        log.write("epoch 1 of 2\n")
        log.end()
        hands.end_pod(started.submitter, int(bool(status)))
        deployment = "Complete" if state == "complete" else "Failed"
        hands.rayjob(name, jobDeploymentStatus=deployment, jobStatus=told, endTime=stamp())

    thread = threading.Thread(target=operator)
    thread.start()
    ended = lab.run("submit", "tiny", "--wait")
    thread.join()
    assert ended.status == status, ended.err
    assert "/runs/tiny-" in ended.out.splitlines()[-1]
    assert len(ended.out.splitlines()) == 1


def test_doctor_without_an_image_tells_of_the_rest(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISIONJOBS_IMAGE")
    ended = lab.run("doctor", "tiny", "--json")
    checks = {check["check"]: check for check in json.loads(ended.out)}
    assert ended.status == 1
    assert [name for name, check in checks.items() if check["ok"] is False] == ["image"]
    assert checks["manifest"]["message"] == "the cluster would take NetworkPolicy and RayJob"
    assert {"nodes", "quota"} <= set(checks)


def test_doctor_tells_of_the_cluster_too(lab: Lab) -> None:
    ended = lab.run("doctor", "tiny", "--json")
    checks = {check["check"]: check for check in json.loads(ended.out)}
    assert ended.status == 0, ended.out
    for name in ("storage", "clock", "dataset", "cluster", "KubeRay", "secret", "permissions", "nodes", "manifest"):
        assert checks[name]["ok"] is True, checks[name]
    lab.server.delete("secrets", lab.namespace, "visionjobs")
    broken = lab.run("doctor")
    assert broken.status == 1
    assert 'there is no Secret "visionjobs"' in broken.err
    with lab.server.away():
        away = lab.run("doctor", "--json")
    assert away.status == 1
    assert {check["check"]: check["ok"] for check in json.loads(away.out)}["cluster"] is False
    with pytest.raises(ApiRefusalError):
        lab.server.get("secrets", lab.namespace, "visionjobs")
