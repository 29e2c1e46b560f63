"""Small RayJobs and Jobs with the labels of ours, run folders beside them, and commands run while a test acts.

What `render` writes has more in it; what logs, cancel and dashboard look at is here.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from visionjobs.cli.app import main
from visionjobs.jobfile import build_spec
from visionjobs.runs import Attempt, create_run
from visionjobs.storage import open_store

Object = dict[str, Any]

IMAGE = "example/visionjobs:1"


def labels(name: str, kind: str = "run") -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "visionjobs",
        "app.kubernetes.io/managed-by": "visionjobs",
        "visionjobs/job": "tiny",
        "visionjobs/run": name,
        "visionjobs/owner": "jane",
        "visionjobs/kind": kind,
    }


def pod_template(name: str, role: str, container: str, kind: str = "run") -> Object:
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 120,
        "containers": [{"name": container, "image": IMAGE}],
    }
    return {"metadata": {"labels": labels(name, kind) | {"visionjobs/role": role}}, "spec": spec}


def rayjob(name: str, attempt: int = 1) -> Object:
    """One head, one worker; its submitter's container is "submit", the others' is "ray"."""
    worker = {"groupName": "gpu", "replicas": 1, "minReplicas": 1, "maxReplicas": 1, "rayStartParams": {}}
    spec = {
        "entrypoint": "true",
        "backoffLimit": 2,
        "submitterPodTemplate": pod_template(name, "submitter", "submit"),
        "rayClusterSpec": {
            "rayVersion": "2.60.0",
            "headGroupSpec": {"rayStartParams": {}, "template": pod_template(name, "head", "ray")},
            "workerGroupSpecs": [worker | {"template": pod_template(name, "worker", "ray")}],
        },
    }
    metadata = {"name": name, "labels": labels(name) | {"visionjobs/attempt": str(attempt)}}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def batch_job(name: str, kind: str = "run") -> Object:
    """Its one container is "job"."""
    spec = {"backoffLimit": 2, "template": pod_template(name, "job", "job", kind)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels(name, kind)},
        "spec": spec,
    }


def policy(name: str) -> Object:
    spec = {"podSelector": {"matchLabels": {"visionjobs/run": name}}, "policyTypes": ["Ingress"]}
    metadata = {"name": name, "labels": labels(name)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def begin_run(storage: str, name: str, state: str = "running", **record: Any) -> Attempt:
    """The run's folder with an attempt, whose record says `state`."""
    root = open_store(storage)
    if not root.at("runs", name).exists("spec.yaml"):
        tree = {"name": "tiny", "task": "classification", "model": {"name": "convnet"}, "data": {"name": "tiny"}}
        create_run(root, build_spec(tree, "tiny", ()), "{}", name)
    from visionjobs.runs import open_run

    attempt = open_run(root, name).claim("attempt", {})
    attempt.update_record(state=state, job="tiny", **record)
    return attempt


class Ended(NamedTuple):
    """How a command ended: exit status, stdout as it is, and stderr."""

    status: int
    out: bytes
    err: str


class Commands:
    """Runs commands in this process. A script acts in a thread meanwhile: the command's end waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes], storage: str) -> None:
        self.monkeypatch, self.capture, self.storage = monkeypatch, capture, storage
        monkeypatch.setenv("VISIONJOBS_STORAGE", storage)
        monkeypatch.setenv("VISIONJOBS_OWNER", "jane")
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *arguments: str, script: Callable[[], None] | None = None) -> Ended:
        failed: list[BaseException] = []

        def act() -> None:
            try:
                if script is not None:
                    script()
            except BaseException as error:  # noqa: BLE001 (the test's thread raises it)
                failed.append(error)
                _thread.interrupt_main()

        self.monkeypatch.setattr(sys, "argv", ["visionjobs", *arguments])
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        thread.join(60)
        if failed:
            raise failed[0]
        assert not thread.is_alive(), "the command ended before the script did"
        printed = self.capture.readouterr()
        return Ended(status, printed.out, printed.err.decode())


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)
