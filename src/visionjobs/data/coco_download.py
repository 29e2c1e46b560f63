"""COCO 2017 from its official address (https://cocodataset.org/#download) into a folder of COCO's own layout."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from visionjobs.data.archive import extract
from visionjobs.download import OnStart, WebFile, fetch_web_file
from visionjobs.errors import StorageError, UserError

DOWNLOADS = ".download"
"""Folder of what is not yet whole, and of each archive's sha256; the import passes it over."""


@dataclass(frozen=True)
class Archive:
    """A zip. folder: the one at its top, which it is unpacked to."""

    file: WebFile
    folder: str


ANNOTATIONS = Archive(
    WebFile(
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip", 252_907_541,
        "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    ),
    "annotations",
)  # fmt: skip

IMAGES = {
    "val": Archive(
        WebFile(
            "http://images.cocodataset.org/zips/val2017.zip", 815_585_330,
            "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        ),
        "val2017",
    ),
    "train": Archive(
        WebFile(
            "http://images.cocodataset.org/zips/train2017.zip", 19_336_861_798,
            "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
        ),
        "train2017",
    ),
}  # fmt: skip
"""Split -> its images. The address has no https, and publishes no checksums: these sizes and sha256 are those that
several public projects have independently written down."""


def download_coco(
    folder: Path, splits: Sequence[str], on_start: OnStart, *,
    images: Mapping[str, Archive] = IMAGES, annotations: Archive = ANNOTATIONS,
) -> dict[str, str]:  # fmt: skip
    """Fetch, verify and unpack the images of `splits` and the annotations; what `folder` has already is left as it is.

    Each archive's folder appears whole or not at all, and the archive is deleted then; an interrupted call goes on
    where it was. Returns archive -> sha256. Raises UserError (a folder of that name that this did not make; another
    download into the same folder is running), StorageError (server or disk).
    """
    downloads = folder / DOWNLOADS
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(downloads / "lock", timeout=0):
            for archive in (annotations, *(images[split] for split in splits)):
                _bring(archive, folder, downloads, on_start)
    except filelock.Timeout as error:
        raise UserError(f"{folder}: another download into this folder is running; wait for it") from error
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: {error.strerror or error}") from error
    return {one.file.name: one.file.sha256 for one in (annotations, *(images[split] for split in splits))}


def _bring(archive: Archive, folder: Path, downloads: Path, on_start: OnStart) -> None:
    target, receipt = folder / archive.folder, downloads / f"{archive.file.name}.sha256"
    if target.exists():
        if receipt.is_file() and receipt.read_text().startswith(archive.file.sha256):
            return
        raise UserError(
            f"{target} is there already, and not from this download. To use it: visionjobs data import coco {folder} "
            "(without --download). To download: give another folder."
        )
    zipped = fetch_web_file(archive.file, downloads, on_start)
    unpacked = downloads / f"{archive.folder}.unpacked"
    if unpacked.exists():  # left by a call that was killed
        shutil.rmtree(unpacked)
    extract(zipped, unpacked, str(zipped))
    if not (unpacked / archive.folder).is_dir():
        raise UserError(f"{archive.file.url}: has no folder {archive.folder}/ at its top, as it should")
    receipt.write_text(f"{archive.file.sha256}  {archive.file.name}\n")
    (unpacked / archive.folder).rename(target)
    shutil.rmtree(unpacked)
    zipped.unlink()
