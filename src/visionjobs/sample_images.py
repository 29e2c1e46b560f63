"""The few images that a run's report shows: `predictions/samples.npz`, so that it can be drawn without the dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.arrays import pack_fields, unpack_fields

KEY = "predictions/samples.npz"


@dataclass(frozen=True)
class SampleImages:
    """Images are uint8 RGB [.., H, W, 3] at the size the model was fed.

    index: int64 [m], rows of the run's Predictions (validation split), sorted, without repeats; images [m, H, W, 3]:
    those samples. originals [r, H, W, 3]: training images; original_labels: int64 [r]; augmented
    [r, copies, H, W, 3]: each one's augmented copies (r = 0 without augmentation).
    """

    index: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint8]
    originals: npt.NDArray[np.uint8]
    original_labels: npt.NDArray[np.int64]
    augmented: npt.NDArray[np.uint8]

    def image_of(self, row: int) -> npt.NDArray[np.uint8] | None:
        """The image of a row of the predictions, None where it was not kept."""
        at = int(np.searchsorted(self.index, row))
        return self.images[at] if at < len(self.index) and self.index[at] == row else None

    def to_npz(self) -> bytes:
        """Compressed arrays, one a field."""
        return pack_fields(self)

    @classmethod
    def from_npz(cls, data: bytes, source: str) -> SampleImages:
        """What `to_npz` wrote. Raises UserError naming `source` for anything else."""
        return unpack_fields(cls, data, source, "sample images")
