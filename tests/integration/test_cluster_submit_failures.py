"""`visionjobs submit` where something is missing, forbidden or breaks off: one line, what to do, and nothing half."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_hands import Hands
from kueue_crds import KUEUE
from submit_lab import ROOT, Lab

from visionjobs.cluster import apply
from visionjobs.cluster.client import Cluster
from visionjobs.errors import ClusterError, StorageError
from visionjobs.runs import run_ids
from visionjobs.storage import Store
from visionjobs.storage_s3 import S3Store

pytestmark = [pytest.mark.apiserver, pytest.mark.s3, pytest.mark.slow]


def secret_lacks_a_key(lab: Lab, _: pytest.MonkeyPatch) -> None:
    lab.server.patch("secrets", lab.namespace, "visionjobs", {"data": {"AWS_SECRET_ACCESS_KEY": None}})


def no_secret(lab: Lab, _: pytest.MonkeyPatch) -> None:
    lab.server.delete("secrets", lab.namespace, "visionjobs")


def no_account(lab: Lab, _: pytest.MonkeyPatch) -> None:
    lab.server.delete("serviceaccounts", lab.namespace, "visionjobs")


def quota_too_small(lab: Lab, _: pytest.MonkeyPatch) -> None:
    hard = {"requests.cpu": "1"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard}}
    lab.server.create(quota, lab.namespace)


def variable(name: str, value: str) -> Callable[[Lab, pytest.MonkeyPatch], None]:
    return lambda _, monkeypatch: monkeypatch.setenv(name, value)


def nothing(_lab: Lab, _monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments are wrong enough."""


@pytest.mark.parametrize(
    ("spoil", "arguments", "said", "to_do"),
    [
        (secret_lacks_a_key, (), 'secret: the Secret "visionjobs" lacks AWS_SECRET_ACCESS_KEY', "secret.example.yaml"),
        (no_secret, (), 'secret: there is no Secret "visionjobs"', "VISIONJOBS_SECRET"),
        (nothing, ("--set", "wandb.mode=online"), "lacks WANDB_API_KEY", "secret.example.yaml"),
        (no_account, (), 'there is no ServiceAccount "visionjobs"', "make cluster-install"),
        (quota_too_small, (), 'the quota "small" allows 1 CPU', "resources.cpus"),
        (variable("VISIONJOBS_IMAGE", ""), (), "VISIONJOBS_IMAGE is not set", "REGISTRY/NAME:TAG"),
        (variable("VISIONJOBS_IMAGE", "r.example/v:latest"), (), "the tag latest", "give the tag or digest"),
        (variable("VISIONJOBS_IMAGE", "r.example:5000/v"), (), "has no tag", "give the tag or digest"),
        (variable("VISIONJOBS_NAMESPACE", "no-such"), (), "there is no namespace no-such", "VISIONJOBS_NAMESPACE"),
        (variable("VISIONJOBS_QUEUE", "gpus"), (), "does not serve Kueue", "VISIONJOBS_QUEUE"),
        (variable("VISIONJOBS_PRIORITY", "urgent"), (), 'no PriorityClass "urgent"', "visionjobs-high"),
        (variable("VISIONJOBS_ENDPOINT_FROM_CLUSTER", ""), (), "own loopback", "VISIONJOBS_ENDPOINT_FROM_CLUSTER"),
        (variable("VISIONJOBS_CONTEXT", "other"), (), 'context "other" cannot be used', "VISIONJOBS_CONTEXT to one"),
        (nothing, ("--set", "data.name=tinny"), 'There is no dataset "tinny"', "visionjobs data import"),
        (nothing, ("--set", "train.batch=4000"), "train.batch: 4000 is more than the 48", "lower it"),
        (nothing, ("--set", "model.weights=/no/such.pth"), "is not in the storage", "visionjobs weights pull /no/such"),
        (nothing, ("--set", "resources.cpus=200"), "the head pod asks for 20", "resources.cpus"),
        (nothing, ("--set", "resources.memory=4000Gi"), "GiB of memory, and the largest node", "resources.memory"),
    ],
)  # fmt: skip
def test_each_failed_check_is_one_line_and_nothing_is_made(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, spoil: Callable[..., None], arguments: tuple[str, ...], said: str,
    to_do: str,
) -> None:  # fmt: skip
    spoil(lab, monkeypatch)
    ended = lab.run("submit", "tiny", *arguments)
    assert (ended.status, ended.out) == (2, ""), ended.err
    assert "nothing was submitted" in ended.err
    assert said in ended.err
    assert to_do in ended.err
    assert "Traceback" not in ended.err
    assert lab.left_nothing()
    assert not lab.root.entries("code")


