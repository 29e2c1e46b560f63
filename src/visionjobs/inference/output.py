"""A new local folder that is whole or absent, never half."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visionjobs.errors import UserError
from visionjobs.storage import explain_os_error


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` to write into: renamed to it when the block ends well, else deleted (Ctrl-C too).

    Folders above it are made, and deleted again with it. Raises UserError before the block begins where `target` is
    there and not empty, or may not be made; StorageError where the disk fails or is full.
    """
    made: list[Path] = []
    try:
        final = target.resolve()
        _check_free(final, target)
        for folder in [above for above in reversed(final.parents) if not above.is_dir()]:
            with suppress(FileExistsError):  # another process was faster, or it is a file, on which the next step fails
                folder.mkdir()
                made.append(folder)
        temporary = final.with_name(f".{final.name}.tmp-{secrets.token_hex(4)}")
        temporary.mkdir()
        try:
            yield temporary
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except BaseException as error:
        for folder in reversed(made):
            with suppress(OSError):  # another process has written there: it stays
                folder.rmdir()
        if isinstance(error, OSError):
            raise explain_os_error(error, str(target)) from error
        raise


def _check_free(final: Path, target: Path) -> None:
    if final.is_dir():
        if any(final.iterdir()):
            raise UserError(f"{target}: is there already, and not empty; name a new folder")
        if os.path.ismount(final):
            raise UserError(f"{target}: is a mount point, which cannot be replaced; name a folder in it")
    elif final.exists():
        raise UserError(f"{target}: is there already, and no folder; name a new folder")
