"""Unpacking archives that nobody has vouched for."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from visionjobs.errors import StorageError, UserError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


def extract(archive: Path, folder: Path, display: str) -> None:
    """Unpack `archive` into the new folder `folder`.

    Raises UserError where it is damaged, encrypted or has a member that would land outside of `folder` (the member
    is named, and nothing of it is written), StorageError where it does not fit on the disk.
    """
    folder.mkdir(parents=True)
    try:
        if archive.name.lower().endswith(".zip"):
            _unzip(archive, folder, display)
        else:
            _untar(archive, folder, display)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise UserError(f"{display}: is not a whole archive: {error}. Fetch or make it again.") from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression; a password
        raise UserError(f"{display}: cannot be unpacked: {error}. Unpack it, and import the folder.") from error
    except OSError as error:
        raise StorageError(
            f"{display}: unpacking into {folder} failed: {error.strerror or error}. "
            "Free some space there, or set TMPDIR."
        ) from error


def _unzip(archive: Path, folder: Path, display: str) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            # zipfile would quietly strip the '..', and write a symbolic link's target as the file's content
            if _leads_outside(member.filename) or stat.S_ISLNK(member.external_attr >> 16):
                raise _unsafe(display, member.filename)
        _check_space(sum(member.file_size for member in members), folder, display)
        opened.extractall(folder)  # noqa: S202 (each member was checked above)


def _untar(archive: Path, folder: Path, display: str) -> None:
    with tarfile.open(archive) as opened:
        members = []
        for member in opened:
            if _leads_outside(member.name):
                raise _unsafe(display, member.name)
            members.append(member)
        _check_space(sum(member.size for member in members), folder, display)
        try:
            opened.extractall(folder, members, filter="data")
        except tarfile.FilterError as error:  # links out of the folder, devices
            raise _unsafe(display, error.tarinfo.name) from error


def _leads_outside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or path.as_posix()[1:2] == ":"


def _unsafe(display: str, member: str) -> UserError:
    return UserError(
        f"{display}: the member {member!r} would be written outside of the folder it is unpacked into, or is a link or "
        "a device. Nothing was imported. Unpack it yourself if you trust it, and import the folder."
    )


def _check_space(needed: int, folder: Path, display: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{display}: unpacked it takes {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free. "
            "Free some space there, or set TMPDIR."
        )
