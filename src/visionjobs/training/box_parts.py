"""The boxes that a prediction has found so far: `attempts/<n>/predictions/<weights>/part-....npz`, one a piece of work.

A prediction that was interrupted goes on with the images that no attempt's parts name. Parts are kept apart by the
weights that found them: those of a run that is trained further are no longer its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from visionjobs.arrays import pack_fields, unpack_fields
from visionjobs.boxes import Detections, Floats, Ints
from visionjobs.errors import UserError
from visionjobs.runs import Attempt, Run


@dataclass(frozen=True)
class BoxPart:
    """done: int64 [m], indices of the images that were looked at, whether they have boxes or not; images, categories:
    int64 [n], of each box its image, and its class in the model's numbers; boxes: float64 [n, 4]; scores: float64 [n];
    classes: str, the model's own names; device: str [], what they were found on.
    """

    done: Ints
    images: Ints
    categories: Ints
    boxes: Floats
    scores: Floats
    classes: npt.NDArray[np.str_]
    device: npt.NDArray[np.str_]


def write_part(attempt: Attempt, weights: str, part: BoxPart) -> None:
    """weights: sha256 of what found the boxes. Raises SupersededError, StorageError."""
    attempt.write(f"{_folder(weights)}/part-{int(part.done[0]):08}.npz", pack_fields(part))


def read_parts(run: Run, weights: str, warn: Callable[[str], None]) -> BoxPart | None:
    """All parts of all attempts as one, each image once (of two that looked at it, the older attempt's counts).

    None where there is no part yet. One that is damaged is deleted, with a warning: its images are predicted again.
    """
    parts: list[BoxPart] = []
    known = np.empty(0, np.int64)
    for entry in run.store.entries("attempts"):
        if f"/{_folder(weights)}/" in entry.key:
            try:
                part = unpack_fields(BoxPart, run.store.read(entry.key), f"{run.store.address}/{entry.key}", "boxes")
            except UserError as error:
                warn(f"{error}; its images are predicted again")
                run.store.delete([entry.key])
                continue
            new = part.done[~np.isin(part.done, known)]
            chosen = np.isin(part.images, new)
            known = np.concatenate([known, new])
            found = {name: getattr(part, name)[chosen] for name in ("images", "categories", "boxes", "scores")}
            parts.append(replace(part, done=new, **found))
    if not parts:
        return None
    joined = {
        field: np.concatenate([getattr(part, field) for part in parts])
        for field in ("done", "images", "categories", "boxes", "scores")
    }
    return BoxPart(**joined, classes=parts[0].classes, device=parts[-1].device)


def delete_parts(run: Run) -> None:
    """Delete the parts of all attempts."""
    run.store.delete([entry.key for entry in run.store.entries("attempts") if "/predictions/" in entry.key])


def in_truth_classes(part: BoxPart, class_numbers: Ints) -> Detections:
    """The boxes in the dataset's classes, ordered by image. class_numbers: int64 [model's classes], -1: dropped."""
    categories = class_numbers[part.categories]
    kept = np.flatnonzero(categories >= 0)
    kept = kept[np.argsort(part.images[kept], kind="stable")]
    return Detections(part.images[kept], categories[kept], part.boxes[kept], part.scores[kept])


def _folder(weights: str) -> str:
    return f"predictions/{weights[:16]}"
