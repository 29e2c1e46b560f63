"""What is looked at in a cluster before a job is submitted: each thing that is missing is told, with what to do.

The cluster here is a few dicts; tests/integration/test_cluster_submit.py asks a real API server.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rendering import CLUSTER, run_of
from s3_servers import S3Server
from small_cluster import RAYJOBS, Object, SmallCluster, named, told

from visionjobs.cluster import checks_storage
from visionjobs.cluster.check import Check, failures, look, one_line, refuse
from visionjobs.cluster.checks_objects import (
    KEYS,
    check_accepted,
    check_image,
    check_kuberay,
    check_namespace,
    check_permissions,
    check_priority,
    check_queue,
    check_secret,
    check_service_account,
)
from visionjobs.cluster.checks_storage import check_clock, check_seen_from_cluster, check_storage
from visionjobs.cluster.client import ForbiddenError
from visionjobs.cluster.preflight import check_not_live, cluster_checks, cluster_failed, secret_keys
from visionjobs.cluster.render import render
from visionjobs.errors import ClusterError, FinalError, StorageError, UserError
from visionjobs.settings import Settings
from visionjobs.storage import open_store


@pytest.mark.parametrize(
    ("image", "ok"),
    [
        ("r.example/visionjobs:0.1.0", True),
        ("r.example:5000/visionjobs:0.1.0", True),
        (f"r.example/visionjobs@sha256:{'a' * 64}", True),
        (f"r.example/visionjobs:latest@sha256:{'a' * 64}", True),
        ("r.example/visionjobs:latest", False),
        ("r.example:5000/visionjobs", False),
        ("", False),
        (None, False),
    ],
)
def test_images(image: str | None, ok: bool) -> None:
    told(check_image(image), ok)


def queue(name: str, active: str = "True") -> Object:
    condition = {"type": "Active", "status": active, "message": "ClusterQueue gpus is stopped"}
    return named(name, status={"conditions": [condition]})


def test_queues() -> None:
    kueue: Any = SmallCluster({"LocalQueue": [queue("gpus"), queue("held", "False")]})
    told(check_queue(kueue, "gpus"), True)
    told(check_queue(kueue, "held"), None, "gpus is stopped")
    told(check_queue(kueue, "gpu"), False, "gpus, held", "VISIONJOBS_QUEUE")
    older = named("localqueues.kueue.x-k8s.io", spec={"versions": [{"name": "v1beta1"}]})
    told(check_queue(SmallCluster({"CustomResourceDefinition": [older]}), "gpus"), None, "v1beta1", "0.15")
    told(check_queue(SmallCluster(), "gpus"), False, "does not serve Kueue")
    told(check_queue(SmallCluster(closed=("LocalQueue",)), "gpus"), None, "may not look")


def test_kuberay() -> None:
    there: Any = SmallCluster({"RayJob": [], "CustomResourceDefinition": [RAYJOBS]})
    told(check_kuberay(there), True, "KubeRay 1.6 or newer")
    told(check_kuberay(SmallCluster()), False, "install KubeRay 1.7", "--backend job")
    old: Object = {"metadata": {"name": "rayjobs.ray.io"}, "spec": {"versions": [{"name": "v1", "schema": {}}]}}
    before: Any = SmallCluster({"RayJob": [], "CustomResourceDefinition": [old]})
    told(check_kuberay(before), False, "older than 1.6", "to 1.7")
    told(check_kuberay(SmallCluster({"RayJob": []}, closed=("CustomResourceDefinition",))), True)


def test_secrets_by_their_keys_alone() -> None:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    there: Any = SmallCluster({"Secret": [named("visionjobs", data=dict.fromkeys(keys, "dmFsdWU="))]})
    check = check_secret(there, "visionjobs", keys)
    told(check, True, *keys)
    assert "dmFsdWU" not in one_line(check)
    told(check_secret(there, "visionjobs", (*keys, "WANDB_API_KEY")), False, "lacks WANDB_API_KEY")
    told(check_secret(there, "other", keys), False, 'no Secret "other"', "secret.example.yaml")
    told(check_secret(there, "other", keys, identity=True), None, "identity")
    told(check_secret(SmallCluster(closed=("Secret",)), "visionjobs", keys), None, "may not look")
    job = run_of("deeplab")
    assert job.spec is not None
    assert secret_keys(None) == keys


def test_what_else_must_be_there() -> None:
    empty: Any = SmallCluster()
    told(check_namespace(empty), False, "no namespace visionjobs", "make cluster-install")
    told(check_service_account(empty, "visionjobs"), False, "make cluster-install")
    told(check_priority(empty, "visionjobs-high", queued=False), False, "no PriorityClass", "VISIONJOBS_PRIORITY")
    without: Any = SmallCluster({"PriorityClass": [named("visionjobs-high")]})
    assert check_priority(without, "visionjobs-high", queued=False).ok
    told(check_priority(without, "visionjobs-high", queued=True), False, 'no WorkloadPriorityClass "visionjobs-high"')
    going: Any = SmallCluster({"Namespace": [named("visionjobs", status={"phase": "Terminating"})]})
    told(check_namespace(going), False, "being deleted")


@pytest.mark.parametrize(
    ("annotation", "ok"),
    [("eks.amazonaws.com/role-arn", None), ("iam.gke.io/gcp-service-account", None), ("team", False)],
)
def test_keys_are_not_needed_where_the_account_has_an_identity(annotation: str, ok: bool | None) -> None:
    account = named("visionjobs")
    account["metadata"]["annotations"] = {annotation: "x"}
    cluster: Any = SmallCluster({"Secret": [named("visionjobs")], "ServiceAccount": [account], "Namespace": []})
    (secret,) = [check for check in cluster_checks(cluster, CLUSTER, "job", KEYS) if check.name == "secret"]
    assert secret.ok is ok


def test_permissions() -> None:
    submit, follow = check_permissions(SmallCluster(), "rayjob")
    assert (submit.ok, follow.ok) == (True, True)
    denied: Any = SmallCluster(denied=("create RayJob", "delete NetworkPolicy", "get Pod"))
    submit, follow = check_permissions(denied, "rayjob")
    told(submit, False, "create RayJob, delete NetworkPolicy", "visionjobs-submitter")
    told(follow, None, "get Pod/log")
    assert check_permissions(denied, "job")[0].ok


def test_the_servers_own_judgement() -> None:
    objects = render(run_of("deeplab"), CLUSTER, "rayjob")
    told(check_accepted(SmallCluster(), objects), True, "NetworkPolicy and RayJob")
    for refusal, ok, word in [
        (UserError("the cluster refuses it: spec.x: field not declared in schema"), False, "too old"),
        (UserError('admission webhook "a.b" does not support dry run'), None, "dry run"),
        (ForbiddenError("not permitted"), None, "may not look"),
        (ClusterError("it does not answer"), False, "does not answer"),
    ]:
        told(check_accepted(SmallCluster(refusal=refusal), objects), ok, word)


def test_nothing_more_is_asked_of_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster: Any = SmallCluster()

    def away(*_: Any, **__: Any) -> bool:
        raise ClusterError("the cluster does not answer")

    monkeypatch.setattr(cluster, "may", away)
    checks = cluster_checks(cluster, CLUSTER, "rayjob", ())
    assert [(check.name, check.ok, check.exit_status) for check in checks] == [("cluster", False, 4)]
    assert cluster_failed(checks)


def test_all_of_a_cluster_in_order() -> None:
    settings = replace(CLUSTER, queue="gpus", priority="visionjobs-high")
    cluster: Any = SmallCluster({
        "Namespace": [named("visionjobs")], "RayJob": [], "CustomResourceDefinition": [RAYJOBS],
        "Secret": [named("visionjobs", data={"A": "x"})], "ServiceAccount": [named("visionjobs")],
        "LocalQueue": [queue("gpus")], "PriorityClass": [named("visionjobs-high")],
        "WorkloadPriorityClass": [named("visionjobs-high")],
    })  # fmt: skip
    checks = cluster_checks(cluster, settings, "rayjob", ("A",))
    assert not failures(checks)
    assert {check.name for check in checks} == {
        "cluster", "namespace", "permissions", "permissions to follow", "KubeRay", "secret", "service account", "queue",
        "priority",
    }  # fmt: skip
    assert "KubeRay" not in {check.name for check in cluster_checks(cluster, settings, "job", ("A",))}


def test_a_job_that_lives_keeps_its_name() -> None:
    def rayjob(**status: str) -> Object:
        metadata = {"name": "r-1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {}}
        return {"kind": "RayJob", "metadata": metadata, "spec": {}, "status": status}

    live: Any = SmallCluster({"RayJob": [rayjob(jobDeploymentStatus="Running", jobStatus="RUNNING")], "Pod": []})
    told(check_not_live(live, "r-1"), False, "on the cluster already (running)", "visionjobs cancel r-1")
    told(check_not_live(live, "r-2"), True)
    ended: Any = SmallCluster({"RayJob": [rayjob(jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")], "Pod": []})
    told(check_not_live(ended, "r-1"), True)


@pytest.mark.parametrize(
    ("env", "ok", "word"),
    [
        ({"VISIONJOBS_STORAGE": "/data"}, False, "VISIONJOBS_STORAGE=s3://"),
        ({"VISIONJOBS_STORAGE": "/data", "VISIONJOBS_STORAGE_FROM_CLUSTER": "/mnt/claim"}, True, "/mnt/claim"),
        ({"VISIONJOBS_STORAGE": "/data", "VISIONJOBS_STORAGE_FROM_CLUSTER": "s3://b/p"}, True, "s3://b/p"),
        ({"VISIONJOBS_STORAGE": "s3://b/p"}, True, "s3://b/p"),
        ({"VISIONJOBS_STORAGE": "s3://b/p", "AWS_ENDPOINT_URL": "http://localhost:9"}, False, "loopback"),
        ({"VISIONJOBS_STORAGE": "s3://b/p", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, False, "ENDPOINT_FROM_CLUSTER"),
        ({"VISIONJOBS_STORAGE": "s3://b/p", "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
          "VISIONJOBS_ENDPOINT_FROM_CLUSTER": "http://s3:9000"}, True, "on http://s3:9000"),
    ],
)  # fmt: skip
def test_where_pods_find_the_storage(env: dict[str, str], ok: bool, word: str) -> None:
    told(check_seen_from_cluster(Settings.from_env(env)), ok, word)


@pytest.mark.s3
def test_the_storage_and_its_clock(seaweedfs: S3Server, rclone_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    seaweedfs.use(monkeypatch)
    root = open_store(f"{seaweedfs.address}/preflight")
    told(check_storage(root), True)
    told(check_clock(root), True)
    monkeypatch.setattr(checks_storage, "SKEW_SECONDS", -1)
    told(check_clock(root), None, "NTP")
    monkeypatch.setattr(checks_storage, "MOST_SKEW_SECONDS", -1)
    told(check_clock(root), False, "NTP")
    told(check_storage(open_store("s3://no-such-bucket/x")), False, "no bucket")
    rclone_s3.use(monkeypatch)
    told(check_storage(open_store(f"{rclone_s3.address}/preflight")), None, "ignores conditional writes")


def test_one_failure_is_told_in_a_line_and_several_in_a_list() -> None:
    refuse([Check("a", True, "well"), Check("b", None, "perhaps")])
    away = look("a", lambda: (_ for _ in ()).throw(StorageError("no answer,\n  really")))
    with pytest.raises(StorageError, match=r"^nothing was submitted: a: no answer, really$"):
        refuse([away])
    over = look("b", lambda: (_ for _ in ()).throw(FinalError("it failed for good")))
    with pytest.raises(FinalError):
        refuse([over])
    with pytest.raises(UserError, match="2 things stand in the way:\n  a: no answer, really\n  b: it failed for good"):
        refuse([away, over])