def test_all_that_fails_is_told_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    no_secret(lab, monkeypatch)
    monkeypatch.setenv("VISIONJOBS_PRIORITY", "urgent")
    ended = lab.run("submit", "tiny", "--set", "data.name=tinny")
    assert ended.status == 2
    assert "3 things stand in the way" in ended.err
    for said in ("dataset: ", "secret: ", "priority: "):
        assert said in ended.err


def test_gpus_that_the_cluster_does_not_have(
    lab: Lab, hands: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = {"node": hands.kubelet.node}
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump({"pods": {"spec": {"nodeSelector": label}}}))
    gpus = ("submit", "tiny", "--dry-run", "--set", "resources.gpus=1")
    assert f"no node has the label node={hands.kubelet.node}" in lab.run(*gpus).err
    lab.server.patch("nodes", None, hands.kubelet.node, {"metadata": {"labels": label}})
    assert "asks for 1 GPU, and the largest node for it has 0 GPUs" in lab.run(*gpus).err
    hands.gpus(2)
    assert lab.run(*gpus).status == 0
    four = (*gpus, "--set", "resources.workers=4", "--set", "resources.memory=256Mi")
    assert "the job asks for 4 GPUs, and the nodes that it may use have 2 in all" in lab.run(*four).err
    whole = lab.run(*four, "--set", "resources.workers_per_pod=4")
    assert "asks for 4 GPUs, and the largest node for it has 2 GPUs" in whole.err
    assert "resources.workers_per_pod" in whole.err
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    lab.server.patch("nodes", None, hands.kubelet.node, {"spec": {"taints": [taint]}})
    assert "a taint that it does not tolerate (nvidia.com/gpu=present:NoSchedule)" in lab.run(*gpus).err
    monkeypatch.setenv("VISIONJOBS_AUTOSCALING", "1")
    growing = lab.run(*gpus)
    assert growing.status == 0
    assert "warning: nodes: every node for the head pod has a taint" in growing.err


