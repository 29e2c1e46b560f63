"""A real Kubernetes API server for tests: 1.20 with KubeRay's CRDs, on loopback, without controllers or kubelets.

    def test_x(apiserver, namespace, kubelet, monkeypatch):
        apiserver.use(monkeypatch)                       # KUBECONFIG, as the cluster's administrator
        apiserver.create({"apiVersion": "v1", "kind": "ConfigMap", ...}, namespace)
        apiserver.set_status("rayjobs", namespace, "name", {"jobDeploymentStatus": "Running"})
        config = apiserver.user(namespace, "jane")       # kubeconfig of someone whom RBAC allows nothing
        with apiserver.away():                           # nobody answers on its port; afterwards it is as it was

`namespace` is a new one for each test (namespaces are never removed: that is a controller's work). What the operator,
the Job controller, the scheduler and a kubelet would write is in cluster_hands.py, pod logs are in kubelet_stub.py.
A new namespace has no LimitRange and no quota; a ResourceQuota refuses all pods until its status has `hard` and `used`.
Code under test must delete with propagationPolicy Background: what Foreground and Orphan wait for is a controller.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

READY_S = 90
PROGRAMS = ("etcd", "apiserver")  # in the order in which they start

# Where the API has each kind: the path in front of `namespaces/...`, and the name in a path.
CORE, RAY = "/api/v1", "/apis/ray.io/v1"
PLACES = {
    "Namespace": (CORE, "namespaces"),
    "Node": (CORE, "nodes"),
    "Pod": (CORE, "pods"),
    "Event": (CORE, "events"),
    "Secret": (CORE, "secrets"),
    "Service": (CORE, "services"),
    "ConfigMap": (CORE, "configmaps"),
    "ServiceAccount": (CORE, "serviceaccounts"),
    "ResourceQuota": (CORE, "resourcequotas"),
    "Job": ("/apis/batch/v1", "jobs"),
    "RayJob": (RAY, "rayjobs"),
    "RayCluster": (RAY, "rayclusters"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PriorityClass": ("/apis/scheduling.k8s.io/v1", "priorityclasses"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
}
GROUPS = {plural: group for group, plural in PLACES.values()}


class ApiRefusalError(AssertionError):
    """The API server said no: `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


@dataclass
class ApiServer:
    """The server, its etcd and its folder. `kubeconfig` is the administrator's."""

    script: Path
    folder: Path
    commands: dict[str, list[str]] = field(default_factory=dict)
    own: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def kubectl_cache(self) -> Path:
        """Where kubectl remembers for hours which kinds there are."""
        return self.folder / "kubectl-cache"

    @property
    def url(self) -> str:
        config = yaml.safe_load(self.kubeconfig.read_text())
        return str(config["clusters"][0]["cluster"]["server"])

    def use(self, monkeypatch: pytest.MonkeyPatch, kubeconfig: Path | None = None) -> None:
        """This process and its children find the server through KUBECONFIG until the test ends."""
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig or self.kubeconfig))

    def client(self, kubeconfig: Path | None = None) -> Any:
        """A `kubernetes.client.ApiClient`, for looking behind the code under test."""
        from kubernetes import config

        return config.new_client_from_config(str(kubeconfig or self.kubeconfig), persist_config=False)

    def kubectl(self, *arguments: str, kubeconfig: Path | None = None, stdin: str | None = None) -> str:
        """What kubectl prints; its error output is the message of the assertion that fails when it fails."""
        config, cache = str(kubeconfig or self.kubeconfig), str(self.kubectl_cache)
        command = ["kubectl", "--kubeconfig", config, "--cache-dir", cache, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def call(
        self, method: str, path: str, body: Any = None, media: str = "application/json", timeout: float = 30
    ) -> Any:
        """One request as the administrator, JSON in and out. Raises ApiRefusalError with the server's own message."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer test-admin-token", "Content-Type": media},
        )
        try:
            with urllib.request.urlopen(request, context=_unverified(), timeout=timeout) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ApiRefusalError(error.code, error.read().decode(errors="replace")) from error

    def create(self, manifest: dict[str, Any], namespace: str | None = None) -> dict[str, Any]:
        """POST an object of a kind in PLACES and return it as stored. Cluster-wide kinds take no namespace."""
        group, plural = PLACES[manifest["kind"]]
        return self.call("POST", _path(group, plural, namespace), manifest)

    def get(self, plural: str, namespace: str | None, name: str) -> dict[str, Any]:
        return self.call("GET", _path(GROUPS[plural], plural, namespace, name))

    def items(self, plural: str, namespace: str | None, selector: str = "") -> list[dict[str, Any]]:
        path = _path(GROUPS[plural], plural, namespace)
        return self.call("GET", f"{path}?labelSelector={selector}")["items"]

    def patch(self, plural: str, namespace: str | None, name: str, change: dict[str, Any]) -> dict[str, Any]:
        """Merge patch (RFC 7386): a list replaces a list, null removes."""
        return self.call("PATCH", _path(GROUPS[plural], plural, namespace, name), change, MERGE)

    def set_status(self, plural: str, namespace: str | None, name: str, status: dict[str, Any]) -> dict[str, Any]:
        """Merge into the status subresource, as a controller would."""
        path = _path(GROUPS[plural], plural, namespace, name, "status")
        return self.call("PATCH", path, {"status": status}, MERGE)

    def delete(self, plural: str, namespace: str | None, name: str) -> None:
        """Without grace, as a kubelet confirms it; owned objects stay (the garbage collector is a controller)."""
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        self.call("DELETE", _path(GROUPS[plural], plural, namespace, name), options)

    def user(self, namespace: str, name: str, role: str | None = None) -> Path:
        """The kubeconfig of a new person, who may do what `role` (a Role of the namespace) allows, or nothing at all.

        It is a service account with a token of its own: to RBAC it is like any other user, called
        `system:serviceaccount:NAMESPACE:NAME`.
        """
        self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}, namespace)
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        answer = self.call("POST", _path(CORE, "serviceaccounts", namespace, name, "token"), request)
        if role:
            binding = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            }
            self.create(binding, namespace)
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"] = [{"name": name, "user": {"token": answer["status"]["token"]}}]
        config["contexts"][0]["context"].update(user=name, namespace=namespace)
        path = self.folder / f"kubeconfig-{namespace}-{name}"
        path.write_text(yaml.safe_dump(config))
        return path

    def start(self) -> None:
        """The first time through the start script; afterwards what is not running, on the same ports and data."""
        if not self.commands:
            done = subprocess.run([self.script, self.folder], capture_output=True, text=True, check=False, timeout=240)
            if done.returncode:
                raise RuntimeError(f"{self.script} failed:\n{done.stdout}{done.stderr}{self._logs()}")
            for name in PROGRAMS:
                self.commands[name] = psutil.Process(self._pid(name)).cmdline()
            return
        for name in PROGRAMS:
            if not _runs(self._pid(name)):
                with (self.folder / f"{name}.log").open("ab") as log:
                    self.own[name] = subprocess.Popen(
                        self.commands[name], stdout=log, stderr=log, start_new_session=True
                    )
                (self.folder / f"{name}.pid").write_text(str(self.own[name].pid))
        self._wait_until_ready()

    def stop(self, *names: str) -> None:
        """Kill it and its etcd, or only what is named ("apiserver", "etcd"): open requests break off at once."""
        for name in reversed(PROGRAMS):
            if (names and name not in names) or not (self.folder / f"{name}.pid").exists():
                continue
            pid = self._pid(name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if name in self.own:
                self.own.pop(name).wait()
            while _runs(pid):
                time.sleep(0.02)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Inside, nobody answers on its port; what it stored stays in etcd."""
        self.stop("apiserver")
        try:
            yield
        finally:
            self.start()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError, ApiRefusalError, ValueError):
                if self.call("GET", f"{RAY}/rayjobs?limit=1", timeout=2)["kind"] == "RayJobList":
                    return
            if time.monotonic() > deadline or not _runs(self._pid("apiserver")):
                raise RuntimeError(f"the API server did not come back:{self._logs()}")
            time.sleep(0.1)

    def _pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def _logs(self) -> str:
        tails = [(name, self.folder / f"{name}.log") for name in PROGRAMS]
        return "".join(f"\n-- {name}.log\n{path.read_text()[-1500:]}" for name, path in tails if path.exists())


MERGE = "application/merge-patch+json"


def _path(group: str, plural: str, namespace: str | None, *rest: str) -> str:
    return "/".join([group, *(["namespaces", namespace] if namespace else []), plural, *rest])


def _unverified() -> ssl.SSLContext:
    """Its certificate is made anew by the server for itself; its kubeconfig skips the check too."""
    return ssl._create_unverified_context()  # noqa: S323


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The API server, one for the whole session. Skips only where shared/k8s/apiserver is not there at all."""
    data = Path(os.environ.get("VISIONJOBS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    script = data.parent / "k8s" / "apiserver" / "start"
    if not script.exists():
        pytest.skip(f"no API server for tests: {script} is not there (it is looked for beside VISIONJOBS_TEST_DATA)")
    server = ApiServer(script, tmp_path_factory.mktemp("apiserver"))
    try:
        server.start()
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        server.stop()
        pytest.fail(f"the API server is there and did not start (it needs etcd, kubectl, openssl and xz): {error}")
    yield server
    server.stop()
    (server.folder / "kube-apiserver").unlink()  # 120 MB, and pytest keeps the folders of three sessions


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A namespace of the test's own. A server that an earlier test left stopped is started again."""
    apiserver.start()
    name = f"test-{secrets.token_hex(4)}"
    apiserver.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name
