"""A store that is a folder of this machine, or of a network file system mounted on it."""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from visionjobs.errors import MissingObjectError, ObjectExistsError
from visionjobs.storage import TEMPORARY, THREADS, Entry, OnBytes, Store, checked_key, explain_os_error

COPY_BYTES = 4 << 20
"""Read, written and reported at a time while copying."""

STALE_S = 3600.0
"""A temporary file or an empty folder untouched for so long (seconds) belongs to a process that is gone."""

NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What os.link answers on a file system without hard links (some FUSE and SMB mounts)."""


@dataclass(frozen=True)
class FolderStore(Store):
    """Objects are files. A new one is written under a temporary name in its own folder, synced, then renamed."""

    address: str

    def at(self, *parts: str) -> FolderStore:
        return FolderStore(str(self._path("/".join(parts)))) if parts else self

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with _explained(path):
            return path.is_file()

    def read(self, key: str) -> bytes:
        path = self._path(key)
        with _explained(path), _open_object(path) as file:
            return file.read()

    def write(self, key: str, data: bytes | str, *, if_absent: bool = False) -> None:
        path = self._path(key)
        with _explained(path), _whole(path, _put_if_absent if if_absent else os.replace) as file:
            file.write(data.encode() if isinstance(data, str) else data)

    def entries(self, prefix: str = "") -> list[Entry]:
        top = self._folder(prefix)
        found = []
        with _explained(top):
            for path in _files(top):
                with suppress(FileNotFoundError):  # deleted since it was listed
                    status = path.stat()
                    modified = datetime.fromtimestamp(status.st_mtime, UTC)
                    found.append(Entry(path.relative_to(self.address).as_posix(), status.st_size, modified))
        return sorted(found, key=lambda entry: entry.key)

    def folders(self, prefix: str = "") -> list[str]:
        top = self._folder(prefix)
        with _explained(top):
            below = next(os.walk(top, onerror=_unless_missing), (top, [], []))[1]
            return sorted(name for name in below if any(True for _ in _files(top / name)))  # as on S3: none is empty

    def delete(self, keys: Iterable[str]) -> None:
        paths = [self._path(key) for key in keys]
        for path in paths:
            with _explained(path), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()
        for start in {path.parent for path in paths}:
            folder = start
            while folder != Path(self.address) and _removed_if_empty(folder):
                folder = folder.parent

    def upload(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        _copy_all([(source, self._path(key)) for key, source in files.items()], on_bytes)

    def download(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        _copy_all([(self._path(key), target) for key, target in files.items()], on_bytes)

    def refuses_overwrite(self, key: str) -> bool:
        path = self._path(key)
        with _explained(path):
            try:
                os.link(path, path)
            except FileExistsError:
                return True
            except OSError as error:
                if error.errno not in NO_HARD_LINKS:
                    raise
        return False

    def _path(self, key: str) -> Path:
        return Path(self.address, checked_key(key))

    def _folder(self, prefix: str) -> Path:
        return self._path(prefix.rstrip("/")) if prefix else Path(self.address)


def _copy_all(pairs: list[tuple[Path, Path]], on_bytes: OnBytes | None) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda pair: _copy(pair[0], pair[1], on_bytes), pairs))  # a failure cancels those not begun


def _copy(source: Path, target: Path, on_bytes: OnBytes | None) -> None:
    with _explained(source), _open_object(source) as reader, _explained(target), _whole(target, os.replace) as writer:
        while block := reader.read(COPY_BYTES):
            writer.write(block)
            if on_bytes:
                on_bytes(len(block))


def _open_object(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise MissingObjectError(f"{path}: there is no such file") from error


@contextmanager
def _whole(path: Path, put: Callable[[Path, Path], None]) -> Iterator[BinaryIO]:
    """A temporary file in `path`'s folder, which `put(temporary, path)` makes `path` once the block has ended well."""
    file = _open_temporary(path.parent)
    temporary = Path(file.name)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(FileNotFoundError):  # the object was deleted just now, and its folder with it
        _sync(path.parent)


def _sync(folder: Path) -> None:
    """A rename is on the disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_temporary(folder: Path, attempts: int = 20) -> BinaryIO:
    for attempt in range(attempts):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return Path(folder, TEMPORARY + uuid.uuid4().hex).open("xb")
        except (FileNotFoundError, FileExistsError):  # another process deleted the emptied folder just now
            if attempt == attempts - 1:
                raise
    raise AssertionError("unreachable")


def _put_if_absent(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise ObjectExistsError(f"{path}: is there already") from error
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        if path.exists():  # best effort; probe() says so
            raise ObjectExistsError(f"{path}: is there already") from error
        temporary.replace(path)


def _files(top: Path) -> Iterator[Path]:
    """All files below `top` but temporaries; none where `top` is not a folder."""
    for folder, _, names in os.walk(top, onerror=_unless_missing, followlinks=True):
        yield from (Path(folder, name) for name in names if not name.startswith(TEMPORARY))


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _removed_if_empty(folder: Path) -> bool:
    """Remove a folder below which there is nothing but what killed processes left: temporaries and empty folders."""
    try:
        for path in folder.iterdir():
            if time.time() - path.lstat().st_mtime < STALE_S:
                return False
            if path.is_dir() and not path.is_symlink():
                if not _removed_if_empty(path):
                    return False
            elif path.name.startswith(TEMPORARY):
                path.unlink()
            else:
                return False
        folder.rmdir()
    except FileNotFoundError:  # another process was faster
        return True
    except OSError:  # another process has just written here, or the folder is not ours: it stays
        return False
    return True


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, str(path)) from error
