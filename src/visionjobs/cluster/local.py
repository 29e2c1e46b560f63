"""Ray on this machine: one that stays up between runs (`ray-up`, `ray-down`), or a private one for a single run.

Both listen on 127.0.0.1 only, metrics ports too, and ask for a token. The token is in `<cache>/ray/token`, readable
by its owner only; `<cache>/ray/state.json` says where the Ray that stays up is to be found.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import filelock
from pydantic import TypeAdapter, ValidationError

from visionjobs.cluster import processes
from visionjobs.cluster.environment import credentials, environment, ray_env, ray_environment, worker_env
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.settings import Settings

OBJECT_STORE_BYTES = 512 * 2**20
"""Shared memory for objects passed between processes: training passes only metrics and a spec through it."""

START_SECONDS = 120.0
"""Longest wait for Ray's processes, and then again for the dashboard."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalCluster:
    """A Ray that stays up. address: host:port for `ray.init`; dashboard_url: http://host:port; folder: Ray's own
    files and the mark of its processes; credentials: names of the credential variables that it was started with."""

    address: str
    dashboard_url: str
    token_file: Path
    folder: Path
    credentials: tuple[str, ...]


_STATE = TypeAdapter(LocalCluster)


class Resources(NamedTuple):
    """What the cluster has in all."""

    cpus: int
    gpus: int


@dataclass(frozen=True)
class Connection:
    """What a run is connected to. private: started for this run and gone after it; dashboard_url: http://host:port."""

    private: bool
    dashboard_url: str
    resources: Resources


def ray_up(settings: Settings, port: int = 6379, dashboard_port: int = 8265) -> LocalCluster:
    """Start a Ray that stays up, or return the one that is. A port that is taken is replaced by a free one.

    Raises VisionjobsError, with Ray's own last words and nothing left running, if it does not start.
    """
    with _lock(settings):
        cluster = _find(settings)
        if cluster is None:
            cluster = _start(settings, _free_port(port, "Ray"), _free_port(dashboard_port, "the dashboard"))
            _write_state(settings, cluster)
    return cluster


def ray_down(settings: Settings) -> LocalCluster | None:
    """Stop the Ray that `ray_up` started, and no other; returns it when no process of it is left. None: none was up."""
    with _lock(settings):
        cluster = _find(settings)
        if cluster is not None:
            _remove(settings, cluster)
    return cluster


def living(settings: Settings) -> LocalCluster | None:
    """The Ray that `ray_up` started, if it is alive. What is left of a dead one is removed, with a warning."""
    with _lock(settings):
        return _find(settings)


@contextmanager
def connect(settings: Settings, *, log_to_driver: bool = False) -> Iterator[Connection]:
    """Join the Ray that is up, or start a private one that ends with the block. log_to_driver: show what workers print.

    Workers of a private Ray inherit this process's environment; those of the other have the credentials that
    `ray_up` was started with, and are sent the addresses of now.
    Raises VisionjobsError if Ray does not start or does not answer.
    """
    with _lock(settings):
        cluster, token = _find(settings), _token_file(settings)
    env = worker_env(settings)
    with ray_environment(ray_env(token) | env):
        if cluster is None:
            with _private(log_to_driver) as dashboard_url:
                yield Connection(True, dashboard_url, _resources())
        else:
            _warn_of_credentials(cluster)
            with _attached(cluster, env, log_to_driver):
                yield Connection(False, cluster.dashboard_url, _resources())


