"""One address scheme for folders and S3: a `Store` is a folder of objects, here or in a bucket.

    store = open_store("./storage")             # or "s3://bucket/prefix"
    run = store.at("runs", "convnet-...")
    run.write("spec.yaml", text)

Keys are relative, '/'-separated and never begin with '/'. A write is whole or absent, never half: folders write
to a temporary name and rename, S3 puts are atomic. Every failure is a StorageError (the server did not answer,
is full: exit 4) or a UserError (no such bucket, wrong credentials, no permission: exit 2) whose message names
the address and what to do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

OnBytes = Callable[[int], None]
"""Called with the number of bytes just transferred, from any thread."""


@dataclass(frozen=True)
class Entry:
    """One stored object. key: relative to the store that listed it; size: bytes; modified: UTC."""

    key: str
    size: int
    modified: datetime


class Store(ABC):
    """A folder of objects. Immutable, picklable (it holds no credentials), safe to use from several threads."""

    address: str

    @abstractmethod
    def at(self, *parts: str) -> Store:
        """The store below this one."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is an object at `key`."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The object's bytes. Raises MissingObjectError."""

    @abstractmethod
    def write(self, key: str, data: bytes | str, *, if_absent: bool = False) -> None:
        """Put an object (text as UTF-8). With `if_absent` one of several writers at once wins, and the others get
        ObjectExistsError (folders: an exclusive link; S3: If-None-Match: *)."""

    @abstractmethod
    def entries(self, prefix: str = "") -> list[Entry]:
        """All objects whose key begins with the folder `prefix`, at any depth, sorted by key. Temporaries excluded."""

    @abstractmethod
    def folders(self, prefix: str = "") -> list[str]:
        """Names of the folders directly below `prefix`, sorted."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are passed over. Emptied folders disappear."""

    @abstractmethod
    def upload(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        """Local files -> objects, in parallel, large ones in parts."""

    @abstractmethod
    def download(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        """Objects -> local files, in parallel, each under a temporary name until it is whole."""

    @abstractmethod
    def probe(self) -> bool:
        """Write, read back, compare and delete a small object, before any work is begun.

        Returns whether conditional writes are honoured. Raises as described above.
        """


def open_store(address: str, endpoint: str | None = None) -> Store:
    """The store at a folder or at `s3://bucket[/prefix]`; `endpoint` overrides AWS_ENDPOINT_URL."""
    raise NotImplementedError
