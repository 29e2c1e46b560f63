"""One address scheme for folders and S3: a `Store` is a folder of objects, here or in a bucket.

    store = open_store("./storage")             # or "s3://bucket/prefix"
    run = store.at("runs", "convnet-...")
    run.write("spec.yaml", text)

Keys are relative, '/'-separated and never begin with '/'. A write is whole or absent, never half: folders write
to a temporary name and rename, S3 puts are atomic. Every failure is a StorageError (the server did not answer,
is full: exit 4) or a UserError (no such bucket, wrong credentials, no permission, a key that no store can hold:
exit 2) whose message names the address and what to do. storage_folder.py and storage_s3.py are the two kinds.
"""

from __future__ import annotations

import errno
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from visionjobs.errors import StorageError, UserError, VisionjobsError

OnBytes = Callable[[int], None]
"""Called with the number of bytes just transferred, from any thread; negative where a part has to be sent again."""

TEMPORARY = ".tmp-"
"""File names that begin so are unfinished writes: never listed, and refused as keys."""

THREADS = 8
"""Files or parts in flight at once: enough to fill a 10 Gbit/s link from S3, few enough for a spinning disk."""


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
        """Names of the folders directly below `prefix` that hold an object at any depth, sorted."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are passed over. Emptied folders below this store's disappear."""

    @abstractmethod
    def upload(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        """Local files -> objects, in parallel, large ones in parts."""

    @abstractmethod
    def download(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        """Objects -> local files, in parallel, each under a temporary name until it is whole."""

    @abstractmethod
    def refuses_overwrite(self, key: str) -> bool:
        """Whether the storage itself refuses a conditional write to `key`, where there is an object."""

    def probe(self) -> bool:
        """Write, read back, compare and delete a small object, before any work is begun.

        Returns whether conditional writes are honoured. Raises as described above.
        """
        key = f".probe-{uuid.uuid4().hex}"
        try:
            self._check_round_trip(key)
            honoured = self.refuses_overwrite(key)
        except BaseException:
            with suppress(VisionjobsError):  # the first failure is the one to tell
                self.delete([key])
            raise
        self.delete([key])
        return honoured

    def _check_round_trip(self, key: str) -> None:
        data = os.urandom(4096)
        self.write(key, data)
        if self.read(key) != data:
            raise UserError(
                f"{self.address}: what was read back is not what was written (a server that stores the framing of "
                "chunked uploads does that); update the server, or use another storage"
            )


def open_store(address: str, endpoint: str | None = None) -> Store:
    """The store at a folder or at `s3://bucket[/prefix]`; `endpoint` overrides AWS_ENDPOINT_URL. No access yet."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        from visionjobs.storage_folder import FolderStore

        return FolderStore(str(Path(address).expanduser().absolute()))
    bucket, _, prefix = rest.strip("/").partition("/")
    if scheme != "s3" or not bucket:
        raise UserError(f"{address} is not a storage address; expected a folder or s3://bucket/prefix")
    if prefix:
        checked_key(prefix)
    from visionjobs.storage_s3 import S3Store  # boto3 takes 0.3 s: only for who needs it
    from visionjobs.storage_s3_client import S3Connection

    return S3Store("s3://" + rest.strip("/"), S3Connection(endpoint or os.environ.get("AWS_ENDPOINT_URL") or None))


def checked_key(key: str) -> str:
    """`key`, if every kind of store can hold it. Raises UserError."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or part.startswith(TEMPORARY) for part in parts) or not key.isprintable():
        raise UserError(
            f"{key!r} cannot name an object; expected printable names joined by '/', none of them empty, '.', '..' "
            f"or beginning with '{TEMPORARY}'"
        )
    return key


def explain_os_error(error: OSError, address: str) -> VisionjobsError:
    """What a failed file operation at `address` means for a person. A file to read that is not there is no part of it:
    who opens one tells."""
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOENT:
            return UserError(f"{address}: nothing can be written here ({reason}); choose another folder")
        case errno.ENOSPC | errno.EDQUOT:
            return StorageError(f"{address}: the disk or its quota is full; free some space and continue")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return UserError(f"{address}: not permitted ({reason}); choose a folder that this user may write to")
        case errno.ENOTDIR | errno.EISDIR | errno.EEXIST | errno.ENOTEMPTY | errno.ENAMETOOLONG | errno.EINVAL:
            return UserError(f"{address}: cannot be a file here ({reason}); choose another folder or name")
        case _:
            return StorageError(f"{address}: the file system failed ({reason}); try again, or choose another folder")
