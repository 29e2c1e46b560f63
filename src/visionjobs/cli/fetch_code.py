"""`visionjobs fetch-code SHA256 FOLDER`: what the init container of a pod does (cluster/code.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionjobs.cli.console import err
from visionjobs.cluster.code import fetch_code as fetch
from visionjobs.settings import Settings
from visionjobs.storage import open_store


def fetch_code(
    sha256: Annotated[str, typer.Argument(help="of the zip in the storage's code/")],
    folder: Annotated[Path, typer.Argument(help="folder to unpack src/ and jobs/ into")],
) -> None:
    """Unpack the code that travelled with a job. Exit status 2: it is not there, or not what was sent; 4: storage."""
    settings = Settings.from_env()
    fetch(open_store(settings.storage, settings.endpoint), sha256, folder)
    err.print(f"code {sha256} is in {folder}")
