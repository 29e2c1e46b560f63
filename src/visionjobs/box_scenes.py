"""The few images that a detection run's report shows, with all their boxes: `predictions/box_scenes.npz`.

With them a report can be drawn without the dataset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.arrays import pack_fields, unpack_fields
from visionjobs.boxes import Bools, Floats, Ints

KEY = "predictions/box_scenes.npz"

LONGEST = 640
"""Images are scaled down to at most so many pixels, height and width."""

WORST = "worst"
LABEL_ERROR = "label error"


@dataclass(frozen=True)
class BoxScenes:
    """n images; boxes are (x, y, width, height) in pixels of the image at its own size.

    kinds: str [n], WORST (by the number of errors at the higher floor) or LABEL_ERROR (a confident detection where the
    truth says otherwise), in the order in which they are to be shown; paths: str [n]; sizes: int64 [n, 2], height and
    width of the image at its own size; jpegs: uint8, the JPEG files of all images, scaled down, one after the other;
    ends: int64 [n], where each ends in `jpegs`.
    True boxes of all images: truth_scenes int64 [T], index of the image; truth_boxes float64 [T, 4]; truth_categories
    int64 [T]; truth_missed, truth_crowd: bool [T].
    Detections of all images, at the higher floor: scenes int64 [D]; boxes float64 [D, 4]; categories int64 [D]; scores
    float64 [D]; errors uint8 [D], codes of metrics/tide.py's ERRORS; suspect: bool [D], those that a LABEL_ERROR is
    about.
    """

    kinds: npt.NDArray[np.str_]
    paths: npt.NDArray[np.str_]
    sizes: Ints
    jpegs: npt.NDArray[np.uint8]
    ends: Ints
    truth_scenes: Ints
    truth_boxes: Floats
    truth_categories: Ints
    truth_missed: Bools
    truth_crowd: Bools
    scenes: Ints
    boxes: Floats
    categories: Ints
    scores: Floats
    errors: npt.NDArray[np.uint8]
    suspect: Bools

    def __len__(self) -> int:
        return len(self.paths)

    def jpeg(self, scene: int) -> bytes:
        """The file of an image, scaled down."""
        start = int(self.ends[scene - 1]) if scene else 0
        return self.jpegs[start : int(self.ends[scene])].tobytes()

    def to_npz(self) -> bytes:
        """Compressed arrays, one a field."""
        return pack_fields(self)

    @classmethod
    def from_npz(cls, data: bytes, source: str) -> BoxScenes:
        """What `to_npz` wrote. Raises UserError naming `source` for anything else."""
        return unpack_fields(cls, data, source, "images of a detection run")
