"""A cluster, a storage and a command line that knows both, for tests of `visionjobs submit`; a pytest plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from apiserver import ApiServer
from cluster_hands import Hands
from s3_servers import S3Server

if TYPE_CHECKING:
    from visionjobs.runs import Run
    from visionjobs.storage import Store

ROOT = Path(__file__).resolve().parents[2]
JOB = """
task: classification
model: {name: convnet}
data: {name: tiny, size: [32, 32]}
train: {epochs: 2, batch: 8}
resources: {cpus: 1, gpus: 0, memory: 1Gi}
"""

OLD_CLUSTER = "job: {spec: {podFailurePolicy: null, podReplacementPolicy: null}}"
"""Overlay for this API server, which is of 1.20 and does not know these fields."""


class Ended(NamedTuple):
    status: int
    out: str
    err: str


class Lab:
    """A cluster, a storage and a command line that knows both. Everything that a job needs is there."""

    def __init__(self, server: ApiServer, namespace: str, root: Store, run: Callable[..., Ended]) -> None:
        self.server, self.namespace, self.root, self.run = server, namespace, root, run

    def objects(self, plural: str) -> list[dict[str, Any]]:
        return self.server.items(plural, self.namespace)

    def submitted(self, *arguments: str) -> str:
        """Submit the tiny job; the run's id."""
        ended = self.run("submit", "tiny", *arguments)
        assert ended.status == 0, ended.err
        return ended.out.splitlines()[-1].rpartition("/")[2]

    def left_nothing(self) -> bool:
        """Whether neither the cluster nor the storage has anything of a job."""
        kinds = ("rayjobs", "jobs", "networkpolicies")
        return not self.root.entries("runs") and not any(self.objects(kind) for kind in kinds)


@pytest.fixture(scope="session")
def lab_dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A storage with the dataset "tiny" in it, to be copied."""
    from tiny import draw_tiny

    from visionjobs.data.wildlife import import_wildlife
    from visionjobs.storage import open_store

    folder = tmp_path_factory.mktemp("dataset")
    draw_tiny(folder / "raw")
    root = open_store(str(folder / "storage"))
    import_wildlife(str(folder / "raw"), "tiny", root, size=(32, 32))
    return root


@pytest.fixture
def lab(
    apiserver: ApiServer, namespace: str, hands: Hands, seaweedfs: S3Server, lab_dataset: Store, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> Lab:  # fmt: skip
    from visionjobs.storage import open_store

    seaweedfs.use(monkeypatch)
    root = open_store(f"{seaweedfs.address}/{namespace}")
    for entry in lab_dataset.entries():
        root.write(entry.key, lab_dataset.read(entry.key))
    apiserver.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "visionjobs"}}, namespace)
    keys = {"AWS_ACCESS_KEY_ID": "aWQ=", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0"}
    apiserver.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "visionjobs"}, "data": keys}, namespace
    )
    apiserver.patch("nodes", None, hands.kubelet.node, {"spec": {"taints": None}})
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "tiny.yaml").write_text(JOB)
    (tmp_path / "overlay.yaml").write_text(OLD_CLUSTER)
    apiserver.use(monkeypatch)
    for name, value in {
        "VISIONJOBS_STORAGE": root.address,
        "VISIONJOBS_ENDPOINT_FROM_CLUSTER": "http://s3.storage:9000",
        "VISIONJOBS_JOBS": str(tmp_path / "jobs"),
        "VISIONJOBS_CACHE": str(tmp_path / "cache"),
        "VISIONJOBS_K8S": str(ROOT / "k8s" / "job"),
        "VISIONJOBS_OVERLAY": str(tmp_path / "overlay.yaml"),
        "VISIONJOBS_IMAGE": "registry.example/visionjobs:0.1.0",
        "VISIONJOBS_NAMESPACE": namespace,
        "VISIONJOBS_OWNER": "ada",
        "COLUMNS": "300",
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Ended:
        from visionjobs.cli.app import main

        monkeypatch.setattr(sys, "argv", ["visionjobs", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        printed = capfd.readouterr()
        return Ended(status, printed.out, " ".join(printed.err.split()))

    return Lab(apiserver, namespace, root, run)


def some_run(root: Store, state: str, *sets: str, epochs: int = 2) -> Run:
    """A run of the tiny job with one attempt, which ended so."""
    from tiny import tiny_spec

    from visionjobs.runs import create_run

    spec = tiny_spec("resources.gpus=0", "resources.cpus=1", "resources.memory=1Gi", *sets)
    attempt = create_run(root, spec, "{}").claim("attempt", {"gpus": 0})
    attempt.update_record(run=attempt.run.id, job="tiny", state=state, epochs=epochs, message="it ended so")
    return attempt.run
