"""Masks in batches: beside their images, resized, resident or prefetched alike."""

from __future__ import annotations

import itertools
import math
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from visionjobs.data.loader import (
    Images,
    ImageSource,
    PrefetchedImages,
    ResidentImages,
    open_images,
    resized,
    resized_masks,
)
from visionjobs.data.order import batch_plan, epoch_order, evaluation_plan
from visionjobs.errors import UserError


class MemoryMasks:
    """An ImageSource with masks, in memory. The mask's number is the image's red."""

    def __init__(self, n: int = 23, height: int = 24, width: int = 20, fail_after: int | None = None) -> None:
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
        self.masks = generator.integers(0, 32, (n, height, width), dtype=np.uint8)
        self.images[..., 0] = self.masks
        self.labels = np.full(n, -1)
        self.has_masks = True
        self.fail_after, self.reads = fail_after, 0

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.images[indices]

    def read_masks(self, indices: np.ndarray) -> np.ndarray:
        self.reads += 1
        if self.fail_after is not None and self.reads > self.fail_after:
            raise OSError("the masks are gone")
        return self.masks[indices]


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


def opened(source: ImageSource, size: tuple[int, int], device: torch.device, resident: str) -> Images:
    return open_images(source, size=size, device=device, resident=resident, fraction=0.9, processes_on_device=1)


