"""The code that travels with a job: the working tree's `src/` and `jobs/` as a zip that is named by its sha256.

    sha, data = pack_code(working_tree())
    upload_code(root, sha, data)                  # <storage>/code/<sha>.zip
    fetch_code(root, sha, Path("/code"))          # in the pod, whose PYTHONPATH names /code/src

The same files give the same bytes on every machine: they are sorted, stored uncompressed (about 1 MB), with fixed
times and modes. The pod runs exactly what was packed: it unpacks nothing whose sha256 differs.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tempfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import visionjobs
from visionjobs.errors import MissingObjectError, StorageError, UserError
from visionjobs.spec import SHA256
from visionjobs.storage import Store

FOLDERS = ("src", "jobs")
"""What travels, of the working tree."""

MAX_BYTES = 64 * 1024**2
"""Largest sum of the files that travel. Code is about 1 MB; data and weights belong in the storage."""

FRESH = timedelta(days=1)
"""Code of that age is written again when it is submitted with."""

MARK = ".visionjobs-code"
"""In the folder that code was unpacked into: its sha256, or 'unpacking' before it is whole."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time that every member of the zip bears: the first that a zip can hold."""


def working_tree() -> Path:
    """The folder that holds the `src/visionjobs` which is running. Raises UserError where it runs from elsewhere."""
    package = Path(visionjobs.__file__).resolve().parent
    if package.parent.name != "src":
        raise UserError(
            f"visionjobs is installed in {package.parent}, not from a working tree: no code can travel. "
            "Give --no-code to use the image's own"
        )
    return package.parents[1]


def pack_code(root: Path) -> tuple[str, bytes]:
    """sha256 and bytes of a zip of `root`'s src/ and jobs/, without hidden files, caches and build outputs.

    Raises UserError for a link to a folder, an unreadable file, or more than MAX_BYTES.
    """
    if not (root / "src" / "visionjobs").is_dir():
        raise UserError(f"{root} holds no src/visionjobs: no code can travel. Give --no-code to use the image's own")
    files = sorted((path.relative_to(root).as_posix(), path) for folder in FOLDERS for path in _files(root / folder))
    buffer = io.BytesIO()
    total = 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for name, path in files:
            try:
                total += path.stat().st_size
                if total > MAX_BYTES:
                    raise UserError(
                        f"src/ and jobs/ are larger than {MAX_BYTES // 1024**2} MiB ({name} is too much): keep data "
                        "and weights in the storage, or give --no-code"
                    )
                data = path.read_bytes()
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror}); it would travel with the job") from error
            member = zipfile.ZipInfo(name, _EARLIEST)
            member.create_system, member.external_attr = 3, 0o100644 << 16  # Unix, whatever packs it
            packed.writestr(member, data)
    return hashlib.sha256(buffer.getvalue()).hexdigest(), buffer.getvalue()


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in parts):
            continue
        if path.is_symlink() and path.is_dir():
            raise UserError(f"{path} is a link to a folder, which does not travel: put the folder there, or remove it")
        if path.is_file() and path.suffix != ".pyc":
            found.append(path)
    return found


def code_key(sha256: str) -> str:
    """Where the storage root holds that code. Raises UserError where `sha256` is none."""
    if not re.fullmatch(SHA256, sha256):
        raise UserError(f"{sha256!r} is not a sha256: expected 64 hexadecimal digits in lower case")
    return f"code/{sha256}.zip"


def upload_code(root: Store, sha256: str, data: bytes) -> None:
    """Put the packed code into the storage root, unless it was put there less than a day ago: `prune` goes by that."""
    key = code_key(sha256)
    written = next((entry.modified for entry in root.entries("code") if entry.key == key), None)
    if written is None or datetime.now(UTC) - written > FRESH:
        root.write(key, data)


def fetch_code(root: Store, sha256: str, target: Path) -> None:
    """Unpack the code into `target`, as `target/src` and `target/jobs`; nothing is done where it is there already.

    `target` may exist (a pod's volume is a mount point, which cannot be renamed over), so each of the two is renamed
    into it when whole. Raises UserError where the storage lacks the code, its sha256 differs, or `target` holds
    other files; StorageError where the disk fails.
    """
    key = code_key(sha256)
    try:
        mark = _mark(target)
        if mark == sha256:
            return
        if mark is None and any((target / folder).exists() for folder in FOLDERS):
            raise UserError(f"{target} holds files that `fetch-code` did not put there: give an empty folder")
        try:
            data = root.read(key)
        except MissingObjectError as error:
            raise UserError(f"{root.address}/{key} is not there: submit the job again, which uploads it") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise UserError(
                f"{root.address}/{key}: its sha256 is not the one in its name, it was changed or cut off: "
                "delete it and submit the job again"
            )
        target.mkdir(parents=True, exist_ok=True)
        _unpack(data, target, f"{root.address}/{key}")
        _set_mark(target, sha256)
    except OSError as error:
        raise StorageError(f"{target}: the code cannot be unpacked there ({error.strerror or error})") from error


def _unpack(data: bytes, target: Path, source: str) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target))
    try:
        _write_members(data, temporary, source)
        _set_mark(target, "unpacking")  # from here on the two folders in target are ours, whole or not
        for folder in FOLDERS:
            shutil.rmtree(target / folder, ignore_errors=True)
            if (temporary / folder).exists():
                (temporary / folder).rename(target / folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_members(data: bytes, folder: Path, source: str) -> None:
    """Every member of the zip as a plain file below `folder`; nothing is written where one could land elsewhere."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            members = packed.infolist()
            for member in members:
                _check_member(member, source)
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise UserError(f"{source}: unpacked it is larger than {MAX_BYTES // 1024**2} MiB: it is not code")
            for member in members:
                path = folder / member.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(packed.read(member))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # damaged, unknown, encrypted
        raise UserError(f"{source}: is not a zip that `visionjobs submit` made ({error})") from error


def _check_member(member: zipfile.ZipInfo, source: str) -> None:
    """Only plain files below the two folders: no absolute paths, no '..', no links, no devices."""
    name = member.filename
    parts = PurePosixPath(name).parts
    plain = (member.external_attr >> 16) & 0o170000 in (0, 0o100000)
    if (
        not plain
        or "\\" in name
        or len(parts) < 2
        or parts[0] not in FOLDERS
        or ".." in parts
        or name != "/".join(parts)
    ):
        raise UserError(f"{source}: the member {name!r} is not a plain file below src/ or jobs/; nothing was unpacked")


def _mark(target: Path) -> str | None:
    try:
        return (target / MARK).read_text()
    except FileNotFoundError:
        return None


def _set_mark(target: Path, text: str) -> None:
    temporary = target / f"{MARK}.tmp"
    temporary.write_text(text)
    temporary.replace(target / MARK)
