"""The section on augmentation of images together with their masks."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.inference.overlay import coloured
from visionjobs.report.figures_masks import mask_sheet, panel
from visionjobs.report.figures_sheet import SheetRow
from visionjobs.report.formatting import plain
from visionjobs.report.page import Figure, Gallery, Section, Text
from visionjobs.report.summary import RunSummary


def paired_augmentation(run: RunSummary) -> Section | None:
    """Training images with their masks, and both as training saw them; None for a run without augmentation."""
    drawn = tuple(_sheets(run))
    if not drawn:
        return None
    name = plain(run.setting("data.augment"))
    text = (
        f'Augmentation "{name}", drawn anew for each image in every epoch: image and mask are moved together, colours '
        "change in the image alone. An epoch has as many samples as there are training images."
    )
    return Section("augmentation", "Augmentation", (Text(text), Gallery(drawn)))


def _sheets(run: RunSummary) -> Iterator[Figure]:
    scenes, colours = run.scenes, run.dataset.get("colours")
    if scenes is None or not colours or not len(scenes.augmented):
        return
    originals = zip(scenes.originals, scenes.original_masks, scenes.augmented, scenes.augmented_masks, strict=True)
    for number, (image, mask, images, masks) in enumerate(originals, start=1):
        pairs = [("original", image, mask)]
        pairs += [(f"augmented {copy}", *pair) for copy, pair in enumerate(zip(images, masks, strict=True), start=1)]
        rows = [
            SheetRow((panel(seen, name, blend=True), panel(coloured(classes, colours), f"{name}: mask")))
            for name, seen, classes in pairs
        ]
        caption = f"Training image {number} and its mask (top), and both as training saw them"
        yield Figure(f"augmented_{number}", mask_sheet(rows, 2, colours), caption)
