"""The local Ray, real: up and down, what it lets in, joined by a run or private to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from visionjobs.cluster import processes
from visionjobs.cluster.local import living, ray_down, ray_up
from visionjobs.cluster.local_state import LocalCluster, write_state
from visionjobs.errors import UserError
from visionjobs.settings import Settings

pytestmark = pytest.mark.ray


def settings_in(folder: Path) -> Settings:
    return Settings.from_env({"VISIONJOBS_STORAGE": str(folder / "storage"), "VISIONJOBS_CACHE": str(folder / "cache")})


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    """A port on which something else listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(settings: Settings, taken_port: int) -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "known-to-the-cluster")
        patch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
        up = ray_up(settings, port=0, dashboard_port=taken_port)
    yield up
    ray_down(settings)


def get(url: str, token: str | None) -> tuple[int, bytes]:
    """Status and body of a GET with the token, or without one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


@pytest.mark.parametrize("path", ["/api/version", "/api/jobs/", "/nodes?view=summary"])
@pytest.mark.parametrize(("token", "status"), [("none", 401), ("wrong", 403), ("right", 200)])
def test_api_asks_for_the_token(cluster: LocalCluster, path: str, token: str, status: int) -> None:
    given = {"none": None, "wrong": "0" * 64, "right": cluster.token_file.read_text()}[token]
    assert get(cluster.dashboard_url + path, given)[0] == status


def test_token_is_only_in_a_file_of_the_owner(cluster: LocalCluster, settings: Settings) -> None:
    token = cluster.token_file.read_text()
    assert cluster.token_file.stat().st_mode & 0o777 == 0o600
    assert len(token) == 64
    assert token not in (settings.cache / "ray" / "state.json").read_text()
    for process in processes.ray_processes(cluster.folder):
        assert token not in " ".join(process.cmdline())
        assert token not in process.environ().values()


def test_logs_are_readable_by_the_owner_only(cluster: LocalCluster) -> None:
    assert cluster.folder.stat().st_mode & 0o777 == 0o700


def test_every_port_is_bound_to_loopback(cluster: LocalCluster) -> None:
    listening = [
        connection.laddr
        for process in processes.ray_processes(cluster.folder)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 5
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_a_taken_port_is_replaced(cluster: LocalCluster, taken_port: int) -> None:
    assert cluster.dashboard_url != f"http://127.0.0.1:{taken_port}"
    assert cluster.dashboard_url.startswith("http://127.0.0.1:")


def test_up_twice_is_the_same_cluster(cluster: LocalCluster, settings: Settings) -> None:
    before = processes.ray_processes(cluster.folder)
    assert ray_up(settings) == cluster
    assert {p.pid for p in before if p.name() in {"gcs_server", "raylet"}} <= {
        p.pid for p in processes.ray_processes(cluster.folder)
    }


def driver_of(script: str, env: dict[str, str]) -> subprocess.Popen[str]:
    """A process that joins or starts a Ray, tells of it in a line, and goes on when it is sent one."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", script], env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


JOINED = """
import json, os, signal
import ray  # imported before connect() sets Ray's environment, as the training driver does
from visionjobs.cluster.local import connect
from visionjobs.settings import Settings

received = []
signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
before = dict(os.environ)
with connect(Settings.from_env()) as connection:
    mode = os.environ["RAY_AUTH_MODE"]
    os.kill(os.getpid(), signal.SIGTERM)  # Ray's own handlers would abort the process
    worker = ray.get(ray.remote(lambda: dict(os.environ)).remote())
    print(json.dumps({"worker": worker, "private": connection.private, "url": connection.dashboard_url, "mode": mode,
                      "cpus": connection.resources.cpus, "received": received}), flush=True)
    input()
after = {key: value for key, value in os.environ.items() if key != "PYTHONBREAKPOINT"}  # which ray.init sets
print(json.dumps({"restored": after == before}))
"""


@dataclass(frozen=True)
class Joined:
    """told: what the process said while it had joined; jobs: what the dashboard knew of then; after: said at its end.
    A process of its own, as each run has: Ray leaves threads behind, and pytest's is not to end with them."""

    told: dict[str, Any]
    jobs: list[dict[str, Any]]
    after: dict[str, Any]
    stderr: str


@pytest.fixture(scope="module")
def joined(cluster: LocalCluster, settings: Settings) -> Joined:
    env = os.environ | {
        "VISIONJOBS_STORAGE": settings.storage,
        "VISIONJOBS_CACHE": str(settings.cache),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "of-the-driver",
        "AWS_SECRET_ACCESS_KEY": "not-known-to-the-cluster",
    }
    driver = driver_of(JOINED, env)
    line = driver.stdout.readline()
    _, jobs = get(cluster.dashboard_url + "/api/jobs/", cluster.token_file.read_text()) if line else (0, "[]")
    out, stderr = driver.communicate("\n", timeout=60)
    assert driver.returncode == 0, stderr
    return Joined(json.loads(line), json.loads(jobs), json.loads(out), stderr)


