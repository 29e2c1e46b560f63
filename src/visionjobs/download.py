"""Large files from web servers: resumed where they broke off, and only ever whole and of a known sha256."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from visionjobs.data.pack import sha256_of
from visionjobs.errors import StorageError
from visionjobs.storage import OnBytes

TIMEOUT_S = 60
"""Longest silence of a server before the connection is given up."""

CHUNK_BYTES = 1 << 20

ATTEMPTS = 4
"""Connections in a row that bring nothing new, after which the download is given up."""

PAUSE_S = 2.0
"""Before the second connection in a row; doubled before each further one."""

PART, TAG = ".part", ".part.etag"

OnStart = Callable[[str, int | None], OnBytes]
"""Called when a transfer begins, with its name and its bytes; gives what counts the bytes."""


@dataclass(frozen=True)
class WebFile:
    """A file that is published. bytes: its size; sha256: hexadecimal."""

    url: str
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.url.rpartition("/")[2]


def fetch_web_file(file: WebFile, folder: Path, on_start: OnStart, pause_s: float = PAUSE_S) -> Path:
    """The file in `folder`, whole and verified; what a former call got of it is not fetched again.

    A connection that breaks off is made again, from where it broke off if the server can do that, up to ATTEMPTS times
    in a row without a new byte. Raises StorageError that names the address (no answer, another size or sha256 than
    expected), and OSError where the disk is full. What was received stays as NAME.part, unless its sha256 is wrong.
    """
    target, part, tag = (folder / f"{file.name}{end}" for end in ("", PART, TAG))
    if target.is_file() and target.stat().st_size == file.bytes and sha256_of(target) == file.sha256:
        return target
    if part.is_file() and part.stat().st_size > file.bytes:
        _forget(part, tag)
    on_bytes = on_start(f"download {file.name}", file.bytes)
    on_bytes(_size(part))
    most, failures = _size(part), 0
    while _size(part) < file.bytes:
        problem = _receive(file, part, tag, on_bytes)
        failures = failures + 1 if _size(part) <= most else 0
        most = max(most, _size(part))
        if failures == ATTEMPTS:
            raise _failed(file, problem, most)
        if failures:
            time.sleep(pause_s * 2 ** (failures - 1))
    found = sha256_of(part)
    if found != file.sha256:
        _forget(part, tag)
        raise StorageError(
            f"{file.url}: what came is not the file that is expected: its sha256 is {found}, not {file.sha256}. It was "
            "deleted. Try again; if it stays so, fetch the file elsewhere, unpack it and import the folder."
        )
    part.rename(target)
    tag.unlink(missing_ok=True)
    return target


def _receive(file: WebFile, part: Path, tag: Path, on_bytes: OnBytes) -> str:
    """One connection: append to `part` what it brings. Returns why it ended, where another one may do better.

    Raises StorageError where none will.
    """
    try:
        _connect(file, part, tag, on_bytes)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # the server has less than there is here
            on_bytes(-_size(part))
            _forget(part, tag)
        elif 400 <= error.code < 500 and error.code not in (408, 429):
            raise _failed(file, f"the server answered {error.code} {error.reason}", _size(part)) from error
        return f"the server answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        return str(error) or type(error).__name__
    return "the server broke off"


def _connect(file: WebFile, part: Path, tag: Path, on_bytes: OnBytes) -> None:
    had = _size(part)
    request = urllib.request.Request(file.url)  # noqa: S310 (ours)
    if had:
        request.add_header("Range", f"bytes={had}-")
        if tag.is_file():
            request.add_header("If-Range", tag.read_text())
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 (ours)
        start, total = _range(response)
        if total not in (None, file.bytes) or start not in (0, had):
            raise StorageError(
                f"{file.url}: the server has {total} bytes for it, from {start} on, and {file.bytes} are expected: it "
                "is another file now, or the server errs. Fetch the file elsewhere, unpack it and import the folder."
            )
        if start == 0:
            on_bytes(-had)
        etag = response.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):  # a weak one is no promise that the bytes are the same
            tag.write_text(etag)
        with part.open("ab" if start else "wb") as out:
            _copy(response, out, file.bytes - start, on_bytes)


def _range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """(where the body begins in the file, the size of the whole file or None where the server does not tell)."""
    content_range = response.headers.get("Content-Range", "")
    if response.status == http.client.PARTIAL_CONTENT and content_range.startswith("bytes "):
        span, _, total = content_range.removeprefix("bytes ").partition("/")
        first = span.partition("-")[0]
        if first.isdecimal():
            return int(first), int(total) if total.isdecimal() else None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _copy(response: http.client.HTTPResponse, out: BinaryIO, most: int, on_bytes: OnBytes) -> None:
    """At most so many bytes; fewer where the server breaks off."""
    while most and (chunk := response.read(min(CHUNK_BYTES, most))):
        out.write(chunk)
        most -= len(chunk)
        on_bytes(len(chunk))


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _forget(part: Path, tag: Path) -> None:
    part.unlink(missing_ok=True)
    tag.unlink(missing_ok=True)


def _failed(file: WebFile, problem: str, had: int) -> StorageError:
    return StorageError(
        f"{file.url}: the download failed after {had:,} of {file.bytes:,} bytes: {problem}. The same command goes on "
        "from there; or fetch the file elsewhere, unpack it and import the folder."
    )
