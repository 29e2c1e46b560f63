"""The figures of `visionjobs data show` for a segmentation dataset."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_masks import CLASSES, COLOURS, GHOST, TREE, Drawn, draw_tiny_masks, masks_root, pack_masks

from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.class_examples import class_examples
from visionjobs.report.dataset import draw_dataset
from visionjobs.report.dataset_masks import classes_sheet, distribution, samples_sheet
from visionjobs.storage import open_store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> LocalDataset:
    folder = tmp_path_factory.mktemp("masks")
    return fetch(find_dataset(masks_root(folder), "tinymasks", "newest"), folder / "cache")


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def pixels_of(png: bytes, colour: list[int]) -> int:
    return int((opened(png) == colour).all(axis=2).sum())


def test_every_figure_is_written(dataset: LocalDataset, tmp_path: Path) -> None:
    paths = draw_dataset(dataset, tmp_path / "figures")
    assert [path.name for path in paths] == ["pixels.png", "images.png", "classes.png", "samples.png", "colours.png"]
    for path in paths:
        with Image.open(path) as figure:
            assert figure.width > 700
            assert figure.height > 60


def test_the_examples_are_the_images_with_most_pixels(dataset: LocalDataset) -> None:
    train = dataset.split("train")
    masks = train.read_masks(np.arange(len(train)))
    classes, rows = class_examples(train, len(CLASSES), 2)
    assert classes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3], "there is no ghost"
    for number in range(TREE + 1):
        pixels = (masks == number).sum(axis=(1, 2))
        chosen = rows[classes == number]
        assert pixels[chosen].tolist() == sorted(pixels.tolist(), reverse=True)[:2]


def test_a_class_in_one_image_has_one_example(tmp_path: Path) -> None:
    drawn = draw_tiny_masks()
    masks = drawn["train"].masks.copy()
    masks[5, 3, 4] = GHOST
    root = open_store(str(tmp_path / "storage"))
    pack_masks(root, "ghosts", {**drawn, "train": Drawn(drawn["train"].images, masks)})
    train = fetch(find_dataset(root, "ghosts", "newest"), tmp_path / "cache").split("train")
    classes, rows = class_examples(train, len(CLASSES), 2)
    assert rows[classes == GHOST].tolist() == [5]
    assert class_examples(train, len(CLASSES), 1)[0].tolist() == [0, 1, 2, 3, 4]


def test_each_class_is_alone_and_an_absent_one_is_listed(dataset: LocalDataset) -> None:
    png = classes_sheet(dataset)
    for number in range(TREE + 1):
        assert pixels_of(png, COLOURS[number]) > 1000
    assert pixels_of(png, COLOURS[GHOST]) < 100, "letters alone are nearly black"
    fewer = LocalDataset(dataset.manifest.model_copy(update={"classes": list(CLASSES[:GHOST])}), dataset.folder)
    assert opened(classes_sheet(fewer)).shape[0] < opened(png).shape[0], "a heading is left for the absent class"


def test_samples_stand_beside_their_masks(dataset: LocalDataset) -> None:
    for colour in COLOURS[: TREE + 1]:
        assert pixels_of(samples_sheet(dataset), colour) > 1000


def test_bars_count_what_the_manifest_counts(dataset: LocalDataset) -> None:
    """The longest bar of the linear axis is that of a class in every image; the others are as long as their share."""
    images = opened(distribution(dataset.manifest, "images"))
    blue = (images == (0, 114, 178)).all(axis=2)
    trees = dataset.manifest.counts["train"]["tree"] / 12
    first = blue[:, : images.shape[1] // 3]
    lengths = sorted(set(first.sum(axis=1).tolist()))
    assert lengths[0] == 0
    assert min(abs(length / lengths[-1] - trees) for length in lengths) < 0.02
    assert opened(distribution(dataset.manifest, "pixels")).shape[1] == images.shape[1]


@pytest.mark.parametrize("number", [2, 100])
def test_few_and_many_classes_with_long_names(tmp_path: Path, number: int) -> None:
    """Names are cut, and a figure of a hundred classes is as wide as one of two."""
    names = tuple(f"{'a long name of a class ' * 4}{k}" for k in range(number))
    colours = [[k, 2 * k, 255 - 2 * k] for k in range(number)]
    drawn = {split: Drawn(part.images, part.masks % number) for split, part in draw_tiny_masks().items()}
    root = open_store(str(tmp_path / "storage"))
    pack_masks(root, "many", drawn, names, colours)
    dataset = fetch(find_dataset(root, "many", "newest"), tmp_path / "cache")
    for unit in ("pixels", "images"):
        height, width, _ = opened(distribution(dataset.manifest, unit)).shape
        assert width == 1368
        assert height > 20 * number
    assert opened(classes_sheet(dataset)).shape[1] == 1056
