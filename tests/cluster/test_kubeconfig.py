"""Which cluster: kubeconfigs that are none, contexts that are not there, users without credentials."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rendering import CLUSTER

from visionjobs.cluster.client import Cluster, ForbiddenError, _reason, _refused
from visionjobs.cluster.kubeconfig import IN_POD, connect, has_cluster
from visionjobs.errors import ClusterError, UserError

GOOD = """
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: me, user: {token: t}}]
contexts: [{name: first, context: {cluster: here, user: me}}, {name: second, context: {cluster: here, user: me}}]
current-context: first
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.delenv(IN_POD, raising=False)
    return path


@pytest.mark.parametrize(
    "text", ["a: [b", "- x", "hello", "", "clusters: 5", GOOD.replace("current-context: first", "")]
)
def test_a_file_that_is_none_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match="set KUBECONFIG") as told:
        connect(CLUSTER)
    assert str(file) in str(told.value)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(UserError, match="set KUBECONFIG") as told:
        connect(CLUSTER)
    assert str(file) in str(told.value)


def test_an_unknown_context_is_told_with_those_there_are(file: Path) -> None:
    file.write_text(GOOD)
    assert connect(replace(CLUSTER, context="second")).server == "https://127.0.0.1:1"
    with pytest.raises(UserError, match="VISIONJOBS_CONTEXT to one of: first, second"):
        connect(replace(CLUSTER, context="third"))


def test_no_answer_names_the_server(file: Path) -> None:
    file.write_text(GOOD)
    with pytest.raises(ClusterError, match=r"https://127.0.0.1:1 does not answer") as told:
        connect(CLUSTER).list("Pod")
    assert told.value.exit_status == 4


def test_a_certificate_is_told_as_what_is_wrong() -> None:
    error = OSError(
        "SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer (x)"
    )
    assert _reason(error) == "certificate verify failed: unable to get local issuer"
    assert _reason(TimeoutError("x")) == "TimeoutError"


@pytest.mark.parametrize(
    ("message", "kind", "told"),
    [
        ('pods is forbidden: User "system:anonymous" cannot list', UserError, "does not know who asks"),
        ('rayjobs "a" is forbidden: exceeded quota: jobs, requested: x', UserError, "the quota of the namespace"),
        ('pods "a" is forbidden: violates PodSecurity "restricted"', UserError, "the Pod Security of the namespace"),
        ('pods is forbidden: User "me" cannot list', ForbiddenError, "visionjobs-submitter"),
    ],
)
def test_the_kinds_of_forbidden(message: str, kind: type[UserError], told: str) -> None:
    cluster = Cluster(None, "visionjobs", "https://cluster.example")  # type: ignore[arg-type]
    error = _refused(403, json.dumps({"message": message}).encode(), "x", cluster)
    assert type(error) is kind
    assert told in str(error)


def test_without_a_kubeconfig_there_is_a_cluster_only_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv(IN_POD, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_cluster()
    monkeypatch.setenv(IN_POD, "10.0.0.1")
    assert has_cluster()
