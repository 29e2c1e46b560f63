"""Images to predict: files, folders and `s3://` addresses, found before any work and read one by one."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from visionjobs.data.decode import FORMATS, Decoded, UnusableImageError, decode
from visionjobs.data.source import FolderSource, Listing, Reject, Source, StoreSource, is_hidden
from visionjobs.errors import UserError
from visionjobs.storage import open_store

SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)
"""In lower case, with the dot: what the name of an image in a folder ends with."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that was asked for, not read yet. path: relative to the source."""

    source: Source
    path: str

    @property
    def address(self) -> str:
        """What was given, and the path below it where that was a folder: it opens the image from the same folder."""
        below = self.source.display
        return f"{below}/{self.path}" if "://" in below else str(Path(below, self.path))

    def label(self, classes: Container[str]) -> str | None:
        """The class that the folder in which the image lies is named like, or None."""
        address = self.address
        folders = address.split("/")[3:-1] if "://" in address else Path(address).absolute().parts[:-1]
        return folders[-1] if folders and folders[-1] in classes else None


@dataclass
class Found:
    """images: in the order given, those of a folder sorted, each once; rejects: what was there but is no file to open;
    skipped: files in folders that are hidden, or whose names do not end like an image's."""

    images: list[ImageFile] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    skipped: int = 0


def find_images(given: Sequence[str], endpoint: str | None = None) -> Found:
    """All images at the files, folders (at any depth) and `s3://` addresses given. Nothing is opened yet.

    A file that was named is tried whatever its name; in folders, and below an address, only the SUFFIXES count.
    Raises UserError where something given does not exist, and where there is no image at all.
    """
    found = Found()
    for item in given:
        (_in_storage if "://" in item else _local)(item, endpoint, found)
    found.images = list({image.address: image for image in found.images}.values())
    found.rejects = list(dict.fromkeys(found.rejects))
    if not found.images:
        others = [f"{reject.path}: {reject.reason}" for reject in found.rejects[:3]]
        if found.skipped:
            others.append(f"files there that are hidden or named otherwise: {found.skipped:,}")
        raise UserError(
            f"there is no image in {', '.join(given)}; expected names that end with {', '.join(sorted(SUFFIXES))}"
            f"{''.join(f'. {other}' for other in others)}"
        )
    return found


def read_image(image: ImageFile, size: tuple[int, int] | None) -> Decoded | Reject:
    """Decode at `size` (height, width; None: its own) as the import of a dataset does; or why it cannot be used.

    Raises StorageError where a server is gone. Call it within `quiet_pillow()`.
    """
    try:
        with image.source.open(image.path) as file:
            return decode(file, size)
    except UnusableImageError as error:
        return Reject(image.address, str(error))
    except OSError as error:
        return Reject(image.address, f"unreadable: {error.strerror or error}")
    except UserError as error:  # an object that was deleted since it was listed, or that may not be read
        return Reject(image.address, f"unreadable: {error}")


def _local(given: str, _endpoint: str | None, found: Found) -> None:
    readable = given.encode("utf-8", "backslashreplace").decode()
    try:
        path = Path(given).expanduser()
        if path.is_dir():
            _below(FolderSource(path, str(path)), found)
        elif readable != given:
            found.rejects.append(Reject(readable, "its name is not valid UTF-8 text"))
        elif path.is_file():
            found.images.append(ImageFile(FolderSource(path.parent, str(path.parent)), path.name))
        else:
            what = "is neither a file nor a folder" if path.exists() else "there is no such file or folder"
            raise UserError(f"{readable}: {what}")
    except (OSError, RuntimeError) as error:  # a folder above that may not be entered; a home that is not known
        raise UserError(f"{readable}: cannot be looked at: {getattr(error, 'strerror', None) or error}") from error


def _in_storage(given: str, endpoint: str | None, found: Found) -> None:
    if not given.startswith("s3://"):
        raise UserError(f"{given}: expected a file, a folder or an s3:// address")
    parent, _, name = given.rpartition("/")
    if name and parent != "s3:/":
        beside = open_store(parent, endpoint)
        if beside.exists(name):
            found.images.append(ImageFile(StoreSource(beside), name))
            return
    below = StoreSource(open_store(given, endpoint))
    if not _below(below, found):
        raise UserError(f"{below.display}: there is no such object, and nothing below it")


def _below(source: Source, found: Found) -> bool:
    """Whether there was anything at all."""
    listing: Listing = source.listing()
    for path in listing.files:
        if _is_hidden(path) or _suffix(path) not in SUFFIXES:
            found.skipped += 1
        else:
            found.images.append(ImageFile(source, path))
    for reject in listing.rejects:
        if _is_hidden(reject.path) or _suffix(reject.path) not in SUFFIXES | {""}:  # "": may be a link to a folder
            found.skipped += 1
        else:
            found.rejects.append(Reject(f"{source.display}/{reject.path}", reject.reason))
    return bool(listing.files or listing.rejects)


def _is_hidden(path: str) -> bool:
    return any(is_hidden(part) for part in path.split("/"))


def _suffix(path: str) -> str:
    return PurePosixPath(path.strip("'")).suffix.lower()  # names with unprintable characters are listed in quotes
