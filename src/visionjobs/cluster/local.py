"""Ray on this machine: one that stays up between runs (`ray-up`, `ray-down`), or a private one for a single run.

Both listen on 127.0.0.1 only, metrics ports too, and ask for a token. The token is in `<cache>/ray/token`, readable
by its owner only; `<cache>/ray/state.json` says where the Ray that stays up is to be found.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from visionjobs.cluster import processes
from visionjobs.cluster.environment import credentials, environment, ray_env, ray_environment, worker_env
from visionjobs.cluster.local_state import LocalCluster, forget, lock, read_state, token_file, write_state
from visionjobs.errors import VisionjobsError, first_line
from visionjobs.settings import Settings

os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
"""Read when ray is imported: a thread that calls Ray after it was ended must not start another one, of its own."""

OBJECT_STORE_BYTES = 512 * 2**20
"""Shared memory for objects passed between processes: training passes only metrics and a spec through it."""

START_SECONDS = 120.0
"""Longest wait for Ray's processes, and then again for the dashboard."""

log = logging.getLogger(__name__)


class Resources(NamedTuple):
    """CPUs and GPUs, of the cluster in all or not held by a run at the moment."""

    cpus: int
    gpus: int


@dataclass(frozen=True)
class Connection:
    """What a run is connected to. private: started for this run and gone after it; dashboard_url: http://host:port."""

    private: bool
    dashboard_url: str
    resources: Resources

    def free(self) -> Resources:
        """What no run holds at the moment."""
        import ray

        return _counted(ray.available_resources())


def ray_up(settings: Settings, port: int = 6379, dashboard_port: int = 8265) -> LocalCluster:
    """Start a Ray that stays up, or return the one that is. A port that is taken is replaced by a free one.

    Raises VisionjobsError, with Ray's own last words and nothing left running, if it does not start.
    """
    with lock(settings):
        cluster = _find(settings)
        if cluster is None:
            cluster = _start(settings, _free_port(port, "Ray"), _free_port(dashboard_port, "the dashboard"))
            write_state(settings, cluster)
    return cluster


def ray_down(settings: Settings) -> LocalCluster | None:
    """Stop the Ray that `ray_up` started, and no other; returns it when no process of it is left. None: none was up."""
    with lock(settings):
        cluster = _find(settings)
        if cluster is not None:
            _remove(settings, cluster)
    return cluster


def living(settings: Settings) -> LocalCluster | None:
    """The Ray that `ray_up` started, if it is alive. What is left of a dead one is removed, with a warning."""
    with lock(settings):
        return _find(settings)


@contextmanager
def connect(settings: Settings, *, log_to_driver: bool = False) -> Iterator[Connection]:
    """Join the Ray that is up, or start a private one that ends with the block. log_to_driver: show what workers print.

    Workers of a private Ray inherit this process's environment; those of the other have the credentials that
    `ray_up` was started with, and are sent the addresses of now.
    Raises VisionjobsError if Ray does not start or does not answer.
    """
    with lock(settings):
        cluster, token = _find(settings), token_file(settings)
    env = worker_env(settings)
    with ray_environment(ray_env(token) | env):
        if cluster is None:
            with _private(log_to_driver) as dashboard_url:
                yield Connection(True, dashboard_url, resources())
        else:
            _warn_of_credentials(cluster)
            with _attached(cluster, env, log_to_driver):
                yield Connection(False, cluster.dashboard_url, resources())


@contextmanager
def _attached(cluster: LocalCluster, env: Mapping[str, str], log_to_driver: bool) -> Iterator[None]:
    import ray

    ray_init(address=cluster.address, runtime_env={"env_vars": dict(env)}, log_to_driver=log_to_driver)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _private(log_to_driver: bool) -> Iterator[str]:
    """A Ray for this block alone; gives the dashboard's URL. After a kill -9 of this process it ends by itself."""
    import ray

    folder = processes.new_folder()
    try:
        # The mark stays set for the start only: a process that the run starts for itself is not Ray's.
        with environment({processes.MARK: str(folder)}):
            context = ray_init(
                address="local",  # without it ray.init joins any Ray that it finds on the machine
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=log_to_driver,
            )
        yield f"http://{context.dashboard_url}"
    finally:
        ray.shutdown()
        processes.end(folder)


