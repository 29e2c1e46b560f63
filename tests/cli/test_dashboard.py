"""`visionjobs dashboard`: without anything to show, and through a port-forward to a job's head."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from apiserver import ApiServer
from cluster_hands import Hands
from cluster_jobs import Commands, batch_job, begin_run, rayjob, wait_for
from kubelet_stub import Kubelet

import visionjobs.cli.dashboard


def test_nothing_is_up(visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    ended = visionjobs("dashboard")
    assert (ended.status, ended.out) == (2, "")
    assert "visionjobs ray-up" in ended.err


@pytest.fixture
def command(
    apiserver: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Commands:  # fmt: skip
    apiserver.use(monkeypatch)
    monkeypatch.setenv("VISIONJOBS_NAMESPACE", namespace)
    monkeypatch.setenv("VISIONJOBS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(visionjobs.cli.dashboard, "LOOK_SECONDS", 0.2)
    return Commands(monkeypatch, capfdbinary, str(tmp_path / "storage"))


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers with a large page that holds the path, and with what was sent."""

    def do_GET(self) -> None:
        self._answer(self.path.encode() * 20_000)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def pages() -> Iterator[int]:
    """The port of a server that stands for Ray's dashboard."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def get(port: int, path: str, data: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.apiserver
def test_the_only_rayjobs_head_and_that_of_its_retry(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands, pages: int
) -> None:
    apiserver.create(rayjob("one"), namespace)
    first = hands.start_rayjob("one")
    hands.run_pod(first.head)
    kubelet.forward(namespace, first.head, 8265, to=pages)
    port, clusters = free_port(), [first.name]

    def script() -> None:
        wait_for(lambda: listens(port), "the port-forward")
        paths = [f"/{number}" for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda path: get(port, path), paths))
        assert answers == [(200, path.encode() * 20_000) for path in paths]
        assert get(port, "/upload", b"u" * 1_000_000) == (200, b"u" * 1_000_000)
        second = hands.retry_rayjob("one", first)
        clusters.append(second.name)
        wait_for(lambda: b"has not started yet" in get(port, "/")[1], "the first head to be missed")
        hands.run_pod(second.head)
        wait_for(lambda: b"connection refused" in get(port, "/")[1], "the second head, before its dashboard is up")
        kubelet.forward(namespace, second.head, 8265, to=pages)
        assert get(port, "/2") == (200, b"/2" * 20_000)
        hands.rayjob("one", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")

    ended = command("dashboard", "--port", str(port), script=script)
    assert ended.status == 0, ended.err
    assert ended.out.decode().splitlines()[-1] == f"http://127.0.0.1:{port}"
    for cluster in clusters:
        assert (
            f"kubectl -n {namespace} get secret {cluster} -o 'jsonpath={{.data.auth_token}}' | base64 -d" in ended.err
        )
    assert "waiting for the next" in ended.err
    assert "one has ended: succeeded" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.apiserver
def test_a_jobs_pod_until_it_is_interrupted(
    apiserver: ApiServer, namespace: str, hands: Hands, kubelet: Kubelet, command: Commands, pages: int
) -> None:
    apiserver.create(batch_job("one"), namespace)
    pod = hands.job_pod("one")
    hands.run_pod(pod)
    kubelet.forward(namespace, pod, 8265, to=pages)
    port = free_port()

    def script() -> None:
        wait_for(lambda: listens(port), "the port-forward")
        with socket.create_connection(("127.0.0.1", port)) as broken_off:
            broken_off.sendall(b"GET / HTTP/1.1\r\n")
        with apiserver.away():
            status, told = get(port, "/")
            assert (status, b"the cluster does not answer" in told) == (502, True)
        assert get(port, "/again")[0] == 200
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    ended = command("dashboard", "one", "--port", str(port), script=script)
    assert ended.status == 0, ended.err
    assert f"kubectl -n {namespace} exec {pod} -c job -- cat /cache/ray/token" in ended.err
    assert "The port-forward goes on" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.apiserver
def test_what_has_none_says_why(apiserver: ApiServer, namespace: str, hands: Hands, command: Commands) -> None:
    nothing = command("dashboard")
    assert nothing.status == 2
    assert "Nor is there a job on the cluster" in nothing.err
    apiserver.create(rayjob("one"), namespace)
    pods = hands.start_rayjob("one")
    hands.unschedulable_pod(pods.head, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    pending = command("dashboard", "one")
    assert (pending.status, pending.out) == (1, b"")
    assert "nvidia.com/gpu" in pending.err
    apiserver.create(batch_job("two"), namespace)
    several = command("dashboard")
    assert several.status == 2
    assert "one, two" in several.err
    begin_run(command.storage, "here")
    assert command("dashboard", "here").status == 1
    hands.run_pod(pods.head)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = command("dashboard", "one", "--port", str(port))
    assert refused.status == 2
    assert f"--port {port}" in refused.err
