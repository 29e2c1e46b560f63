"""What is known of the local Ray between two commands: its state file, its token, and the lock around both."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
from pydantic import TypeAdapter, ValidationError

from visionjobs.errors import UserError, VisionjobsError
from visionjobs.settings import Settings

LOCK_SECONDS = 240.0
"""Longest wait for another command that starts or stops the local Ray."""

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


@contextmanager
def lock(settings: Settings) -> Iterator[None]:
    """One ray-up, ray-down or look at the state at a time."""
    folder = settings.cache / "ray"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with filelock.FileLock(folder / "lock", timeout=LOCK_SECONDS):
            yield
    except filelock.Timeout as error:
        raise VisionjobsError(f"Another ray-up or ray-down holds {folder / 'lock'}. Wait for it, or end it.") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be used: {error}. Set VISIONJOBS_CACHE to a folder of yours.") from error


def token_file(settings: Settings) -> Path:
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


def forget(settings: Settings) -> None:
    """Remove the state file."""
    _state_file(settings).unlink(missing_ok=True)


def write_state(settings: Settings, cluster: LocalCluster) -> None:
    """Remember the Ray that stays up. Call it under the lock."""
    path = _state_file(settings)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(_STATE.dump_json(cluster, indent=1))
    temporary.replace(path)


def read_state(settings: Settings) -> LocalCluster | None:
    """The Ray that was started last and not stopped, alive or not. Call it under the lock."""
    path = _state_file(settings)
    try:
        return _STATE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        log.warning("%s is damaged, and removed. If a Ray of yours is still up, end it by hand.", path)
        forget(settings)
        return None
