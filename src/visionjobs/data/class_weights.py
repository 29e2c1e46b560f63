"""Weights of the classes in the loss, against their unequal shares of the pixels."""

from __future__ import annotations

from statistics import median

from visionjobs.data.manifest import Manifest


def median_frequency_weights(dataset: Manifest) -> list[float]:
    """Median frequency balancing: median(frequency) / frequency of each class, in the order of the classes.

    The frequency of a class is its share of the pixels of the training images in which it occurs; the median is over
    the classes that occur. A class without training pixels weighs 0: there is nothing to learn of it.
    Source: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale
    Convolutional Architecture", ICCV 2015, section 6.3.2; for SegNet: Badrinarayanan et al., TPAMI 2017, section 3.2.
    """
    pixels, images = dataset.pixels["train"], dataset.counts["train"]
    area = dataset.size[0] * dataset.size[1]
    frequencies = {name: pixels[name] / (images[name] * area) for name in dataset.classes if images[name]}
    middle = median(frequencies.values())
    return [middle / frequencies[name] if name in frequencies else 0.0 for name in dataset.classes]
