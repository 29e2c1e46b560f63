"""Training images of each class, with the class alone beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from visionjobs.inference.overlay import Colours, only_class
from visionjobs.report.figures_masks import mask_sheet, panel
from visionjobs.report.figures_sheet import SheetRow
from visionjobs.report.page import Figure
from visionjobs.scenes import Scenes

MOST_CLASSES = 40
"""So many classes are shown at most: each is a figure."""


DPI = 90
"""Of these figures: there are many, without a letter in them."""


def example_figures(scenes: Scenes, names: Sequence[str], colours: Colours) -> Iterator[Figure]:
    """A figure a class that occurs: training images (left), and the class in its colour, the rest black (right)."""
    for number in np.unique(scenes.example_classes)[:MOST_CLASSES].tolist():
        rows = [
            SheetRow((
                panel(scenes.example_images[at], "", blend=True),
                panel(only_class(scenes.examples[at], number, colours), "", blend=True),
            ))
            for at in np.flatnonzero(scenes.example_classes == number)
        ]  # fmt: skip
        yield Figure(f"example_{number}", mask_sheet(rows, 2, colours, DPI), names[number])
