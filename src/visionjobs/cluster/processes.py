"""The folder of one Ray on this machine and the processes that bear its name, ended without touching others."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from visionjobs.errors import VisionjobsError

MARK = "RAY_TMPDIR"
"""Environment variable that names a Ray's folder. Each Ray of ours has a folder of its own, so it tells them apart."""


def new_folder() -> Path:
    """A folder for Ray's sockets and logs that nobody else can read; `end` removes it.

    Its name tells who made it, so that those which a killed process left behind are removed here.
    """
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > 11:  # a socket's path must stay under 104 bytes, and Ray adds about 70 to the folder's
        parent = Path("/tmp")  # noqa: S108 (mkdtemp makes a private folder in it)
    for folder in parent.glob("vjray-*-*"):
        maker = re.fullmatch(r"vjray-(\d+)-.*", folder.name)
        with suppress(OSError):  # removed meanwhile by another start
            ours = folder.stat().st_uid == os.getuid()
            if maker and ours and not psutil.pid_exists(int(maker[1])) and not ray_processes(folder):
                shutil.rmtree(folder)
    return Path(tempfile.mkdtemp(prefix=f"vjray-{os.getpid()}-", dir=parent))


def ray_processes(folder: Path) -> set[psutil.Process]:
    """Every process that was started with `folder` as Ray's, and all their descendants, this process excepted.

    Ray's workers overwrite their environment when they set their title, so they are found as descendants of the
    raylet. Command lines are no mark: somebody reading a log file in the folder would be taken for Ray.
    """
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended meanwhile, or belongs to someone else
            if process.environ().get(MARK) == str(folder):
                found.update([process, *process.children(recursive=True)])
    return {process for process in found if process.pid != os.getpid() and _runs(process)}


def is_alive(folder: Path) -> bool:
    """Whether both halves that a Ray cannot lose are there: the server that knows the cluster, and its node."""
    names = {_name(process) for process in ray_processes(folder)}
    return {"gcs_server", "raylet"} <= names


def end(folder: Path) -> None:
    """End every process of the Ray at `folder`, and remove the folder. Returns when none is left.

    They are asked first, then killed. The raylet goes before the others, for it ends its own workers.
    Raises VisionjobsError with the process ids if some cannot be killed.
    """
    known = ray_processes(folder)  # listed before the raylet has gone, by whom its workers are found
    _ask([process for process in known if _name(process) == "raylet"], seconds=5)
    _ask(known | ray_processes(folder), seconds=3)
    for _ in range(5):  # a process may have been started while the list was made
        left = {process for process in known if _runs(process)} | ray_processes(folder)
        if not left:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=2)
    pids = ", ".join(str(process.pid) for process in left)
    raise VisionjobsError(f"These processes of the local Ray cannot be ended: {pids}. End them by hand (kill -9).")


def _ask(processes: Iterable[psutil.Process], seconds: float) -> None:
    processes = list(processes)
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(processes, timeout=seconds)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
