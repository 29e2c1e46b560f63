"""(b) The input pipeline, up to normalised float batches, against torchvision's ImageFolder with PIL and 2 workers.

Nothing is done with the batches. ImageFolder decodes and resizes each photo in each epoch; the pipeline did so once,
at the import, whose time is told, with the number of epochs after which it has paid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.measure import Comparison, Goal, Measured, Plan, Row, SkippedError, alternate, clock, column, device
from benchmarks.photos import enlarge, first_of_each_class, real_photos
from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.loader import IMAGENET_MEAN, IMAGENET_STD, Images, Normaliser, open_images
from visionjobs.data.order import batch_plan, epoch_order
from visionjobs.data.residence import Wish
from visionjobs.data.wildlife import import_wildlife
from visionjobs.storage import open_store

BATCH = 32
WORKERS = 2
MEGAPIXEL = 1_000_000
OTHER = "imagefolder"
RESIDENCES: dict[str, Wish] = {"resident": "always", "prefetched": "never"}


@dataclass(frozen=True)
class Photos:
    """A folder of photos, one folder a class, and what is expected of it."""

    name: str
    folder: Path
    count: int
    goal: Goal


def measure(plan: Plan) -> Measured:
    """ratio = images/s of the pipeline / images/s of ImageFolder, for resident and for prefetched images.

    Raises SkippedError where the photos are not there.
    """
    source = real_photos()
    if not source.is_dir():
        raise SkippedError(f"no photos: {source} is not a folder (set VISIONJOBS_TEST_DATA)")
    if plan.quick:
        source = first_of_each_class(source, plan.scratch / "few", 80)
    plan.on_progress("enlarging the photos to 1 megapixel", 0, 1)
    large = enlarge(source, plan.scratch / "large", MEGAPIXEL // 20 if plan.quick else MEGAPIXEL)
    count = sum(1 for _ in source.glob("*/*"))
    rows: list[Row] = []
    comparisons: list[Comparison] = []
    for photos in (
        Photos("small", source, count, Goal(">=", 5)),
        Photos("1 megapixel", large, count, Goal(">=", 10)),
    ):
        found = _measure_photos(photos, plan)
        rows += found
        comparisons += [_compare(photos, side, found) for side in RESIDENCES]
    return Measured(rows, comparisons)


def _measure_photos(photos: Photos, plan: Plan) -> list[Row]:
    size, least = ((32, 32), 0.01) if plan.quick else ((224, 224), 1.0)
    storage = plan.scratch / f"storage-{photos.name}"
    root = open_store(str(storage))
    plan.on_progress(f"{photos.name}: importing", 0, 1)
    started = time.perf_counter()
    import_wildlife(str(photos.folder), "photos", root, size=size)
    dataset = fetch(find_dataset(root, "photos"), storage / "cache")
    import_seconds = time.perf_counter() - started
    normalise = Normaliser(size, device())
    sides: dict[str, Callable[[], Row]] = {}
    for side, wish in RESIDENCES.items():
        images = _open(dataset, size, wish)
        sides[side] = partial(_timed, partial(_epoch, images, normalise), least)
    loader = _image_folder(photos.folder, size)
    sides[OTHER] = partial(_timed, partial(_other_epoch, loader), least)
    rows = alternate(sides, plan.rounds, plan.on_progress, what=photos.name)
    constant: Row = {"photos": photos.name, "count": photos.count, "device": device().type}
    return [constant | row | {"import_seconds": import_seconds} for row in rows]


def _compare(photos: Photos, side: str, rows: list[Row]) -> Comparison:
    ours, other = column(rows, side, "images_per_second"), column(rows, OTHER, "images_per_second")
    import_seconds = float(rows[0]["import_seconds"])
    return Comparison(
        what=f"input pipeline, {side} / ImageFolder: {photos.name} photos",
        unit="images/s",
        ours=ours,
        other=other,
        goal=photos.goal,
        note=f"to normalised float batches, ImageFolder with PIL and {WORKERS} workers; "
        f"import of {photos.count} photos " + _payment(import_seconds, photos.count, median(ours), median(other)),
    )


def _payment(import_seconds: float, count: int, ours: float, other: float) -> str:
    """The import's seconds, and after how many epochs over `count` photos they are made up for; in images/s."""
    saved = count / other - count / ours
    paid = f"paid after {import_seconds / saved:.1f} epochs" if saved > 0 else "never paid"
    return f"{import_seconds:.1f} s, {paid}"


def _timed(epoch: Callable[[], int], least: float) -> Row:
    """Whole epochs until `least` seconds are over."""
    images = epochs = 0
    started = clock(device())
    while (seconds := clock(device()) - started) < least or not epochs:
        images += epoch()
        epochs += 1
    return {"epochs": epochs, "images": images, "seconds": seconds, "images_per_second": images / seconds}


def _open(dataset: LocalDataset, size: tuple[int, int], wish: Wish) -> Images:
    return open_images(
        dataset.split("train"), size=size, device=device(), resident=wish, fraction=0.5, processes_on_device=1
    )


def _epoch(images: Images, normalise: Normaliser) -> int:
    order = epoch_order(len(images), 0, 0, 0)
    return sum(len(normalise(batch.images)) for batch in images.batches(batch_plan(order, BATCH, 0, 1)))


def _other_epoch(loader: Iterable[Any]) -> int:
    images = 0
    for inputs, _ in loader:
        images += len(inputs.to(device(), non_blocking=True))
    return images


def _image_folder(folder: Path, size: tuple[int, int]) -> DataLoader[Any]:
    """Its workers stay from epoch to epoch, which spares it their start."""
    from torchvision import datasets, transforms

    steps = [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    return DataLoader(
        datasets.ImageFolder(str(folder), transforms.Compose(steps)), batch_size=BATCH, shuffle=True,
        num_workers=WORKERS, persistent_workers=True, pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
