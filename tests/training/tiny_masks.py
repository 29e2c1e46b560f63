"""A tiny segmentation dataset, written as an import writes it, and a job on it. With tiny.py it is trained in-process.

Five classes of coloured shapes: "tree" is absent from the test split, "ghost" from all.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionjobs.data.manifest import FORMAT, MANIFEST, Manifest, dataset_store
from visionjobs.data.pack import Packed, ShardWriter, write_index, write_rejects
from visionjobs.jobfile import build_spec, with_sets
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store

CLASSES = ("sky", "road", "car", "tree", "ghost")
SKY, ROAD, CAR, TREE, GHOST = range(5)
COLOURS = [[128, 128, 128], [128, 64, 128], [64, 0, 128], [128, 128, 0], [9, 9, 9]]
SIZE = (40, 56)
SIZES = {"train": 12, "val": 5, "test": 7}

Pixels = npt.NDArray[np.uint8]


class Drawn(NamedTuple):
    """images: uint8 [n, H, W, 3]; masks: uint8 [n, H, W]."""

    images: Pixels
    masks: Pixels


def draw_split(number: int, seed: int, with_trees: bool, size: tuple[int, int] = SIZE) -> Drawn:
    """Sky above a road, a car on it, mostly a tree; each class in a colour of its own, with noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / np.array(size)[:, None, None]
    masks = np.zeros((number, *size), np.uint8)
    for mask in masks:
        horizon, left = generator.uniform(0.35, 0.6), generator.uniform(0.05, 0.55)
        mask[y > horizon] = ROAD
        if with_trees and generator.random() < 0.8:
            at = generator.uniform(0.1, 0.9)
            mask[(y - horizon + 0.1) ** 2 + (x - at) ** 2 < 0.03] = TREE
        mask[(y > horizon) & (y < horizon + 0.3) & (x > left) & (x < left + 0.35)] = CAR
    colours = np.array([[90, 140, 230], [110, 110, 110], [220, 40, 40], [30, 120, 30], [0, 0, 0]])
    noisy = colours[masks] + generator.normal(0, 12, (*masks.shape, 3)) + generator.uniform(-20, 20, (number, 1, 1, 3))
    return Drawn(noisy.clip(0, 255).astype(np.uint8), masks)


def draw_tiny_masks() -> dict[str, Drawn]:
    """Split -> its images, always the same."""
    return {
        split: draw_split(number, seed, with_trees=split != "test")
        for seed, (split, number) in enumerate(SIZES.items())
    }


def pack_masks(
    root: Store, name: str, splits: dict[str, Drawn], classes: tuple[str, ...] = CLASSES,
    colours: list[list[int]] = COLOURS, rows: int = 9,
) -> Manifest:  # fmt: skip
    """Write a dataset below the storage root, `rows` images a shard."""
    size = splits["train"].masks.shape[1:]
    store = dataset_store(root, name, "0123456789abcdef")
    packed, of_split = [], []
    with ShardWriter(store, size, rows) as images, ShardWriter(store, size, rows, "masks") as masks:
        for split, drawn in splits.items():
            for number, (image, mask) in enumerate(zip(*drawn, strict=True)):
                shard, row = images.add(image)
                assert masks.add(mask) == (shard, row)
                digest = hashlib.sha256(image.tobytes()).digest()
                packed.append(Packed(f"{split}/{number:02}.png", digest, -1, shard, row, size[1], size[0]))
                of_split.append(split)
        shards, mask_shards = images.finish(), masks.finish()
    write_rejects(store, [])
    manifest = Manifest(
        format=FORMAT, layout="camvid", name=name, version="0123456789abcdef", classes=list(classes), size=list(size),
        counts={split: {c: int((drawn.masks == k).any((1, 2)).sum()) for k, c in enumerate(classes)}
                for split, drawn in splits.items()},
        rejected=0, shards=shards, index_sha256=write_index(store, packed, of_split), parameters={"size": list(size)},
        source="drawn", created=datetime.now(UTC).isoformat(timespec="microseconds"), masks=mask_shards,
        colours=colours, sizes={split: len(drawn.masks) for split, drawn in splits.items()},
        pixels={split: {c: int((drawn.masks == k).sum()) for k, c in enumerate(classes)}
                for split, drawn in splits.items()},
    )  # fmt: skip
    store.write(MANIFEST, manifest.model_dump_json(indent=2))
    return manifest


def masks_root(folder: Path) -> Store:
    """A storage root in `folder` with the dataset "tinymasks" in it."""
    root = open_store(str(folder / "storage"))
    pack_masks(root, "tinymasks", draw_tiny_masks())
    return root


def masks_spec(*sets: str) -> JobSpec:
    """SegNet at 32x48: 12 samples in batches of 4, 2 epochs, a checkpoint every second step."""
    tree = {
        "name": "tinymasks",
        "task": "segmentation",
        "model": {"name": "segnet"},
        "data": {"name": "tinymasks", "size": [32, 48]},
        "train": {"epochs": 2, "batch": 4, "checkpoint": {"every": 2, "unit": "steps"}},
        "wandb": {"mode": "off"},
    }
    return build_spec(with_sets(tree, sets), "tinymasks", sets)
