"""What a segmentation model said of each image: `predictions/<split>.npz` of a run, in the order of the split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visionjobs.arrays import pack_arrays, unpack_arrays
from visionjobs.errors import UserError

KEY = "predictions/{split}.npz"
"""Where a run keeps the predictions of a split, relative to its folder."""

Counts = npt.NDArray[np.int64]

_ARRAYS = ("confusions", "nll_sums", "nll_pixels", "boundaries", "masks")
_TEXTS = ("classes", "paths")


@dataclass(frozen=True)
class MaskPredictions:
    """Of n images with K classes.

    split: of the dataset, or "all"; classes: K names, in the order of the logits; paths: of the source images, relative
    to the source; confusions: int64 [n, K, K], pixels by true class (rows) and predicted class (columns); nll_sums:
    float64 [n], sums over the pixels of -ln of the probability given to the true class; nll_pixels: int64 [n], the
    pixels summed over (those of train.ignore are not); boundaries: int64 [n, K, 4] (metrics/boundary.py); masks: uint8
    [n, H, W], predicted class numbers at the size that the model was fed.
    """

    split: str
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    confusions: Counts
    nll_sums: npt.NDArray[np.float64]
    nll_pixels: Counts
    boundaries: Counts
    masks: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.paths)

    def to_npz(self) -> bytes:
        """Compressed arrays, one a field."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        texts = {name: np.array(getattr(self, name), np.str_) for name in _TEXTS}
        return pack_arrays(arrays | texts | {"split": np.array(self.split)})

    @classmethod
    def from_npz(cls, data: bytes, source: str) -> MaskPredictions:
        """What `to_npz` wrote. Raises UserError naming `source` for anything else."""
        found = unpack_arrays(data, source)
        if missing := {*_ARRAYS, *_TEXTS, "split"} - found.keys():
            raise UserError(
                f"{source} holds no predictions of masks ({', '.join(sorted(missing))} are missing): evaluate the run "
                "again"
            )
        classes, paths = (tuple(found[name].tolist()) for name in _TEXTS)
        return cls(str(found["split"]), classes, paths, *(found[name] for name in _ARRAYS))
