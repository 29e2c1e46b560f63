"""The end of a segmentation run: the metrics that need each image, its predictions, and what its report shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from visionjobs import mask_predictions, scenes
from visionjobs.data.cache import Split
from visionjobs.data.class_examples import class_examples
from visionjobs.data.loader import resized, resized_masks
from visionjobs.data.manifest import Manifest
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.metrics.segmentation_samples import sample_metrics
from visionjobs.scenes import Scenes
from visionjobs.spec import JobSpec
from visionjobs.tasks.base import Completed, Ended, OnStage

CHUNK = 16
"""Images that are resized at once."""

EXAMPLES = 2
"""Training images of each class that are shown."""

ORIGINALS, COPIES = 3, 3
"""Training images that are shown augmented, and how often each."""

Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


def complete(spec: JobSpec, ended: Ended, on_stage: OnStage) -> Completed:
    """See `Task.complete`."""
    classes, paths = tuple(ended.dataset.classes), tuple(ended.samples.paths)
    predicted = MaskPredictions(ended.split, classes, paths, **ended.kept)
    on_stage("bootstrap intervals")
    height, width = spec.data.size
    metrics = ended.metrics | sample_metrics(predicted, (height, width))
    on_stage("the images of the report")
    return Completed(
        metrics,
        {
            mask_predictions.KEY.format(split=ended.split): predicted.to_npz(),
            scenes.KEY: choose_scenes(spec, ended.dataset, predicted, ended.samples, ended.train).to_npz(),
        },
    )


def choose_scenes(
    spec: JobSpec, dataset: Manifest, predicted: MaskPredictions, samples: Split, train: Split | None
) -> Scenes:
    """The images that the report shows with truth and prediction, training images of each class, augmented ones."""
    size = (spec.data.size[0], spec.data.size[1])
    index = scenes.shown(predicted)
    images, truths = _at_size(samples, index, size)
    shown = train or samples
    classes, rows = class_examples(shown, len(dataset.classes), EXAMPLES if train is not None else 0)
    example_images, examples = _at_size(shown, rows, size)
    return Scenes(index, images, truths, classes, example_images, examples, *_augmented(spec, size, train))


def _at_size(split: Split, index: Indices, size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Images uint8 [n, H, W, 3] and masks [n, H, W]."""
    images, masks = np.empty((len(index), *size, 3), np.uint8), np.empty((len(index), *size), np.uint8)
    for start in range(0, len(index), CHUNK):  # floats of all at once would take gigabytes
        part = slice(start, start + CHUNK)
        images[part] = resized(torch.from_numpy(split.read(index[part])), size).numpy()
        masks[part] = resized_masks(torch.from_numpy(split.read_masks(index[part])), size).numpy()
    return images, masks


def _augmented(spec: JobSpec, size: tuple[int, int], train: Split | None) -> tuple[Pixels, Pixels, Pixels, Pixels]:
    """(originals, their masks, augmented, their masks), as training draws them; all empty without augmentation."""
    if train is None or spec.data.augment == "none":
        images, masks = np.empty((0, *size, 3), np.uint8), np.empty((0, *size), np.uint8)
        return images, masks, images[:, None], masks[:, None]
    from visionjobs.data.augment_masks import MASK_AUGMENTATIONS, augment_with_masks

    index = np.linspace(0, len(train) - 1, min(ORIGINALS, len(train))).astype(np.int64)
    images, masks = _at_size(train, index, size)
    repeated, moved = (torch.from_numpy(pixels).repeat_interleave(COPIES, dim=0) for pixels in (images, masks))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.train.seed)
        changed, moved = augment_with_masks(repeated, moved, MASK_AUGMENTATIONS[spec.data.augment](size))
    pixels = changed.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
    shape = (len(index), COPIES, *size)
    return images, masks, pixels.reshape(*shape, 3).numpy(), moved.reshape(shape).numpy()
