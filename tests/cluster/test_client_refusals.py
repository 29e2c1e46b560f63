"""What a cluster means by 403: a quota, Pod Security, nobody logged in, or no right. Asked of a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from kubernetes.client import ApiClient, Configuration
from rendering import CLUSTER, run_of
from small_cluster import told

from visionjobs.cluster.checks_objects import check_accepted
from visionjobs.cluster.client import Cluster, ForbiddenError
from visionjobs.cluster.render import render
from visionjobs.errors import UserError

OBJECTS = render(run_of("convnet"), CLUSTER, "job")
QUOTA = 'jobs.batch "x" is forbidden: exceeded quota: visionjobs, requested: count/jobs.batch=1'
SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
RIGHTS = 'jobs.batch "x" is forbidden: User "ada" cannot patch resource "jobs" in API group "batch"'
NOBODY = 'jobs.batch "x" is forbidden: User "system:anonymous" cannot patch resource "jobs" in API group "batch"'


class Refusing(BaseHTTPRequestHandler):
    message = ""

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"kind": "Status", "code": 403, "message": self.message}).encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def refusing() -> Iterator[Cluster]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield Cluster(ApiClient(Configuration(host=address)), "team", address)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("message", "begin"),
    [
        (QUOTA, "the quota of the namespace team does not allow it: "),
        (SECURITY, "the Pod Security of the namespace team does not allow it: "),
    ],
)
def test_a_rule_of_the_namespace_is_no_question_of_rights(
    refusing: Cluster, monkeypatch: pytest.MonkeyPatch, message: str, begin: str
) -> None:
    monkeypatch.setattr(Refusing, "message", message)
    with pytest.raises(UserError) as raised:
        refusing.apply(OBJECTS[0])
    assert str(raised.value).startswith(begin + message)
    assert not isinstance(raised.value, ForbiddenError)
    assert "visionjobs-submitter" not in str(raised.value)
    told(check_accepted(refusing, OBJECTS), False, begin)


def test_who_has_no_right_is_told_the_role(refusing: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusing, "message", RIGHTS)
    with pytest.raises(ForbiddenError, match="Ask whoever runs the cluster for the role visionjobs-submitter"):
        refusing.apply(OBJECTS[0])
    told(check_accepted(refusing, OBJECTS), None, "may not look there")


def test_who_is_nobody_is_told_to_log_in(refusing: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusing, "message", NOBODY)
    with pytest.raises(UserError, match="log in again") as raised:
        refusing.apply(OBJECTS[0])
    assert not isinstance(raised.value, ForbiddenError)
