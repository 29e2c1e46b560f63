"""`visionjobs` as a person starts it: in a process of its own, in a project folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

VISIONJOBS = str(Path(sys.executable).with_name("visionjobs"))


@dataclass
class Project:
    """A folder with jobs/, and the environment that commands run in. storage: folder or s3:// address."""

    folder: Path
    storage: str
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        own = {"VISIONJOBS_STORAGE": self.storage, "VISIONJOBS_CACHE": str(self.folder / "cache"), "COLUMNS": "200"}
        return {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | own | self.extra

    def call(self, *args: str, timeout: float = 580) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [VISIONJOBS, *args], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            [VISIONJOBS, *args], cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    def runs(self) -> list[Path]:
        """Run folders, where the storage is a folder."""
        return sorted((Path(self.storage) / "runs").glob("*"))

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started for this project, Ray's among them."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("VISIONJOBS_CACHE") == self.env["VISIONJOBS_CACHE"]:
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def workers(self) -> list[psutil.Process]:
        """Ray Train's worker processes."""
        return [process for process in self.processes() if "RayTrainWorker" in " ".join(cmdline(process))]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def progress(run: Path) -> dict[str, object]:
    """The progress of the newest attempt, {} before its first."""
    files = sorted(run.glob("attempts/*/progress.json"))
    return json.loads(files[-1].read_text()) if files else {}


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = 300, driver: subprocess.Popen[str] | None = None
) -> None:
    """Poll until `condition` is true; fails at once when `driver` ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        if driver is not None and driver.poll() is not None:
            raise AssertionError(f"ended while waiting for {what}: {driver.communicate()[1]}")
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)


def kill_9(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def weights(run: Path) -> dict[str, torch.Tensor]:
    (file,) = (run / "weights").glob("*.pth")
    return torch.load(file, weights_only=True)


def read_json(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())
