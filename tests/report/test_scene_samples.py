"""Single images of a segmentation run: which ones are shown, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from parsed_page import figures_of, section_page
from scene_summaries import scene_run

from visionjobs.report.paired_augmentation import paired_augmentation
from visionjobs.report.scene_samples import scene_samples, worst
from visionjobs.report.summary import RunSummary
from visionjobs.scenes import image_ious


@pytest.fixture(scope="module")
def run() -> RunSummary:
    return scene_run(wrong=0.6)


def test_best_median_and_worst_are_told_with_their_numbers(run: RunSummary) -> None:
    masks = run.masks
    assert masks is not None
    figures = {figure.name: figure for figure in figures_of(scene_samples(run))}
    kinds = ("best", "median", "worst")
    assert list(figures) == ["class_colours", *(f"{kind}_{number}" for kind in kinds for number in (1, 2, 3))]
    ious = image_ious(masks)
    order = np.argsort(-ious, kind="stable")
    for name, row in (("best_1", order[0]), ("median_2", order[4]), ("worst_3", order[-1])):
        right = np.trace(masks.confusions[row]) / masks.confusions[row].sum()
        assert figures[name].caption.endswith(f"{masks.paths[row]}; mIoU {ious[row]:.4f}, pixel accuracy {right:.4f}")
    assert "The best, median and worst of the 9 images" in section_page(scene_samples(run)).text


@pytest.mark.parametrize(("n", "names"), [(1, ["best_1"]), (2, ["best_1", "worst_1"])])
def test_few_images(n: int, names: list[str]) -> None:
    assert [figure.name for figure in figures_of(scene_samples(scene_run(n=n)))][1:] == names


def test_images_that_were_not_kept(run: RunSummary) -> None:
    assert "The images were not kept" in section_page(scene_samples(replace(run, scenes=None))).text
    assert worst(replace(run, scenes=None)) is None
    assert scene_samples(replace(run, masks=None)) is None
    scenes = run.scenes
    assert scenes is not None
    first = replace(scenes, index=scenes.index[:1], images=scenes.images[:1], truths=scenes.truths[:1])
    kept = [figure.name for figure in figures_of(scene_samples(replace(run, scenes=first)))]
    assert len(kept) == 2, "the legend, and the one image there is"


def test_the_worst_classes_are_told_with_their_iou(run: RunSummary) -> None:
    masks = run.masks
    assert masks is not None
    matrix = masks.confusions.sum(axis=0)
    page = section_page(worst(run))
    hits, pixels, said = int(matrix[2, 2]), int(matrix[2].sum()), int(matrix[:, 2].sum())
    iou = hits / (pixels + said - hits)
    assert f"Car: IoU {iou:.4f}, {pixels:,} pixels in 9 images, of which {hits:,} were found" in page.text
    captions = [figure.caption for figure in figures_of(worst(run)) if figure.name.startswith("class_2_")]
    assert len(captions) == 3
    assert all(caption.startswith("Car ") and "its IoU in this image 0." in caption for caption in captions)
    assert "Train" not in page.text, "it has no pixels"


def test_a_class_that_is_never_predicted(run: RunSummary) -> None:
    masks = run.masks
    assert masks is not None
    confusions = masks.confusions.copy()
    confusions[:, :, 0] += confusions[:, :, 4]
    confusions[:, :, 4] = 0
    page = section_page(worst(replace(run, masks=replace(masks, confusions=confusions))))
    assert "Void: IoU 0.0000" in page.text
    assert "it was never predicted." in page.text


def test_no_class_is_bad() -> None:
    section = worst(scene_run(wrong=0.0))
    assert "Each class that has pixels reaches an IoU above 0.5." in section_page(section).text
    assert figures_of(section) == []


def test_augmented_images_stand_below_the_original(run: RunSummary) -> None:
    spec = {**run.spec, "data": {**run.spec["data"], "augment": "camvid"}}
    section = paired_augmentation(replace(run, spec=spec))
    assert [figure.name for figure in figures_of(section)] == ["augmented_1"]
    assert 'Augmentation "camvid"' in section_page(section).text
    scenes = run.scenes
    assert scenes is not None
    empty = replace(scenes, originals=scenes.originals[:0], original_masks=scenes.original_masks[:0],
                    augmented=scenes.augmented[:0], augmented_masks=scenes.augmented_masks[:0])  # fmt: skip
    assert paired_augmentation(replace(run, scenes=empty)) is None