def test_a_user_who_may_do_nothing_and_one_who_may_submit(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.server.use(monkeypatch, lab.server.user(lab.namespace, "nobody"))
    ended = lab.run("submit", "tiny")
    assert (ended.status, ended.out) == (2, "")
    assert "permissions: this user may not get RayJob" in ended.err
    assert "visionjobs-submitter" in ended.err
    assert lab.left_nothing()
    roles = list(yaml.safe_load_all((ROOT / "k8s/cluster/base/submitter-role.yaml").read_text()))
    role = next(role for role in roles if role["kind"] == "Role" and role["metadata"]["name"] == "visionjobs-submitter")
    role["metadata"]["namespace"] = lab.namespace
    for rule in role["rules"]:  # its own namespace goes by another name here
        if "namespaces" in rule["resources"]:
            rule["resourceNames"] = [lab.namespace, "visionjobs"]
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{lab.namespace}/roles"
    lab.server.call("POST", path, role)
    lab.server.use(monkeypatch, lab.server.user(lab.namespace, "ada", "visionjobs-submitter"))
    ended = lab.run("submit", "tiny")
    assert ended.status == 0, ended.err
    assert "warning: nodes: this user may not look there" in ended.err


def test_a_server_that_is_away_before_anything_is_applied(lab: Lab) -> None:
    with lab.server.away():
        ended = lab.run("submit", "tiny")
    assert (ended.status, ended.out) == (4, "")
    assert "does not answer" in ended.err
    assert lab.left_nothing()


def breaking(monkeypatch: pytest.MonkeyPatch, kind: str, act: Callable[[], None]) -> None:
    """`act` right before an object of this kind is made."""
    real = Cluster.create

    def create(self: Cluster, obj: dict[str, Any]) -> dict[str, Any]:
        if obj["kind"] == kind:
            act()
        return real(self, obj)

    monkeypatch.setattr(Cluster, "create", create)
    monkeypatch.setattr(apply, "LOOK_SECONDS", 1.0)


def test_a_server_that_goes_before_the_first_object(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, "NetworkPolicy", lambda: lab.server.stop("apiserver"))
    ended = lab.run("submit", "tiny")
    lab.server.start()
    assert (ended.status, ended.out) == (4, "")
    assert "Nothing runs" in ended.err
    assert lab.left_nothing()


def test_a_server_that_goes_between_the_objects_says_what_stays(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        breaking(broken, "RayJob", lambda: lab.server.stop("apiserver"))
        ended = lab.run("submit", "tiny")
    lab.server.start()
    assert (ended.status, ended.out) == (4, "")
    (run_id,) = run_ids(lab.root)
    assert "which may be there or not" in ended.err
    assert f"visionjobs submit tiny --run {run_id}" in ended.err
    advised = lab.run("submit", "tiny", "--run", run_id)
    assert advised.status == 0, advised.err
    assert lab.server.get("rayjobs", lab.namespace, run_id)


def test_an_answer_that_is_lost_is_asked_for_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Cluster.create

    def lossy(self: Cluster, obj: dict[str, Any]) -> dict[str, Any]:
        stored = real(self, obj)
        if obj["kind"] == "RayJob":
            raise ClusterError("the cluster does not answer (a test)")
        return stored

    monkeypatch.setattr(Cluster, "create", lossy)
    run_id = lab.submitted()
    assert lab.server.get("networkpolicies", lab.namespace, run_id)["metadata"]["ownerReferences"]


def test_a_refusal_of_the_job_takes_everything_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def quota() -> None:
        hard = {"count/rayjobs.ray.io": "0"}
        lab.server.create(
            {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": hard}},
            lab.namespace,
        )
        lab.server.set_status("resourcequotas", lab.namespace, "none", {"hard": hard, "used": hard})
        time.sleep(2)  # the server looks at quotas in a cache

    breaking(monkeypatch, "RayJob", quota)
    ended = lab.run("submit", "tiny")
    assert (ended.status, ended.out) == (2, "")
    assert "the quota of the namespace" in ended.err
    assert "exceeded quota: none" in ended.err
    assert "visionjobs-submitter" not in ended.err, "no role would help"
    assert lab.left_nothing()


def test_a_quota_of_objects_that_is_used_up_is_no_question_of_rights(lab: Lab) -> None:
    """The server refuses it with 403, as it does what a user has no right to."""
    full = {"count/rayjobs.ray.io": "1"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": full}}
    lab.server.create(quota, lab.namespace)
    lab.server.set_status("resourcequotas", lab.namespace, "full", {"hard": full, "used": full})
    time.sleep(2)  # the server looks at quotas in a cache
    ended = lab.run("submit", "tiny")
    assert (ended.status, ended.out) == (2, "")
    assert "manifest: the quota of the namespace" in ended.err
    assert "exceeded quota: full" in ended.err
    assert "has 0 rayjobs.ray.io left: jobs that have ended count until they are deleted" in ended.err
    assert "may not look there" not in ended.err
    assert "visionjobs-submitter" not in ended.err
    assert lab.left_nothing()


@pytest.mark.parametrize(
    ("method", "kind"), [("create", "NetworkPolicy"), ("create", "RayJob"), ("apply", "NetworkPolicy")]
)
def test_ctrl_c_in_the_middle_takes_everything_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, method: str, kind: str
) -> None:
    """While an object is made, of which the answer must be known, or when the policy is given to the job."""
    real = getattr(Cluster, method)

    def interrupted(self: Cluster, obj: dict[str, Any], **options: Any) -> dict[str, Any]:
        if obj["kind"] == kind and not options.get("dry_run"):
            os.kill(os.getpid(), signal.SIGINT)
        return dict(real(self, obj, **options))

    monkeypatch.setattr(Cluster, method, interrupted)
    ended = lab.run("submit", "tiny")
    assert (ended.status, ended.out) == (130, "")
    assert lab.left_nothing()


def test_what_ctrl_c_cannot_take_back_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Cluster.create

    def interrupted(self: Cluster, obj: dict[str, Any]) -> dict[str, Any]:
        stored = real(self, obj)
        if obj["kind"] == "RayJob":
            lab.server.stop("apiserver")
            os.kill(os.getpid(), signal.SIGINT)
        return stored

    monkeypatch.setattr(Cluster, "create", interrupted)
    ended = lab.run("submit", "tiny")
    lab.server.start()
    (run_id,) = run_ids(lab.root)
    assert (ended.status, ended.out) == (4, "")
    assert f"the RayJob {run_id} could not be taken back" in ended.err
    assert f"visionjobs status {run_id}" in ended.err


def test_a_storage_that_does_not_answer_ends_with_4(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Store) -> bool:
        raise StorageError("the S3 server did not answer")

    monkeypatch.setattr(S3Store, "probe", away)
    ended = lab.run("submit", "tiny")
    assert (ended.status, ended.out) == (4, "")
    assert "storage: the S3 server did not answer" in ended.err


def test_a_queue_that_is_not_there(lab: Lab, kueue: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONJOBS_QUEUE", "gpus")
    ended = lab.run("submit", "tiny")
    assert ended.status == 2
    assert 'has no LocalQueue "gpus" (it has none)' in ended.err
    queue = {"apiVersion": KUEUE, "kind": "LocalQueue", "metadata": {"name": "gpus"}, "spec": {"clusterQueue": "all"}}
    lab.server.call("POST", f"/apis/{KUEUE}/namespaces/{lab.namespace}/localqueues", queue)
    run_id = lab.submitted()
    labels = lab.server.get("rayjobs", lab.namespace, run_id)["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "gpus"
