"""What the main worker writes while it trains: history rows, progress and checkpoints, in order, from one thread.

Training never waits for storage, except when a checkpoint is due while the one before is still being written
(so memory holds one copy of the state, not many). A write that fails, or that is refused because a newer attempt
holds the run, is kept in `error`; the loop looks at it together with the other workers and stops. The same thread
looks whether someone asked the run or the attempt to stop.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from visionjobs.errors import StorageError, VisionjobsError
from visionjobs.runs import Attempt, dump_rows, now, read_rows, request_stop, stop_requested
from visionjobs.training.checkpoint import save_checkpoint

ROWS_SHOWN = 5
"""progress.json carries the newest rows, for whoever watches."""
PROGRESS_SECONDS = {"folder": 1.0, "s3": 5.0}


@dataclass(frozen=True)
class Link:
    """Between a worker and a sweep in the same process, which need not go by way of the storage.

    on_row: told of each history row, once it is stored. asked: why to stop, None while there is no reason to.
    """

    on_row: Callable[[dict[str, Any]], None]
    asked: Callable[[], str | None]


def _ignore(_row: dict[str, Any]) -> None:
    """Nobody listens."""


NO_LINK = Link(_ignore, lambda: None)


class Recorder:
    """Used by the main worker only. `close()` must be called; it raises the first error of a write."""

    def __init__(
        self, attempt: Attempt, scratch: Path, plan: dict[str, Any], first_epoch: int, link: Link = NO_LINK
    ) -> None:
        """plan: constant entries of progress.json (epochs, steps, gpus); rows from `first_epoch` on are rewritten."""
        self.error: VisionjobsError | None = None
        self._link = link
        self._asked: str | None = None
        self._attempt = attempt
        self._scratch = scratch
        self._progress = dict(plan) | {"checkpoint_seconds": None}  # the slowest one's, until it was stored
        self._written: dict[str, Any] = {}
        self._rows = [row for row in read_rows(attempt.store) if row["epoch"] < first_epoch]
        self._interval = PROGRESS_SECONDS["s3" if attempt.store.address.startswith("s3://") else "folder"]
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._snapshot = Snapshot()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    @property
    def asked(self) -> str | None:
        """Why to stop, once someone asked for it."""
        return self._asked or self._link.asked()

    def step(self, epoch: int, step: int) -> None:
        """Note the position: `step` steps are done. Costs nothing; written once in a while."""
        self._progress.update(epoch=epoch, step=step)

    def row(self, row: dict[str, Any]) -> None:
        """Add an epoch's history row. Where the epoch had one (it was validated again) this one counts."""
        self._rows = [*(known for known in self._rows if known["epoch"] < row["epoch"]), row]
        text = dump_rows(self._rows)
        self._progress["rows"] = self._rows[-ROWS_SHOWN:]

        def write() -> None:
            self._attempt.write("metrics.jsonl", text)
            self._link.on_row(row)

        self._tasks.put(write)

    def checkpoint(self, state: dict[str, Any], *, step: int, epoch: int, score: float | None) -> None:
        """Copy the state to the host and write it in the background."""
        self._snapshot.wait_until_free()
        copied = self._snapshot.take(state)

        def write() -> None:
            started = time.monotonic()
            try:
                self._snapshot.wait_until_copied()
                save_checkpoint(self._attempt, copied, step=step, epoch=epoch, score=score, scratch=self._scratch)
                seconds = round(time.monotonic() - started, 3)
                self._progress["checkpoint_seconds"] = max(seconds, self._progress["checkpoint_seconds"] or 0.0)
            finally:
                self._snapshot.release()

        self._tasks.put(write)

    def stopping(self, why: str) -> None:
        """Ask this attempt to stop, for workers of it that Ray might still start."""

        def write() -> None:
            self._attempt.check_not_superseded()
            request_stop(self._attempt.store, why)

        self._tasks.put(write)

    def close(self) -> None:
        """Finish what was begun and stop the thread; again, it does nothing. Raises the first error of a write."""
        self._tasks.put(None)
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _work(self) -> None:
        last = 0.0
        self._guarded(self._look)  # at once: it may have been asked while its pods were starting
        while True:
            try:
                task = self._tasks.get(timeout=self._interval)
            except queue.Empty:
                task = _nothing
            if task is None:
                self._guarded(self._write_progress)
                return
            self._guarded(task)
            if time.monotonic() - last >= self._interval:
                self._guarded(self._write_progress)
                self._guarded(self._look)
                last = time.monotonic()

    def _guarded(self, task: Callable[[], None]) -> None:
        """Run a write; after the first error no more are tried (a later checkpoint must not hide a missing row)."""
        if self.error is not None:
            self._snapshot.release()
            return
        try:
            task()
        except VisionjobsError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 (this thread must not die silently: the loop raises it)
            self.error = VisionjobsError(f"{type(error).__name__} while writing to the run folder: {error}")

    def _look(self) -> None:
        """Whether someone asked to stop; a storage that does not answer just now is asked again later."""
        for store in (self._attempt.run.store, self._attempt.store):
            with contextlib.suppress(StorageError):
                self._asked = self._asked or stop_requested(store)

    def _write_progress(self) -> None:
        """Only for whoever watches: a storage that does not answer just now does not end the training."""
        if self._progress != self._written:
            written = dict(self._progress)
            with contextlib.suppress(StorageError):
                self._attempt.write("progress.json", json.dumps(written | {"updated": now()}))
                self._written = written


def _nothing() -> None:
    """Nothing came to be written within the interval."""


class Snapshot:
    """One copy of the state in host memory, reused from checkpoint to checkpoint (pinned where there is a GPU)."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}
        self._on_gpu = False
        self._copied: torch.cuda.Event | None = None
        self._free = threading.Event()
        self._free.set()

    def wait_until_free(self) -> None:
        """Wait for the checkpoint before this one to be written."""
        self._free.wait()

    def take(self, state: dict[str, Any]) -> dict[str, Any]:
        """A copy of `state` with its tensors on the host. On a GPU the copying goes on in the stream."""
        self._free.clear()
        copied: dict[str, Any] = self._copy(state, "")
        if self._on_gpu:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
        return copied

    def wait_until_copied(self) -> None:
        """Wait for the device to have finished the copy."""
        if self._copied is not None:
            self._copied.synchronize()

    def release(self) -> None:
        """The copy is no longer needed."""
        self._free.set()

    def _copy(self, value: Any, path: str) -> Any:
        if isinstance(value, torch.Tensor):
            self._on_gpu |= value.is_cuda
            buffer = self._buffers.get(path)
            if buffer is None or buffer.shape != value.shape or buffer.dtype != value.dtype:
                buffer = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
                self._buffers[path] = buffer
            return buffer.copy_(value.detach(), non_blocking=value.is_cuda)
        if isinstance(value, dict):
            return {key: self._copy(item, f"{path}/{key}") for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._copy(item, f"{path}/{index}") for index, item in enumerate(value))
        return value
