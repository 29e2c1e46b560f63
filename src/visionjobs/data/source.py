"""Raw files to import: a folder, an archive or an `s3://` folder, listed and opened alike."""

from __future__ import annotations

import io
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from visionjobs.data.archive import SUFFIXES, extract
from visionjobs.errors import UserError
from visionjobs.storage import Store, checked_key, open_store

RawFile = io.BufferedReader | io.BytesIO


@dataclass(frozen=True, slots=True)
class Reject:
    """A source file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """files: '/'-separated paths relative to the source, sorted; folders: those directly below it, empty ones too
    where the source can tell; rejects: what is there but cannot be offered as a file."""

    files: list[str]
    folders: list[str]
    rejects: list[Reject]


class Source(ABC):
    """Raw files, safe to open from several threads. display: what to call it in messages and in the manifest."""

    display: str

    @abstractmethod
    def listing(self) -> Listing:
        """Everything below the source, at any depth."""

    @abstractmethod
    def open(self, path: str) -> RawFile:
        """A listed file, seekable. Raises OSError where it cannot be read, StorageError where a server is gone."""


class FolderSource(Source):
    """Files below a local folder. Links to files, and from the top to folders, are followed."""

    def __init__(self, folder: Path, display: str) -> None:
        self._folder, self.display = folder, display

    def listing(self) -> Listing:
        listing = Listing([], [], [])
        self._walk("", listing)
        listing.files.sort()
        listing.folders.sort()
        listing.rejects.sort(key=lambda reject: reject.path)
        return listing

    def open(self, path: str) -> RawFile:
        return (self._folder / path).open("rb")

    def _walk(self, below: str, into: Listing) -> None:
        try:
            with os.scandir(self._folder / below) as found:
                entries = list(found)
        except OSError as error:
            raise UserError(f"{self.display}/{below}: cannot be listed: {error.strerror}") from error
        for entry in entries:
            path = below + entry.name
            readable = path.encode("utf-8", "backslashreplace").decode()
            if _is(entry.is_dir, follow_symlinks=not below):
                if not below:
                    into.folders.append(readable)
                self._walk(f"{path}/", into)
            elif readable != path:
                into.rejects.append(Reject(readable, "its name is not valid UTF-8 text"))
            elif _is(entry.is_file):
                into.files.append(path)
            else:
                into.rejects.append(Reject(path, "not a file: a broken link, a link to a folder or a device"))


def _is(kind: Callable[..., bool], **how: bool) -> bool:
    """DirEntry.is_dir or is_file, False where a link leads in a circle or to where nobody may look."""
    try:
        return kind(**how)
    except OSError:
        return False


class StoreSource(Source):
    """Objects below an `s3://` address, read into memory one by one."""

    def __init__(self, store: Store) -> None:
        self._store, self.display = store, store.address

    def listing(self) -> Listing:
        files, rejects = [], []
        for entry in self._store.entries():
            try:
                files.append(checked_key(entry.key))
            except UserError:
                rejects.append(Reject(ascii(entry.key), "its name has unprintable characters or an empty part"))
        return Listing(sorted(files), sorted({key.split("/")[0] for key in files if "/" in key}), rejects)

    def open(self, path: str) -> RawFile:
        return io.BytesIO(self._store.read(path))


@contextmanager
def open_source(source: str) -> Iterator[Source]:
    """The source at `source`; an archive is unpacked into a temporary folder until the context ends.

    Raises UserError where there is nothing of a known kind.
    """
    is_archive = source.lower().endswith(SUFFIXES)
    scheme, separator, _ = source.partition("://")
    if separator and scheme != "s3":
        raise UserError(f"{source}: expected a folder, an archive ({', '.join(SUFFIXES)}) or an s3:// address")
    if separator and not is_archive:
        yield StoreSource(open_store(source))
        return
    path = Path(source).expanduser()
    if not separator and path.is_dir():
        yield FolderSource(path, str(path.absolute()))
        return
    if not separator and not path.exists():
        raise UserError(f"{source}: there is no such folder or archive")
    if not is_archive:
        raise UserError(f"{source}: expected a folder or an archive whose name ends with {', '.join(SUFFIXES)}")
    with tempfile.TemporaryDirectory(prefix="visionjobs-source-") as temporary:
        if separator:
            parent, _, name = source.rpartition("/")
            path = Path(temporary) / name
            open_store(parent).download({name: path})
        folder = Path(temporary) / "unpacked"
        extract(path, folder, source)
        yield FolderSource(_without_wrapper(folder), source if separator else str(path.absolute()))


def _without_wrapper(folder: Path) -> Path:
    """Archives often hold one folder with everything in it: go down while there is nothing beside it."""
    while True:
        entries = [entry for entry in folder.iterdir() if not is_hidden(entry.name)]
        if len(entries) != 1 or not entries[0].is_dir() or not any(inner.is_dir() for inner in entries[0].iterdir()):
            return folder
        folder = entries[0]


def is_hidden(name: str) -> bool:
    """Whether a folder belongs to a tool (.git, .ipynb_checkpoints, macOS's __MACOSX), not to the data."""
    return name.startswith(".") or name == "__MACOSX"