@pytest.mark.parametrize("size", [(24, 20), (16, 16), (12, 10), (48, 30), (17, 31)])
@pytest.mark.parametrize("world", [1, 2])
def test_resident_and_prefetched_masks_are_equal_to_the_bit(
    size: tuple[int, int], world: int, device: torch.device
) -> None:
    source = MemoryMasks()
    resident, prefetched = opened(source, size, device, "always"), opened(source, size, device, "never")
    assert isinstance(resident, ResidentImages)
    assert isinstance(prefetched, PrefetchedImages)
    for epoch, rank in itertools.product(range(2), range(world)):
        plans = [batch_plan(epoch_order(23, 0, 0, epoch), 8, rank, world) for _ in range(2)]
        pairs = list(zip(resident.batches(plans[0]), prefetched.batches(plans[1]), strict=True))
        assert len(pairs) == 2
        for a, b in pairs:
            assert (a.targets.dtype, a.targets.shape) == (torch.uint8, (8 // world, *size))
            assert a.targets.device.type == device.type
            assert torch.equal(a.targets, b.targets)
            assert torch.equal(a.images, b.images)


@pytest.mark.parametrize("resident", ["always", "never"])
def test_each_image_has_its_own_mask(resident: str, device: torch.device) -> None:
    source = MemoryMasks()
    order = epoch_order(23, 0, 0, 0)
    for batch in opened(source, (24, 20), device, resident).batches(batch_plan(order, 5, 0, 1)):
        sample = order.sample[batch.step * 5 : batch.step * 5 + 5]
        assert np.array_equal(batch.targets.cpu().numpy(), source.masks[sample])
        assert torch.equal(batch.targets, batch.images[..., 0])


@pytest.mark.parametrize("resident", ["always", "never"])
def test_every_mask_once_over_three_ranks(resident: str, device: torch.device) -> None:
    source = MemoryMasks()
    images = opened(source, (24, 20), device, resident)
    parts = [batch.targets for rank in range(3) for batch in images.batches(evaluation_plan(23, 4, rank, 3))]
    assert np.array_equal(torch.cat(parts).cpu().numpy(), source.masks)


@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_split_without_images_gives_no_batches(resident: str, device: torch.device) -> None:
    images = opened(MemoryMasks(n=0), (16, 16), device, resident)
    assert list(images.batches(evaluation_plan(0, 8, 0, 1))) == []


def test_resident_masks_are_loaded_in_blocks(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    monkeypatch.setattr("visionjobs.data.loader.BLOCK_BYTES", 10 * 24 * 20 * 3)
    source = MemoryMasks()
    images = opened(source, (24, 20), device, "always")
    assert source.reads == 3
    [batch] = images.batches(evaluation_plan(23, 23, 0, 1))
    assert np.array_equal(batch.targets.cpu().numpy(), source.masks)


def test_an_error_in_reading_a_mask_reaches_the_loop_and_the_thread_ends(device: torch.device) -> None:
    images = opened(MemoryMasks(fail_after=2), (24, 20), device, "never")
    with pytest.raises(OSError, match="masks are gone"):
        list(images.batches(evaluation_plan(23, 4, 0, 1)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("visionjobs-read")]


# How much they take


def test_masks_count_in_what_must_fit() -> None:
    source = MemoryMasks()
    images = opened(source, (16, 12), torch.device("cpu"), "auto")
    assert images.residence.bytes == 23 * 16 * 12 * 4
    source.has_masks = False
    assert opened(source, (16, 12), torch.device("cpu"), "auto").residence.bytes == 23 * 16 * 12 * 3


def test_images_that_fit_without_their_masks_are_not_resident(monkeypatch: pytest.MonkeyPatch) -> None:
    between = 23 * 24 * 20 * 7 // 2
    monkeypatch.setattr("visionjobs.data.loader.device_memory", lambda _device: between)

    def wished(source: MemoryMasks, resident: str) -> Images:
        return open_images(
            source, size=(24, 20), device=torch.device("cpu"), resident=resident, fraction=1.0, processes_on_device=1
        )

    source = MemoryMasks()
    assert isinstance(wished(source, "auto"), PrefetchedImages)
    with pytest.raises(UserError, match=r"data\.resident"):
        wished(source, "always")
    source.has_masks = False
    assert isinstance(wished(source, "auto"), ResidentImages)


# Sizes


@pytest.mark.parametrize("size", [(16, 16), (8, 12), (48, 40), (64, 36), (40, 4)])
def test_resizing_a_mask_is_pillows_nearest(size: tuple[int, int], device: torch.device) -> None:
    """Of sizes where no centre lies between two pixels."""
    masks = MemoryMasks(n=3).masks
    ours = resized_masks(torch.from_numpy(masks).to(device), size).cpu().numpy()
    theirs = [np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST)) for mask in masks]
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, np.stack(theirs))


@pytest.mark.parametrize("size", [(16, 16), (12, 10), (100, 11), (24, 19), (1, 1), (8, 4)])
def test_resizing_a_mask_takes_the_class_at_the_centre(size: tuple[int, int], device: torch.device) -> None:
    """Also where it lies between two pixels: the lower right one."""
    masks = MemoryMasks(n=3).masks
    ours = resized_masks(torch.from_numpy(masks).to(device), size).cpu().numpy()
    rows = [math.floor((i + Fraction(1, 2)) * 24 / size[0]) for i in range(size[0])]
    columns = [math.floor((i + Fraction(1, 2)) * 20 / size[1]) for i in range(size[1])]
    np.testing.assert_array_equal(ours, masks[:, rows][:, :, columns])


def test_a_mask_of_the_size_is_not_touched() -> None:
    masks = torch.from_numpy(MemoryMasks(n=3).masks)
    assert torch.equal(resized_masks(masks, (24, 20)), masks)
    assert resized_masks(masks[:0], (7, 9)).shape == (0, 7, 9)


def test_high_numbers_survive_the_resizing(device: torch.device) -> None:
    masks = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).to(device)
    assert sorted(resized_masks(masks, (32, 32)).unique().tolist()) == list(range(256))


@pytest.mark.parametrize("factor", [2, 3])
def test_image_and_mask_stay_in_place(factor: int, device: torch.device) -> None:
    """The left half is one class and dark, the right one another and bright: so it is after resizing."""
    masks = torch.zeros(1, 24, 24, dtype=torch.uint8, device=device)
    masks[:, :, 12:] = 1
    images = (masks * 200)[..., None].expand(-1, -1, -1, 3).contiguous()
    size = (24 // factor, 24 // factor)
    small, small_masks = resized(images, size), resized_masks(masks, size)
    assert torch.equal(small[..., 0] > 100, small_masks > 0)
