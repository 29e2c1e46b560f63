"""The synthetic sample of a layout: drawn as raw files, then imported like any other data."""

from __future__ import annotations

import tempfile
from pathlib import Path

from visionjobs.data.catalog import SAMPLE_SUFFIX, DatasetRef, versions
from visionjobs.data.importing import ImportResult
from visionjobs.data.layouts import LAYOUTS
from visionjobs.data.parallel import OnProgress
from visionjobs.errors import UserError, nearest
from visionjobs.storage import Store


def ensure_sample(layout: str, root: Store, on_progress: OnProgress | None = None) -> DatasetRef:
    """The dataset `<layout>-sample`: the one already in storage, else drawn and imported now."""
    name = f"{check_layout(layout)}{SAMPLE_SUFFIX}"
    if made := versions(root, name):
        return made[-1]
    imported = make_sample(layout, root, on_progress=on_progress)
    return DatasetRef(imported.store, imported.manifest)


def make_sample(
    layout: str, root: Store, *, folder: Path | None = None, seed: int = 0, on_progress: OnProgress | None = None
) -> ImportResult:
    """Draw the sample into `folder` (a temporary one where none is given) and import it.

    Raises UserError where `folder` has something in it already.
    """
    chosen = LAYOUTS[check_layout(layout)]
    with tempfile.TemporaryDirectory(prefix="visionjobs-sample-") as temporary:
        raw = folder or Path(temporary)
        try:
            if any(raw.iterdir()) if raw.exists() else False:
                raise UserError(f"{raw}: is not empty; give a new folder for the raw files")
            chosen.draw_sample(raw, seed=seed, on_progress=on_progress)
        except OSError as error:
            raise UserError(
                f"{error.filename or raw}: the sample could not be drawn here: {error.strerror or error}"
            ) from error
        size = {"size": chosen.sample_size} if chosen.sample_size else {}
        return chosen.import_raw(
            str(raw), f"{layout}{SAMPLE_SUFFIX}", root, **size,
            on_progress=on_progress, described=f"drawn by visionjobs data sample {layout}, seed {seed}",
        )  # fmt: skip


def check_layout(layout: str) -> str:
    """`layout`, if there is such a one. Raises UserError."""
    if layout not in LAYOUTS:
        raise UserError(
            f'There is no raw layout "{layout}"; expected one of: {", ".join(LAYOUTS)}.{nearest(layout, LAYOUTS)}'
        )
    return layout
