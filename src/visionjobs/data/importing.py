"""What the imports of all raw layouts share: files told apart by their bytes, versions, results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from visionjobs.data.colours import OffPalette
from visionjobs.data.manifest import FORMAT, Manifest
from visionjobs.data.parallel import OnProgress, ordered_map
from visionjobs.data.source import RawFile, Reject, Source
from visionjobs.errors import UserError
from visionjobs.storage import Store

Parameters = dict[str, int | float | str | list[int]]

Hashed = tuple[str, bytes]
"""A path relative to the source, and the sha256 of the file there."""


@dataclass(frozen=True)
class ImportResult:
    """new: whether anything was done, or the same import had been made before; rejects: empty where it had.

    off_palette: the labels with pixels of colours that are no class's; notes: sentences for the user. Both empty where
    nothing was done.
    """

    store: Store
    manifest: Manifest
    new: bool
    rejects: list[Reject]
    off_palette: list[OffPalette] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def hash_files(
    raw: Source, files: Sequence[str], rejects: list[Reject], threads: int, on_progress: OnProgress
) -> list[Hashed]:
    """Every file that can be read, in the order given; the others become rejects."""

    def digest(path: str) -> bytes | Reject:
        try:
            with raw.open(path) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            return unreadable(path, error)

    hashed = []
    with closing(ordered_map(digest, files, threads)) as results:
        for done, (path, found) in enumerate(zip(files, results, strict=True), 1):
            if isinstance(found, Reject):
                rejects.append(found)
            else:
                hashed.append((path, found))
            on_progress("Checking", done, len(files))
    return hashed


def version_of(layout: str, hashed: list[Hashed], parameters: Parameters) -> str:
    """First 16 hexadecimal digits of the sha256 over everything that decides what is packed."""
    total = hashlib.sha256(json.dumps([layout, FORMAT, parameters], sort_keys=True).encode())
    for path, digest in hashed:
        total.update(f"\n{path}\0{digest.hex()}".encode())
    return total.hexdigest()[:16]


def without_duplicates(hashed: list[Hashed], rejects: list[Reject], remark: Callable[[str, str], str]) -> list[Hashed]:
    """Of byte-identical files the first is kept; the others become rejects.

    `remark` is given the kept path and the other one, and adds to the reason, where it matters which they are.
    """
    first: dict[bytes, str] = {}
    kept = []
    for path, digest in hashed:
        original = first.setdefault(digest, path)
        if original == path:
            kept.append((path, digest))
        else:
            rejects.append(Reject(path, f"duplicate: byte-identical to {original}{remark(original, path)}"))
    return kept


@contextmanager
def open_hashed(raw: Source, hashed: Hashed) -> Iterator[RawFile]:
    """The file, at its start. Raises UserError where it is not the one that was hashed, and OSError."""
    path, digest = hashed
    with raw.open(path) as file:
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise UserError(f"{raw.display}/{path} changed while it was being imported: import again.")
        file.seek(0)
        yield file


def unreadable(path: str, error: OSError) -> Reject:
    """The file, left out because the system does not hand it over."""
    return Reject(path, f"unreadable: {error.strerror or error}")


def one_level_down(files: Sequence[str]) -> str:
    """A hint for a source given one level too high."""
    folders = {path.split("/")[0] for path in files if path.count("/") > 1}
    if not folders:
        return ""
    return f" There are folders in {min(folders)}/: did you mean to import {min(folders)}/ itself?"
