"""What ran where: code version, hardware and library versions, for a run's record."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from visionjobs import __version__

LIBRARIES = ("torch", "torchvision", "ray", "kornia", "numpy", "pillow", "ultralytics-opencv-headless", "onnxruntime")


def code_version() -> dict[str, str | None]:
    """version; source: a hash of the package's own files, which changes with any edit; commit, where git knows it, or
    whoever submitted the code did."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    commit = _commit(package) or os.environ.get("VISIONJOBS_COMMIT")
    return {"version": __version__, "source": digest.hexdigest()[:12], "commit": commit}


def hardware() -> dict[str, Any]:
    """Of the machine that this process is on."""
    return {
        "host": socket.gethostname(),
        "cpu": _cpu_model(),
        "cpus": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def pod() -> dict[str, str | None] | None:
    """On a cluster, what its manifest says of where this is: backend, image, pod and node. None elsewhere."""
    if "VISIONJOBS_BACKEND" not in os.environ:
        return None
    names = {"backend": "VISIONJOBS_BACKEND", "image": "VISIONJOBS_IMAGE", "pod": "POD_NAME", "node": "NODE_NAME"}
    return {key: os.environ.get(name) for key, name in names.items()}


def _commit(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
