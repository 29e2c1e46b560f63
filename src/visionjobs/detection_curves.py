"""Precision-recall curves of a detection run, for its report: `predictions/curves.npz`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.arrays import pack_fields, unpack_fields
from visionjobs.boxes import Floats

KEY = "predictions/curves.npz"

IOUS = (0.5, 0.75)
"""The IoU from which a detection counts as right, one curve each."""

RECALLS = np.linspace(0, 1, 101)
"""Where a curve is measured, as in COCOeval."""


@dataclass(frozen=True)
class DetectionCurves:
    """floors: float64 [F], confidence floors, ascending; classes: str [K]; precisions: float64 [F, 2, K, 101], for each
    of IOUS, class and RECALLS, all sizes, 100 detections an image and class; NaN for a class without true boxes."""

    floors: Floats
    classes: npt.NDArray[np.str_]
    precisions: Floats

    def to_npz(self) -> bytes:
        """Compressed arrays, one a field."""
        return pack_fields(self)

    @classmethod
    def from_npz(cls, data: bytes, source: str) -> DetectionCurves:
        """What `to_npz` wrote. Raises UserError naming `source` for anything else."""
        return unpack_fields(cls, data, source, "precision-recall curves")
