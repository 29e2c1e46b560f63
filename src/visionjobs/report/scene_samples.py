"""The sections on single images: the best, median and worst ones, and those of the classes with the lowest IoU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from visionjobs.inference.overlay import Colours, coloured, only_class
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.report.figures_masks import colour_legend, found_pixels, mask_sheet, panel, wrong_pixels
from visionjobs.report.figures_sheet import SheetRow
from visionjobs.report.formatting import count, decimal, percent
from visionjobs.report.page import Block, Figure, Gallery, Section, Text
from visionjobs.report.summary import RunSummary
from visionjobs.scenes import IMAGES_A_CLASS, LOW_IOU, WORST_CLASSES, Indices, Scenes, image_ious, ranked, worst_classes

KINDS = {"best": "Best", "median": "Median", "worst": "Worst"}


def scene_samples(run: RunSummary) -> Section | None:
    """Image, truth, prediction and wrong pixels of some images; None where there are no predictions."""
    masks, scenes, colours = run.masks, run.scenes, run.dataset.get("colours")
    if masks is None or not len(masks):
        return None
    if scenes is None or not colours:
        return Section("samples", "Images", (Text("The images were not kept with the run."),))
    chosen = ranked(masks)
    kinds = list(chosen)
    told = f"{', '.join(kinds[:-1])} and {kinds[-1]}" if len(kinds) > 1 else kinds[0]
    lead = (
        f"The {told} of the {count(len(masks))} images by their own mIoU, the mean over the classes that "
        "an image holds. Wrong pixels: orange-red on the image in grey."
    )
    blocks: list[Block] = [Text(lead), *_legend(masks, scenes, colours, chosen)]
    ious = image_ious(masks)
    for kind, rows in chosen.items():
        figures = tuple(_ranked(masks, scenes, colours, kind, rows, ious))
        blocks += [Gallery(figures)] if figures else []
    return Section("samples", "Images", tuple(blocks))


def _legend(masks: MaskPredictions, scenes: Scenes, colours: Colours, chosen: dict[str, Indices]) -> Iterator[Gallery]:
    """The colours of the classes that occur in the images shown or were predicted there."""
    rows = np.concatenate(list(chosen.values()))
    places = [place for row in rows if (place := scenes.place(int(row))) is not None]
    there = np.union1d(np.unique(scenes.truths[places]), np.unique(masks.masks[rows])).tolist() if places else []
    there = [k for k in there if k < len(masks.classes)]
    if there:
        drawn = colour_legend([masks.classes[k] for k in there], [colours[k] for k in there])
        yield Gallery((Figure("class_colours", drawn, "Colours of the classes that occur in the images below"),))


def _ranked(
    masks: MaskPredictions, scenes: Scenes, colours: Colours, kind: str, rows: Indices, ious: np.ndarray
) -> Iterator[Figure]:
    for number, row in enumerate(map(int, rows), start=1):
        place = scenes.place(row)
        if place is None:
            continue
        image, truth, predicted = scenes.images[place], scenes.truths[place], masks.masks[row]
        right = float(np.trace(masks.confusions[row]) / max(1, masks.confusions[row].sum()))
        sheet_rows = (
            SheetRow((panel(image, "image", blend=True), panel(coloured(truth, colours), "truth"))),
            SheetRow((
                panel(coloured(predicted, colours), "prediction"),
                panel(wrong_pixels(image, truth, predicted), f"wrong pixels: {percent(1 - right)}", blend=True),
            )),
        )  # fmt: skip
        caption = f"{KINDS[kind]} {number}: {masks.paths[row]}; mIoU {decimal(float(ious[row]))}"
        yield Figure(
            f"{kind}_{number}", mask_sheet(sheet_rows, 2, colours), f"{caption}, pixel accuracy {decimal(right)}"
        )


def worst(run: RunSummary) -> Section | None:
    """Up to WORST_CLASSES classes that were segmented badly; None where there are no predictions."""
    masks, scenes, colours = run.masks, run.scenes, run.dataset.get("colours")
    if masks is None or not len(masks) or scenes is None or not colours:
        return None
    chosen = worst_classes(masks)
    if not chosen:
        text = f"Each class that has pixels reaches an IoU above {LOW_IOU:g}."
        return Section("worst_classes", "Classes with the lowest IoU", (Text(text),))
    blocks: list[Block] = [
        Text(
            f"Up to {WORST_CLASSES} classes with the lowest IoU, at most {LOW_IOU:g}, of those that have pixels, in up "
            f"to {IMAGES_A_CLASS} images with most of their pixels. Only the class has its colour, the rest is "
            "black; a class whose own colour is black is white. Fourth picture: pixels found are white, missed ones "
            "orange, those wrongly said to be of the class blue."
        )
    ]
    for number, rows in chosen.items():
        blocks.append(Text(_told(masks, number)))
        figures = tuple(_of_class(masks, scenes, colours, number, rows))
        blocks += [Gallery(figures)] if figures else []
    return Section("worst_classes", "Classes with the lowest IoU", tuple(blocks))


def _told(masks: MaskPredictions, number: int) -> str:
    """A class's IoU, how many pixels it has, and how many were said to be of it."""
    matrix = masks.confusions.sum(axis=0)
    hits, pixels, said = int(matrix[number, number]), int(matrix[number].sum()), int(matrix[:, number].sum())
    images = int((masks.confusions[:, number].sum(axis=1) > 0).sum())
    text = (
        f"{masks.classes[number]}: IoU {decimal(hits / max(1, pixels + said - hits))}, {count(pixels)} pixels in "
        f"{count(images)} {'image' if images == 1 else 'images'}"
    )
    if not said:
        return f"{text}; it was never predicted."
    return f"{text}, of which {count(hits)} were found; {count(said)} pixels were said to be of it."


def _of_class(masks: MaskPredictions, scenes: Scenes, colours: Colours, number: int, rows: Indices) -> Iterator[Figure]:
    for at, row in enumerate(map(int, rows), start=1):
        place = scenes.place(row)
        if place is None:
            continue
        truth, predicted, name = scenes.truths[place], masks.masks[row], masks.classes[number]
        sheet_rows = (
            SheetRow((
                panel(scenes.images[place], "image", blend=True),
                panel(only_class(truth, number, colours), "truth", blend=True),
            )),
            SheetRow((
                panel(only_class(predicted, number, colours), "prediction", blend=True),
                panel(found_pixels(truth, predicted, number), "found, missed, wrongly said", blend=True),
            )),
        )  # fmt: skip
        confusion = masks.confusions[row]
        hits, union = confusion[number, number], confusion[number].sum() + confusion[:, number].sum()
        caption = (
            f"{name} {at}: {masks.paths[row]}; its IoU in this image {decimal(float(hits / max(1, union - hits)))}"
        )
        yield Figure(f"class_{number}_{at}", mask_sheet(sheet_rows, 2, colours), caption)
