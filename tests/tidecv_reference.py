"""TIDE's errors by the reference, tidecv."""

from __future__ import annotations

import numpy as np
from tidecv import Data
from tidecv.errors.main_errors import BackgroundError, BoxError, ClassError, DuplicateError, MissedError, OtherError
from tidecv.quantify import TIDE, TIDERun

from visionjobs.boxes import Bools, Detections, Truth

KINDS = {
    "Cls": ClassError, "Loc": BoxError, "Both": OtherError, "Dupe": DuplicateError, "Bkg": BackgroundError,
    "Miss": MissedError,
}  # fmt: skip


def tidecv_run(truth: Truth, detections: Detections, true: Bools, regions: Bools, max_dets: int = 100) -> TIDERun:
    """The reference, with `true` boxes to find and `regions` to ignore; ids count up in the order of what is given."""
    there, found = Data("truth", max_dets=max_dets), Data("detections")
    for data in (there, found):
        for k, name in enumerate(truth.classes):
            data.add_class(k, name)
    for image, path in enumerate(truth.paths):
        there.add_image(image, path)
    for g in np.flatnonzero(true | regions):
        add = there.add_ignore_region if regions[g] else there.add_ground_truth
        add(int(truth.images[g]), int(truth.categories[g]), truth.boxes[g].tolist())
    for d in range(len(detections)):
        found.add_detection(
            int(detections.images[d]), int(detections.categories[d]), float(detections.scores[d]),
            detections.boxes[d].tolist(),
        )  # fmt: skip
    return TIDERun(there, found, 0.5, 0.1, TIDE.BOX, max_dets)


def tidecv_numbers(run: TIDERun) -> dict[str, float | None]:
    """All of tidecv's; None where it divides by the number of classes left, 0."""
    result: dict[str, float | None] = {"ap50": run.ap}
    for name, kind in KINDS.items():
        try:
            result[name] = run.fix_main_errors(error_types=[kind])[kind]
        except ZeroDivisionError:
            result[name] = None
    try:
        special = run.fix_special_errors()
    except ZeroDivisionError:  # of FN: nothing has been found, so that no false positive can be wrong either
        return result | {"FP": 0.0, "FN": None}
    return result | {"FP": special[TIDE._special_error_types[0]], "FN": special[TIDE._special_error_types[1]]}
