"""Pictures that are drawn for a prediction: their names, and the format that takes them."""

from __future__ import annotations

from pathlib import PurePosixPath

LONGEST_JPEG = 65_500
"""Pixels a side: the format knows no longer one."""

QUALITY = 90

NAME_BYTES = 200
"""Of a name, without the end that may tell it from others: file systems take 255."""


def suffix_for(width: int, height: int) -> str:
    """jpg, or png where an image is too long for JPEG."""
    return "jpg" if max(height, width) <= LONGEST_JPEG else "png"


class PictureNames:
    """Names of files that no two images share, also where a file system does not tell A from a."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, path: str) -> str:
        """That of the image without its suffix, with a number behind it where another image has it."""
        stem = PurePosixPath(path).stem.encode()[:NAME_BYTES].decode(errors="ignore")
        name, number = stem, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.casefold())
        return name