@contextmanager
def _attached(cluster: LocalCluster, env: Mapping[str, str], log_to_driver: bool) -> Iterator[None]:
    import ray

    _ray_init(address=cluster.address, runtime_env={"env_vars": dict(env)}, log_to_driver=log_to_driver)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _private(log_to_driver: bool) -> Iterator[str]:
    """A Ray for this block alone; gives the dashboard's URL. After a kill -9 of this process it ends by itself."""
    import ray

    folder = _new_folder()
    try:
        # The mark stays set for the start only: a process that the run starts for itself is not Ray's.
        with environment({processes.MARK: str(folder)}):
            context = _ray_init(
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
        shutil.rmtree(folder, ignore_errors=True)


def _ray_init(**options: Any) -> Any:
    """ray.init, with its failures in one line. Returns Ray's context."""
    import ray
    from ray.exceptions import RayError

    try:
        return ray.init(logging_level=logging.ERROR, **options)
    except (RuntimeError, OSError, RayError) as error:
        ray.shutdown()
        hint = "" if options["address"] == "local" else " Try `visionjobs ray-down`, then `visionjobs ray-up`."
        raise VisionjobsError(
            f"Ray ({options['address']}) does not start or answer: {_first_line(error)}.{hint}"
        ) from error


def _resources() -> Resources:
    import ray

    total = ray.cluster_resources()
    return Resources(int(total.get("CPU", 0)), int(total.get("GPU", 0)))


def _warn_of_credentials(cluster: LocalCluster) -> None:
    missing = [name for name in credentials() if name not in cluster.credentials]
    if missing:
        log.warning(
            "the local Ray was started without %s, so its workers will not have it: "
            "`visionjobs ray-down`, then `visionjobs ray-up` here",
            ", ".join(missing),
        )


def _start(settings: Settings, port: int, dashboard_port: int) -> LocalCluster:
    token, folder = _token_file(settings), _new_folder()
    try:
        _ray_start(token, folder, port, dashboard_port)
        url = f"http://127.0.0.1:{dashboard_port}"
        _await_dashboard(url, token)
    except BaseException:  # Ctrl-C too
        processes.end(folder)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return LocalCluster(f"127.0.0.1:{port}", url, token, folder, credentials())


def _ray_start(token: Path, folder: Path, port: int, dashboard_port: int) -> None:
    """Run `ray start --head`, in a session of its own, so that closing this terminal does not end it."""
    changes = ray_env(token) | {processes.MARK: str(folder)}
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


def _new_folder() -> Path:
    """A folder for Ray's sockets and logs that nobody else can read; removed when that Ray ends."""
    parent = tempfile.gettempdir()
    if len(parent) > 20:  # a socket's path must stay under 104 bytes, and Ray adds about 84
        parent = "/tmp"  # noqa: S108 (mkdtemp makes a private folder in it)
    return Path(tempfile.mkdtemp(prefix="vjray-", dir=parent))


def _token_file(settings: Settings) -> Path:
    """The file that holds the token, made once. Call it under the lock.

    Raises UserError if others can read it.
    """
    path = settings.cache / "ray" / "token"
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        Path(temporary).replace(path)
    if path.stat().st_mode & 0o077:
        raise UserError(
            f"{path} may be read by other users, and it is the key to run anything here in your name. "
            "Stop Ray (`visionjobs ray-down`) and delete the file; the next start makes another."
        )
    return path


def _state_file(settings: Settings) -> Path:
    return settings.cache / "ray" / "state.json"


def _write_state(settings: Settings, cluster: LocalCluster) -> None:
    path = _state_file(settings)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(_STATE.dump_json(cluster, indent=1))
    temporary.replace(path)


def _read_state(settings: Settings) -> LocalCluster | None:
    path = _state_file(settings)
    try:
        return _STATE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        log.warning("%s is damaged, and removed. If a Ray of yours is still up, end it by hand.", path)
        path.unlink()
        return None


def _find(settings: Settings) -> LocalCluster | None:
    """The Ray of the state file, if it is alive. Call it under the lock."""
    cluster = _read_state(settings)
    if cluster is None or processes.is_alive(cluster.folder):
        return cluster
    log.warning("the local Ray at %s has died; what is left of it is removed", cluster.address)
    _remove(settings, cluster)
    return None


def _remove(settings: Settings, cluster: LocalCluster) -> None:
    processes.end(cluster.folder)
    shutil.rmtree(cluster.folder, ignore_errors=True)
    _state_file(settings).unlink(missing_ok=True)


@contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    """One ray-up, ray-down or look at the state at a time."""
    folder = settings.cache / "ray"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with filelock.FileLock(folder / "lock", timeout=2 * START_SECONDS):
            yield
    except filelock.Timeout as error:
        raise VisionjobsError(f"Another ray-up or ray-down holds {folder / 'lock'}. Wait for it, or end it.") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be used: {error}. Set VISIONJOBS_CACHE to a folder of yours.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