def test_connect_joins_the_one_that_is_up(joined: Joined, cluster: LocalCluster, settings: Settings) -> None:
    told, env = joined.told, joined.told["worker"]
    assert not told["private"]
    assert told["url"] == cluster.dashboard_url
    assert told["cpus"] == len(os.sched_getaffinity(0))
    assert [job["status"] for job in joined.jobs] == ["RUNNING"]
    assert env["VISIONJOBS_STORAGE"] == settings.storage
    assert env["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert env["AWS_ACCESS_KEY_ID"] == "known-to-the-cluster"  # credentials do not travel
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert "AWS_SECRET_ACCESS_KEY" in joined.stderr
    assert "not-known-to-the-cluster" not in joined.stderr
    assert living(settings) == cluster  # the run's end is not the cluster's


def test_connect_leaves_environment_and_signals_as_they_were(joined: Joined) -> None:
    assert joined.told["mode"] == "token"
    assert joined.told["received"] == [signal.SIGTERM]
    assert joined.after == {"restored": True}


def test_down_leaves_no_process_and_spares_others(cluster: LocalCluster, settings: Settings) -> None:
    reading_a_log = subprocess.Popen(["tail", "-f", cluster.folder / "ray" / "session_latest" / "logs" / "raylet.out"])
    try:
        mine = processes.ray_processes(cluster.folder)
        assert len(mine) > 5
        assert ray_down(settings) == cluster
        assert not [process for process in mine if process.is_running()]
        assert reading_a_log.poll() is None
    finally:
        reading_a_log.kill()
        reading_a_log.wait()
    assert not [
        p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if str(cluster.folder) in str(p.info["cmdline"])
    ]
    assert not cluster.folder.exists()
    assert living(settings) is None
    assert ray_down(settings) is None


PRIVATE = """
import json, os, sys
import ray  # imported before connect() sets Ray's environment, as the training driver does
from visionjobs.cluster import processes
from visionjobs.cluster.local import connect
from visionjobs.settings import Settings

with connect(Settings.from_env()) as connection:
    folder = ray._private.worker._global_node.get_temp_dir_path()
    worker = ray.get(ray.remote(lambda: os.environ["AWS_SECRET_ACCESS_KEY"]).remote())
    print(json.dumps({"private": connection.private, "url": connection.dashboard_url, "folder": folder,
                      "inherits": worker == "s3cret", "cpus": connection.resources.cpus}), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("ending", ["end of block", pytest.param("kill -9", marks=pytest.mark.slow)])
def test_without_ray_up_it_is_private_and_gone_afterwards(tmp_path: Path, ending: str) -> None:
    env = os.environ | {"VISIONJOBS_CACHE": str(tmp_path), "AWS_SECRET_ACCESS_KEY": "s3cret"}
    driver = driver_of(PRIVATE, env)
    told = json.loads(driver.stdout.readline())
    folder = Path(told["folder"]).parent
    mine = processes.ray_processes(folder)
    without_token, _ = get(told["url"] + "/api/version", None)
    if ending == "kill -9":
        driver.send_signal(signal.SIGKILL)
    _, stderr = driver.communicate("\n", timeout=60)
    _, left = psutil.wait_procs(mine, timeout=150)  # after kill -9 the raylet's two agents look for it once a minute
    if ending == "kill -9":
        assert folder.name.startswith("vjray-")
        shutil.rmtree(folder, ignore_errors=True)  # another start may have cleared it away
    else:
        assert driver.returncode == 0, stderr
        assert not folder.exists()
    assert told["private"]
    assert told["inherits"]
    assert told["cpus"] == len(os.sched_getaffinity(0))
    assert len(mine) > 5
    assert not left
    assert without_token == 401
    assert not (tmp_path / "ray" / "state.json").exists()


def state_of(settings: Settings, cluster: LocalCluster) -> Path:
    path = settings.cache / "ray" / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_state(settings, cluster)
    return path


def dead(tmp_path: Path) -> LocalCluster:
    folder = tmp_path / "vjray-dead"
    folder.mkdir()
    return LocalCluster("127.0.0.1:1", "http://127.0.0.1:2", tmp_path / "token", folder, ())


def test_state_of_a_dead_cluster_is_removed_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, cluster = settings_in(tmp_path), dead(tmp_path)
    path = state_of(settings, cluster)
    assert living(settings) is None
    assert not path.exists()
    assert not cluster.folder.exists()
    assert "has died" in caplog.text


def test_what_is_left_of_a_dead_cluster_is_ended(tmp_path: Path) -> None:
    settings, cluster = settings_in(tmp_path), dead(tmp_path)
    state_of(settings, cluster)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    )
    marked = os.environ | {processes.MARK: str(cluster.folder)}
    left = subprocess.Popen([sys.executable, "-c", stubborn], env=marked, stdout=subprocess.PIPE, text=True)
    other = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, text=True)
    try:
        assert left.stdout.readline() == other.stdout.readline() == "up\n"
        assert ray_down(settings) is None
        assert left.poll() is not None
        assert other.poll() is None
    finally:
        left.kill()
        other.kill()
        other.wait()


def test_folders_that_killed_processes_left_are_removed() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    theirs, ours = processes.new_folder(), processes.new_folder()
    left = theirs.rename(theirs.with_name(f"vjray-{gone.pid}-left"))
    (left / "log").write_text("")
    another = processes.new_folder()
    assert not left.exists()
    assert ours.exists()
    for folder in (ours, another):
        processes.end(folder)
        assert not folder.exists()


def test_a_damaged_state_file_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_in(tmp_path)
    path = state_of(settings, dead(tmp_path))
    path.write_text(path.read_text()[:20])
    assert living(settings) is None
    assert not path.exists()
    assert str(path) in caplog.text


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    token = settings.cache / "ray" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("0" * 64)
    token.chmod(0o644)
    with pytest.raises(UserError, match="other users"):
        ray_up(settings)


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = replace(settings_in(tmp_path), cache=tmp_path / "file" / "cache")
    with pytest.raises(UserError, match="VISIONJOBS_CACHE"):
        living(settings)
