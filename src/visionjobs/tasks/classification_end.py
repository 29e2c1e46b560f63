"""The end of a classification run: the metrics that need each sample, its predictions, and what its report shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from visionjobs import predictions, sample_images
from visionjobs.arrays import pack_arrays
from visionjobs.data.cache import Split
from visionjobs.data.loader import resized
from visionjobs.metrics.classification_samples import sample_metrics
from visionjobs.mistakes import chosen_mistakes
from visionjobs.models import model_entry
from visionjobs.predictions import Predictions
from visionjobs.sample_images import SampleImages
from visionjobs.spec import JobSpec
from visionjobs.tasks.base import Completed, Ended, OnStage

CHUNK = 32
"""Images that are resized at once."""

ORIGINALS = 5
"""Training images whose augmented copies are shown."""


def complete(spec: JobSpec, ended: Ended, on_stage: OnStage) -> Completed:
    """See `Task.complete`."""
    samples = ended.samples
    predicted = Predictions(
        ended.split, tuple(ended.dataset.classes), tuple(samples.paths), samples.labels, ended.kept["logits"]
    )
    on_stage("bootstrap intervals")
    metrics = ended.metrics | sample_metrics(predicted)
    files = {
        predictions.KEY.format(split=ended.split): predicted.to_parquet(),
        sample_images.KEY: choose_samples(spec, predicted, samples, ended.train).to_npz(),
    }
    if ended.features and ended.train is not None:
        numbers, files[predictions.EMBEDDINGS] = _features(spec, ended, ended.train, on_stage)
        metrics |= {"features": numbers}
    return Completed(metrics, files)


def choose_samples(spec: JobSpec, predicted: Predictions, samples: Split, train: Split | None) -> SampleImages:
    """The mistakes that the report shows, and some training images beside their augmented copies."""
    size = (spec.data.size[0], spec.data.size[1])
    index = chosen_mistakes(predicted)
    images = _at_size(samples, index, size)
    if train is None or not spec.data.copies:
        nothing = np.empty((0, *size, 3), np.uint8)
        return SampleImages(index, images, nothing, np.empty(0, np.int64), nothing[:, None])
    originals = _originals(train)
    shown = _at_size(train, originals, size)
    return SampleImages(index, images, shown, train.labels[originals], _augmented(spec, shown))


def _at_size(split: Split, index: npt.NDArray[np.int64], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    images = np.empty((len(index), *size, 3), np.uint8)
    for start in range(0, len(index), CHUNK):  # floats of all at once would take gigabytes
        part = slice(start, start + CHUNK)
        images[part] = resized(torch.from_numpy(split.read(index[part])), size).numpy()
    return images


def _originals(train: Split) -> npt.NDArray[np.int64]:
    """The first image of some classes, evenly spaced over the classes."""
    present, first = np.unique(train.labels, return_index=True)
    chosen = np.linspace(0, len(present) - 1, min(ORIGINALS, len(present))).astype(int)
    return np.asarray(first[chosen], np.int64)


def _augmented(spec: JobSpec, originals: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8 [r, copies, H, W, 3], as training draws them."""
    from visionjobs.data.augment import AUGMENTATIONS

    copies = spec.data.copies
    repeated = torch.from_numpy(originals).repeat_interleave(copies, dim=0).permute(0, 3, 1, 2).float().div_(255)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.train.seed)
        changed = AUGMENTATIONS[spec.data.augment]()(repeated)
    pixels = changed.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return np.asarray(pixels.reshape(len(originals), copies, *originals.shape[1:]).numpy())


def _features(spec: JobSpec, ended: Ended, train: Split, on_stage: OnStage) -> tuple[dict[str, Any], bytes]:
    from visionjobs.metrics.features import analyse_features

    of_train, of_val = ended.features["train"], ended.features["val"]
    analysis = analyse_features(
        of_train["features"],
        train.labels[of_train["index"]],
        of_val["features"],
        ended.samples.labels[of_val["index"]],
        ended.dataset.classes,
        layer=str(model_entry(spec).features),
        seed=spec.train.seed,
        on_stage=on_stage,
    )
    return analysis.numbers, pack_arrays(analysis.embeddings)
