"""A command, jobs on the API server and run folders, for the tests of status, runs and watching."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apiserver import ApiServer
from cluster_hands import stamp
from rendering import CLUSTER, run_of
from status_cases import Ended

from visionjobs.cli import status as status_verb
from visionjobs.cli.app import main
from visionjobs.cluster.kubeconfig import connect
from visionjobs.cluster.render import render
from visionjobs.jobfile import load_job
from visionjobs.runs import Attempt, create_run, now
from visionjobs.storage import open_store

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, STEPS = 4, 10


@pytest.fixture
def visionjobs(
    apiserver: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Ended]:  # fmt: skip
    """The command in this process, as the cluster's administrator, in the test's namespace."""
    apiserver.use(monkeypatch)
    monkeypatch.setenv("VISIONJOBS_NAMESPACE", namespace)
    monkeypatch.setenv("VISIONJOBS_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(status_verb, "WATCH_SECONDS", 0.2)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["visionjobs", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        printed = capsys.readouterr()
        return Ended(status, printed.out, " ".join(printed.err.split()))

    return run


@pytest.fixture
def submit(apiserver: ApiServer, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Apply what `render` gives for deeplab; its name. sets: of the job; backend; queue of Kueue."""
    apiserver.use(monkeypatch)

    def submit(*sets: str, backend: str = "rayjob", queue: str | None = None, **changes: Any) -> str:
        settings = replace(CLUSTER, namespace=namespace, queue=queue)
        submission = run_of("deeplab", *sets, **changes)
        for obj in render(submission, settings, backend):
            if backend == "job":  # 1.20 does not know podFailurePolicy: it refuses to apply it, and drops it here
                apiserver.create(obj, namespace)
            else:
                connect(settings).apply(obj)
        return submission.name

    return submit


@pytest.fixture
def folder(tmp_path: Path, namespace: str) -> Callable[..., Attempt]:
    """A run folder with one attempt on two GPUs, `age` seconds old, in its third epoch."""

    def folder(
        name: str, state: str = "running", backend: str | None = "rayjob", age: int = 1800, **record: Any
    ) -> Attempt:
        spec = load_job(ROOT / "jobs" / "deeplab.yaml", [f"train.epochs={EPOCHS}"])
        run = create_run(open_store(str(tmp_path / "storage")), spec, "{}", name)
        info = {"gpus": 2, "hardware": {"host": "pod-1"}}
        attempt = run.claim("attempt", info)
        began = {"kind": "attempt", "started": stamp(-age), "info": info}
        attempt.store.write("claim.json", json.dumps(began))
        rows = [{"epoch": epoch, "step": (epoch + 1) * STEPS, "train_loss": 0.5, "val_loss": 0.6, "train_miou": 0.3,
                 "val_miou": [0.25, 0.375][epoch], "images_per_second": 90.0} for epoch in range(2)]  # fmt: skip
        attempt.store.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        progress = {"epochs": EPOCHS, "steps_per_epoch": STEPS, "step": 25, "epoch": 2, "rows": rows, "updated": now(),
                    "began": stamp(-1500), "resumed_from_step": None}  # fmt: skip
        attempt.store.write("progress.json", json.dumps(progress))
        attempt.update_record(state=state, epochs=EPOCHS, created=stamp(-1800), task="segmentation", **record)
        if backend:
            where = {"backend": backend, "namespace": namespace, "owner": "ada"}
            run.store.write("submission.json", json.dumps(where))
        return attempt

    return folder
