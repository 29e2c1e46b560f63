"""Checkpoints: tensors and plain values, verified by sha256, the manifest written last.

    attempts/<n>/checkpoints/step-000000125/{state.pt, manifest.json}

Kept over all attempts of a run: the last two whole ones and the best. One that does not verify is set aside (a
`damaged.json` beside it says why) and the one before it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from visionjobs.data.pack import sha256_of
from visionjobs.errors import MissingObjectError, StorageError, VisionjobsError
from visionjobs.runs import Attempt, Run

KEEP_NEWEST = 2


@dataclass(frozen=True)
class CheckpointInfo:
    """One stored checkpoint. key: its folder relative to the run; score: higher is better, None within an epoch."""

    key: str
    step: int
    epoch: int
    score: float | None
    sha256: str
    bytes: int


def save_checkpoint(
    attempt: Attempt, state: dict[str, Any], *, step: int, epoch: int, score: float | None, scratch: Path
) -> CheckpointInfo:
    """Serialise `state` (CPU tensors and plain values) to storage and thin out the older ones.

    scratch: local folder for the temporary file. Raises SupersededError, StorageError.
    """
    name = f"step-{step:09}"
    path = scratch / f"{attempt.run.id}-{attempt.number}-{name}.pt"
    try:
        _write(state, path)
        info = CheckpointInfo(
            f"attempts/{attempt.number:04}/checkpoints/{name}", step, epoch, score, sha256_of(path), path.stat().st_size
        )
        attempt.check_not_superseded()
        attempt.run.store.upload({f"{info.key}/state.pt": path})
        attempt.write_shared(f"{info.key}/manifest.json", json.dumps(asdict(info), indent=1))
    finally:
        path.unlink(missing_ok=True)
    _thin_out(attempt)
    return info


def list_checkpoints(run: Run) -> list[CheckpointInfo]:
    """The checkpoints that have a manifest, by step; of equal steps the older attempt's first."""
    found = []
    for key in [entry.key for entry in run.store.entries("attempts")]:
        folder, _, file = key.rpartition("/")
        if file == "manifest.json" and "/checkpoints/" in key:
            try:
                found.append(CheckpointInfo(**json.loads(run.store.read(key))))
            except MissingObjectError:  # thinned out since it was listed
                continue
            except (ValueError, TypeError) as error:
                _set_aside(run, folder, f"manifest.json cannot be read: {error}")
    return sorted(found, key=lambda info: (info.step, info.key))


def load_newest(run: Run, warn: Callable[[str], None]) -> tuple[CheckpointInfo, bytes] | None:
    """The newest checkpoint that verifies, with its bytes; damaged ones are set aside. None where there is none."""
    for info in reversed(list_checkpoints(run)):
        problem, data = _verify(run, info)
        if problem is None:
            return info, data
        _set_aside(run, info.key, problem)
        warn(f"checkpoint {info.key} is damaged ({problem}); it is set aside, and the one before it is used")
    return None


def load_last(run: Run, step: int, warn: Callable[[str], None]) -> tuple[CheckpointInfo, bytes]:
    """The checkpoint of `step`, with which a training has ended. Raises VisionjobsError where it does not verify."""
    newest = load_newest(run, warn)
    if newest is None or newest[0].step != step:
        raise VisionjobsError(
            f"run {run.id}: the checkpoint of its last step is damaged; continue the run to train that part again"
        )
    return newest


def decode_state(data: bytes, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Bytes of a state.pt -> state. Nothing but tensors and plain values is unpickled."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    return state


def best_checkpoint(infos: list[CheckpointInfo]) -> CheckpointInfo | None:
    """The one with the highest score; of equal ones the earliest."""
    scored = [info for info in infos if info.score is not None]
    return max(scored, key=lambda info: (info.score, -info.step), default=None)


def _verify(run: Run, info: CheckpointInfo) -> tuple[str | None, bytes]:
    try:
        data = run.store.read(f"{info.key}/state.pt")
    except MissingObjectError:
        return "state.pt is missing", b""
    if len(data) != info.bytes:
        return f"state.pt has {len(data)} bytes, its manifest says {info.bytes}", b""
    if hashlib.sha256(data).hexdigest() != info.sha256:
        return "the sha256 of state.pt is not the one in its manifest", b""
    return None, data


def _set_aside(run: Run, key: str, problem: str) -> None:
    """Without a manifest it is no checkpoint any more; saved again, it is one."""
    run.store.write(f"{key}/damaged.json", json.dumps({"problem": problem}))
    run.store.delete([f"{key}/manifest.json"])


def _thin_out(attempt: Attempt) -> None:
    """Delete all but the newest two and the best; the manifest goes first, so that no half of one remains listed."""
    infos = list_checkpoints(attempt.run)
    keep = {info.key for info in infos[-KEEP_NEWEST:]}
    best = best_checkpoint(infos)
    if best is not None:
        keep.add(best.key)
    for info in infos:
        if info.key not in keep:
            attempt.run.store.delete([f"{info.key}/manifest.json"])
            attempt.run.store.delete([f"{info.key}/state.pt"])


def _write(state: dict[str, Any], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
        raise StorageError(
            f"{path.parent}: the checkpoint could not be written there before it is stored ({error}): make room, or "
            "set VISIONJOBS_CACHE to another disk"
        ) from error
