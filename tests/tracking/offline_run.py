"""A reader of wandb's transaction log (`run-<id>.wandb`), for tests: wandb 0.31 itself reads it in Go only.

The format is LevelDB's log (github.com/google/leveldb, doc/log_format.md) after a header of seven bytes: ":W&B", a
magic number (0xBEE1, little-endian) and a version. Blocks of 32 KiB hold chunks of crc32 (4 bytes), length (2) and
kind (1: whole, 2: first, 3: middle, 4: last); each record is a serialised `wandb_internal_pb2.Record`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record

from visionjobs.report.summary import RunSummary
from visionjobs.runs import create_run, dump_rows
from visionjobs.spec import JobSpec
from visionjobs.storage import open_store
from visionjobs.tracking.mirror import open_mirror

HEADER = struct.pack("<4sH", b":W&B", 0xBEE1)
HEADER_BYTES = 7
BLOCK_BYTES = 32 * 1024
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


class OfflineRun:
    """What an offline run's folder holds. history: its rows; config, summary: by dotted key; run_id, project, group: of
    the run; media: of the last row that is no epoch: what a complete run ended with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (log,) = folder.glob("run-*.wandb")
        self.records = [Record.FromString(data) for data in _records(log.read_bytes())]
        self.history = [_items(record.history.item) for record in self.records if record.HasField("history")]
        self.media = next((row for row in reversed(self.history) if "epoch" not in row), {})
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None
        for record in self.records:
            if record.HasField("run"):
                self.run_id, self.project, self.group = record.run.run_id, record.run.project, record.run.run_group
                self.config |= _items(record.run.config.update)
            elif record.HasField("config"):
                self.config |= _items(record.config.update)
            elif record.HasField("summary"):
                self.summary |= _items(record.summary.update)
            elif record.HasField("exit"):
                self.exit_code = record.exit.exit_code

    def file(self, path: str) -> Path:
        """A file that history or summary point to."""
        return self.folder / "files" / path

    def table(self, key: str) -> list[list[Any]]:
        """A table's columns, then its rows."""
        described = json.loads(self.file(str(self.media[f"{key}.path"])).read_text())
        return [described["columns"], *described["data"]]

    def images(self, key: str) -> list[np.ndarray]:
        """The pixels of a key's pictures."""
        return [np.array(Image.open(self.file(name))) for name in self.media[f"{key}.filenames"]]


def written_offline(folder: Path, summary: RunSummary) -> OfflineRun:
    """What the end of such a run leaves in its folder."""
    spec = JobSpec.model_validate(summary.spec)
    run = create_run(open_store(str(folder)), spec, json.dumps(summary.dataset))
    attempt = run.claim("attempt", {"gpus": 0})
    attempt.store.write("metrics.jsonl", dump_rows(summary.history))
    warnings: list[str] = []
    mirror = open_mirror(run, spec, None, warnings.append)
    mirror.rows(run.history())
    mirror.finish(replace(summary, run=run.id), "complete", lambda: None)
    mirror.close()
    assert not warnings
    (written,) = Path(run.store.address, "wandb").iterdir()
    return OfflineRun(written)


def _items(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[bytes]:
    assert data[: len(HEADER)] == HEADER
    position, parts = HEADER_BYTES, []
    while position + 7 <= len(data):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        if left < 7:  # a chunk's head does not fit: the rest of the block is padding
            position += left
            continue
        _crc, length, kind = struct.unpack_from("<IHB", data, position)
        position += 7
        parts.append(data[position : position + length])
        position += length
        assert (len(parts) == 1) == (kind in (WHOLE, FIRST))
        if kind in (WHOLE, LAST):
            yield b"".join(parts)
            parts = []
    assert not parts, "the log is cut off"
