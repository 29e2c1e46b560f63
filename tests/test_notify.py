"""The message when a run has ended: to a real HTTP server, and never more than a warning where there is none."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from visionjobs.cluster.environment import NOTIFY_URL, worker_env
from visionjobs.jobfile import parse_job
from visionjobs.notify import message, notify
from visionjobs.runs import Run, create_run
from visionjobs.settings import Settings
from visionjobs.storage import open_store

JOB = "task: classification\nmodel: {name: convnet}\ndata: {name: tiny}\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create_run(open_store(str(tmp_path)), parse_job(JOB, "jobs/tiny.yaml", "tiny"), "{}")
    run.claim("attempt", {}).update_record(job="tiny", state="complete", message=None)
    run.store.write("metrics.json", json.dumps({"metrics": {"accuracy": 0.75, "nll": None, "per_class": {}}}))
    return run


class Channel:
    """A server that takes what is posted. status: what it answers."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.status = 200
        channel = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                channel.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(channel.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    channel = Channel()
    monkeypatch.setenv(NOTIFY_URL, channel.url)
    yield channel
    channel.server.shutdown()


def test_a_complete_run_is_told_with_its_numbers(run: Run, channel: Channel) -> None:
    notify(run)
    (told,) = channel.posted
    assert told["text"] == f"run {run.id} complete: accuracy 0.75"
    assert told["metrics"] == {"accuracy": 0.75}
    assert told["report"] == f"{run.store.address}/report/report.html"


def test_a_failure_is_told_with_its_reason(run: Run) -> None:
    run.claim("attempt", {}).update_record(state="failed", message="the loss of step 7 is not finite")
    told = message(run)
    assert told["text"] == f"run {run.id} failed: the loss of step 7 is not finite"
    assert told["report"] is None


@pytest.mark.parametrize("status", [403, 500])
def test_a_refusal_is_a_warning_without_the_address(
    run: Run, channel: Channel, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    channel.status = status
    with caplog.at_level(logging.WARNING, logger="visionjobs"):
        notify(run)
    assert f"answered {status}" in caplog.text
    assert "secret-hook" not in caplog.text


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/secret-hook", "secret-hook", "file:///etc/secret-hook", "http://[secret-hook"]
)
def test_an_address_where_nobody_is_costs_a_warning(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv(NOTIFY_URL, url)
    with caplog.at_level(logging.WARNING, logger="visionjobs"):
        notify(run)
    assert caplog.records
    assert "secret-hook" not in caplog.text


def test_nothing_without_an_address(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(NOTIFY_URL, raising=False)
    notify(run)
    assert not caplog.records


def test_workers_never_get_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NOTIFY_URL, "http://127.0.0.1/secret-hook")
    assert "secret-hook" not in str(worker_env(Settings.from_env()))


def test_of_a_sweep_its_best_trial_is_told_only_where_it_is_complete(tmp_path: Path) -> None:
    best = {"trial": 3, "metric": "val_loss", "value": 0.25}
    spec = parse_job(JOB, "jobs/tiny.yaml", "tiny")
    run = create_run(open_store(str(tmp_path)), spec, "{}", "sweep-tiny-1")
    holder = run.claim("attempt", {})
    assert message(run, "it was cancelled")["text"].startswith(f"sweep {run.id} is not trained")
    holder.update_record(sweep=run.id, state="complete", best=best)
    assert message(run)["text"] == f"sweep {run.id} complete: best is trial 3, val_loss 0.25"
    assert message(run, "it was cancelled")["text"] == f"sweep {run.id} is not trained: because it was cancelled"
    holder.update_record(state="interrupted", message="the disk is full")
    assert message(run)["text"] == f"sweep {run.id} interrupted: the disk is full"