def ray_init(**options: Any) -> Any:
    """ray.init, with its failures as a VisionjobsError in one line. Returns Ray's context."""
    import ray
    from ray.exceptions import RayError

    handler = signal.getsignal(signal.SIGTERM)
    try:
        context = ray.init(logging_level=logging.ERROR, **options)
    except (RuntimeError, OSError, RayError) as error:
        ray.shutdown()
        hint = "" if options["address"] == "local" else " Try `visionjobs ray-down`, then `visionjobs ray-up`."
        raise VisionjobsError(
            f"Ray ({options['address']}) does not start or answer: {first_line(error).rstrip('.')}.{hint}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own prints a stack trace and aborts
    return context


def resources() -> Resources:
    """All that the Ray which is joined has."""
    import ray

    return _counted(ray.cluster_resources())


def _counted(resources: Mapping[str, float]) -> Resources:
    return Resources(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def _warn_of_credentials(cluster: LocalCluster) -> None:
    missing = [name for name in credentials() if name not in cluster.credentials]
    if missing:
        log.warning(
            "the local Ray was started without %s, so its workers will not have it: "
            "`visionjobs ray-down`, then `visionjobs ray-up` here",
            ", ".join(missing),
        )


def _start(settings: Settings, port: int, dashboard_port: int) -> LocalCluster:
    token, folder = token_file(settings), processes.new_folder()
    try:
        _ray_start(token, folder, port, dashboard_port)
        url = f"http://127.0.0.1:{dashboard_port}"
        _await_dashboard(url, token)
    except BaseException:  # Ctrl-C too
        processes.end(folder)
        raise
    return LocalCluster(f"127.0.0.1:{port}", url, token, folder, credentials())


def _ray_start(token: Path, folder: Path, port: int, dashboard_port: int) -> None:
    """Run `ray start --head`, in a session of its own, so that closing this terminal does not end it."""
    # A job that is submitted to it (`--backend ray`) runs the `python` on its PATH: this one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    changes = ray_env(token) | {processes.MARK: str(folder), "PATH": path}
    env = {key: value for key, value in (os.environ | changes).items() if value is not None}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}",
        "--dashboard-agent-listen-port=0", f"--ray-client-server-port={_free_port(0, 'the Ray client')}",
        "--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={OBJECT_STORE_BYTES}",
        "--disable-usage-stats", "--log-style=record", "--log-color=false",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, env=env, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=START_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise VisionjobsError(f"Ray did not start within {START_SECONDS:.0f} seconds.") from error
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise VisionjobsError("Ray did not start. Its last words:\n" + "\n".join(lines[-5:]))


def _await_dashboard(url: str, token: Path) -> None:
    request = urllib.request.Request(f"{url}/api/version", headers={"Authorization": f"Bearer {token.read_text()}"})  # noqa: S310
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 (our own http address)
        except OSError as error:
            if time.monotonic() > deadline:
                raise VisionjobsError(f"Ray's dashboard does not answer at {url}: {error}") from error
            time.sleep(0.2)
        else:
            return


def _free_port(wanted: int, what: str) -> int:
    """`wanted` if nothing listens there (0: any), else another, said so."""
    for port in (wanted, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
        if wanted and found != wanted:
            log.warning("port %d is taken: %s gets %d", wanted, what, found)
        return found
    raise VisionjobsError(f"There is no free port on 127.0.0.1 for {what}.")


def _find(settings: Settings) -> LocalCluster | None:
    """The Ray of the state file, if it is alive. Call it under the lock."""
    cluster = read_state(settings)
    if cluster is None or processes.is_alive(cluster.folder):
        return cluster
    log.warning("the local Ray at %s has died; what is left of it is removed", cluster.address)
    _remove(settings, cluster)
    return None


def _remove(settings: Settings, cluster: LocalCluster) -> None:
    processes.end(cluster.folder)
    forget(settings)
