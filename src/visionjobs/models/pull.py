"""Putting weights into `<storage>/weights`: downloaded or copied, verified, then stored with their sha256."""

from __future__ import annotations

import http.client
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from visionjobs.errors import FinalError, MissingObjectError, StorageError, UserError
from visionjobs.models.weights import FOLDER, SIDECAR, Source, fetch, sha256_of, stored_sha256
from visionjobs.models.weights_content import content_of
from visionjobs.storage import OnBytes, Store, open_store

TIMEOUT_S = 60
"""Longest silence of a web server before a download is given up."""

CHUNK_BYTES = 1 << 20

OnStart = Callable[[str, int | None], OnBytes]
"""Called when a transfer begins, with its name and its bytes where they are known; gives what counts the bytes."""


@dataclass(frozen=True)
class Pulled:
    """Weights in storage. content: what is in them; stored: False where the same file was there before."""

    address: str
    sha256: str
    content: str
    stored: bool


def pull(source: Source, root: Store, on_start: OnStart) -> Pulled:
    """Bring `source` into `<root>/weights`, the file first and its sha256 last.

    Raises UserError (no such file, no weights in it, another sha256, another file of that name in storage) and
    StorageError (a server is down or broke off). Nothing is stored unless all of it is well.
    """
    store = root.at(FOLDER)
    with tempfile.TemporaryDirectory(prefix="visionjobs-weights-") as folder:
        held = _held(source, root, Path(folder), on_start)
        path = held or _bring(source, Path(folder), on_start)
        found = sha256_of(path)
        if not found.startswith(source.sha256):
            raise UserError(f"{source.origin}: its sha256 is {found}, expected {source.sha256}. Nothing was stored.")
        content = content_of(path)
        stored = stored_sha256(root, source.file)
        if stored not in (None, found):
            raise UserError(
                f"{store.address}/{source.file} is there already, with the sha256 {stored}, and {source.origin} has "
                f"{found}. Give the new file another name."
            )
        if held is None:
            store.upload({source.file: path}, on_start(f"store {source.file}", path.stat().st_size))
            store.write(source.file + SIDECAR, f"{found}  {source.file}\n")
    return Pulled(f"{store.address}/{source.file}", found, content, held is None)


def _held(source: Source, root: Store, folder: Path, on_start: OnStart) -> Path | None:
    """A copy of what storage holds, where that is whole and what `source` (by its sha256) means; else None."""
    stored = stored_sha256(root, source.file)
    if not (stored and source.sha256 and stored.startswith(source.sha256)):
        return None
    try:
        return fetch(root.at(FOLDER), source.file, stored, folder, on_start(f"verify {source.file}", None))
    except (FinalError, MissingObjectError):  # damaged or gone: it is stored again
        return None


def _bring(source: Source, folder: Path, on_start: OnStart) -> Path:
    """`source` as a local file; in `folder` if it is not one already."""
    if source.kind == "url":
        target = folder / source.file
        download(source.origin, target, on_start)
        return target
    if source.kind == "s3":
        parent, _, file = source.origin.rpartition("/")
        return fetch(open_store(parent), file, "", folder, on_start(f"fetch {file}", None))
    if not Path(source.origin).is_file():
        raise MissingObjectError(f"{source.origin}: there is no such weights file")
    return Path(source.origin)


def download(url: str, target: Path, on_start: OnStart) -> None:
    """A file from a web server. Raises StorageError that names the URL: refused, no answer, broken off, disk full."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response, target.open("wb") as file:  # noqa: S310 (ours)
            length = response.headers.get("Content-Length")
            expected = int(length) if length else None
            on_bytes, received = on_start(f"download {target.name}", expected), 0
            while chunk := response.read(CHUNK_BYTES):
                received += file.write(chunk)
                on_bytes(len(chunk))
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise StorageError(
            f"{url}: the download failed: {reason or type(error).__name__}. Try again, or download it "
            "elsewhere and give the file: visionjobs weights pull FILE"
        ) from error
    if expected is not None and received != expected:
        raise StorageError(f"{url}: the download broke off after {received} of {expected} bytes. Nothing was stored.")
