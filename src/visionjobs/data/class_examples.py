"""Which images of a split show a class best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from visionjobs.data.cache import Split

Indices = npt.NDArray[np.int64]


def class_examples(split: Split, number: int, examples: int) -> tuple[Indices, Indices]:
    """(classes, rows), int64: for each of the classes 0..number-1 at most `examples` images, those with most of its
    pixels, most first; of equal ones the earlier. A class without pixels has none."""
    pixels = np.zeros((len(split), number), np.int64)
    for row in range(len(split)):  # one at a time: all masks at once may not fit into memory
        pixels[row] = np.bincount(split.read_masks(np.array([row])).reshape(-1), minlength=number)[:number]
    classes, rows = [], []
    for k in range(number):
        order = np.argsort(-pixels[:, k], kind="stable")[:examples]
        chosen = order[pixels[order, k] > 0].tolist()
        classes += [k] * len(chosen)
        rows += chosen
    return np.array(classes, np.int64), np.array(rows, np.int64)
