"""The two ways to hold images."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from visionjobs.data.loader import (
    BLOCK_BYTES,
    PREFETCHED_BATCHES,
    PrefetchedImages,
    ResidentImages,
    open_images,
    resized,
)
from visionjobs.data.order import batch_plan, epoch_order, evaluation_plan
from visionjobs.errors import UserError


class MemorySource:
    """An ImageSource in memory, which counts its reads and can be slow or fail."""

    def __init__(self, n=37, height=24, width=20, fail_after=None, seconds=0.0):
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
        self.labels = generator.integers(0, 10, n)
        self.has_masks = False
        self.fail_after, self.seconds, self.reads = fail_after, seconds, 0
        self.threads = set()

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        self.reads += 1
        self.threads.add(threading.current_thread().name)
        if self.fail_after is not None and self.reads > self.fail_after:
            raise OSError("the disk is gone")
        time.sleep(self.seconds)
        return self.images[indices]


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


def opened(source, size, device, resident):
    return open_images(source, size=size, device=device, resident=resident, fraction=0.9, processes_on_device=1)


def reading_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("visionjobs-read")]


# Resident and prefetched


@pytest.mark.parametrize("size", [(24, 20), (16, 16), (48, 30), (24, 17)])
@pytest.mark.parametrize("world", [1, 2])
def test_resident_and_prefetched_batches_are_equal_to_the_bit(size, world, device):
    source = MemorySource()
    resident, prefetched = opened(source, size, device, "always"), opened(source, size, device, "never")
    assert isinstance(resident, ResidentImages)
    assert isinstance(prefetched, PrefetchedImages)
    for epoch, rank in itertools.product(range(2), range(world)):
        plans = [batch_plan(epoch_order(37, 3, 0, epoch), 8, rank, world) for _ in range(2)]
        seen = 0
        for a, b in zip(resident.batches(plans[0]), prefetched.batches(plans[1]), strict=True):
            assert a.step == b.step == seen
            assert a.images.dtype == torch.uint8
            assert a.images.shape == (8 // world, *size, 3)
            assert a.images.device.type == a.targets.device.type == device.type
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.targets, b.targets)
            assert np.array_equal(a.copy, b.copy)
            seen += 1
        assert seen == 37 * 4 // 8


@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_batch_holds_the_images_and_labels_of_its_samples(resident, device):
    source = MemorySource()
    order = epoch_order(37, 1, 0, 0)
    for batch in opened(source, (24, 20), device, resident).batches(batch_plan(order, 5, 0, 1)):
        sample = order.sample[batch.step * 5 : batch.step * 5 + 5]
        assert np.array_equal(batch.images.cpu().numpy(), source.images[sample])
        assert batch.targets.tolist() == source.labels[sample].tolist()
        assert np.array_equal(batch.copy, order.copy[batch.step * 5 : batch.step * 5 + 5])


@pytest.mark.parametrize("resident", ["always", "never"])
def test_evaluation_batches_hold_every_image_once(resident, device):
    source = MemorySource()
    images = opened(source, (24, 20), device, resident)
    assert len(images) == 37
    parts = [batch.images for rank in range(2) for batch in images.batches(evaluation_plan(37, 8, rank, 2))]
    assert np.array_equal(torch.cat(parts).cpu().numpy(), source.images)


def test_the_parts_of_two_ranks_are_the_global_batch(device):
    images = opened(MemorySource(), (16, 16), device, "always")
    order = epoch_order(37, 0, 0, 0)
    whole = images.batches(batch_plan(order, 8, 0, 1))
    first, second = (images.batches(batch_plan(order, 8, rank, 2)) for rank in range(2))
    for batch, a, b in zip(whole, first, second, strict=True):
        assert torch.equal(batch.images, torch.cat([a.images, b.images]))
        assert torch.equal(batch.targets, torch.cat([a.targets, b.targets]))


@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_split_without_images_gives_no_batches(resident, device):
    images = opened(MemorySource(n=0), (16, 16), device, resident)
    assert list(images.batches(evaluation_plan(0, 8, 0, 1))) == []


def test_resident_images_are_loaded_in_blocks(monkeypatch, device):
    monkeypatch.setattr("visionjobs.data.loader.BLOCK_BYTES", 10 * 24 * 20 * 3)
    source = MemorySource()
    images = opened(source, (24, 20), device, "always")
    assert source.reads == 4
    [batch] = images.batches(evaluation_plan(37, 37, 0, 1))
    assert np.array_equal(batch.images.cpu().numpy(), source.images)
    assert BLOCK_BYTES < 2**26


@pytest.mark.parametrize("size", [(16, 16), (40, 33), (12, 40)])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_resizing_an_image_does_not_depend_on_its_company(size, count, device):
    images = torch.from_numpy(MemorySource(n=40, height=31, width=29).images).to(device)
    together = resized(images, size)
    apart = torch.cat([resized(part, size) for part in images.split(count)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize("size", [(16, 16), (40, 33)])
def test_resizing_is_torchvisions_antialiased_bilinear(size, device):
    images = torch.from_numpy(MemorySource(n=5, height=31, width=29).images).to(device)
    expected = tv.resize(images.permute(0, 3, 1, 2).float(), list(size), antialias=True).round().clamp(0, 255)
    assert (resized(images, size).permute(0, 3, 1, 2).float() - expected).abs().max() <= 1


# The reading thread


def test_prefetching_reads_in_one_background_thread_that_ends_with_the_plan():
    source = MemorySource()
    list(opened(source, (24, 20), torch.device("cpu"), "never").batches(batch_plan(epoch_order(37, 0, 0, 0), 4, 0, 1)))
    assert source.reads == 9
    assert len(source.threads) == 1
    assert next(iter(source.threads)).startswith("visionjobs-read")
    assert not reading_threads()


def test_an_early_break_ends_the_thread_and_reads_no_further():
    source = MemorySource(n=400)
    images = opened(source, (24, 20), torch.device("cpu"), "never")
    for batch in images.batches(batch_plan(epoch_order(400, 0, 0, 0), 4, 0, 1)):
        if batch.step == 2:
            break
    assert not reading_threads()
    assert source.reads <= 3 + PREFETCHED_BATCHES
    reads = source.reads
    assert len(list(images.batches(evaluation_plan(400, 100, 0, 1)))) == 4  # the images can be used again
    assert source.reads == reads + 4


def test_closing_does_not_wait_for_what_was_not_begun():
    source = MemorySource(n=400, seconds=0.02)
    batches = opened(source, (24, 20), torch.device("cpu"), "never").batches(evaluation_plan(400, 4, 0, 1))
    next(batches)
    batches.close()
    assert not reading_threads()
    assert source.reads <= 1 + PREFETCHED_BATCHES


def test_an_error_in_the_thread_is_raised_at_the_consumer_after_the_batches_before_it():
    images = opened(MemorySource(fail_after=3), (24, 20), torch.device("cpu"), "never")
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(batch.step for batch in images.batches(batch_plan(epoch_order(37, 0, 0, 0), 4, 0, 1)))
    assert not reading_threads()
    seen = []
    images = opened(MemorySource(fail_after=3), (24, 20), torch.device("cpu"), "never")
    with pytest.raises(OSError):
        for batch in images.batches(evaluation_plan(37, 4, 0, 1)):
            seen.append(batch.step)
    assert seen == [0, 1, 2]


def test_an_error_of_the_consumer_ends_the_thread():
    batches = opened(MemorySource(), (24, 20), torch.device("cpu"), "never").batches(evaluation_plan(37, 4, 0, 1))
    with pytest.raises(ZeroDivisionError):
        for batch in batches:
            _ = 1 / batch.step
    batches.close()
    assert not reading_threads()


@pytest.mark.parametrize("resident", ["always", "never"])
def test_waiting_is_counted_over_all_uses(resident):
    images = opened(MemorySource(seconds=0.01), (24, 20), torch.device("cpu"), resident)
    assert images.wait_seconds == 0
    list(images.batches(evaluation_plan(37, 37, 0, 1)))
    first = images.wait_seconds
    assert first > 0
    if resident == "never":
        assert first >= 0.01  # the only batch cannot be there before its read has slept
    list(images.batches(evaluation_plan(37, 37, 0, 1)))
    assert images.wait_seconds > first


def test_the_time_between_batches_is_not_waiting():
    images = opened(MemorySource(), (24, 20), torch.device("cpu"), "always")
    started = time.perf_counter()
    for _ in images.batches(evaluation_plan(37, 10, 0, 1)):
        time.sleep(0.02)
    assert images.wait_seconds <= time.perf_counter() - started - 4 * 0.02


def test_bytes_are_counted_at_the_target_size():
    images = opened(MemorySource(n=10), (48, 40), torch.device("cpu"), "auto")
    assert images.residence.bytes == 10 * 48 * 40 * 3
    assert images.residence.resident


def test_auto_prefetches_what_does_not_fit_and_always_refuses_it():
    share = {"size": (24, 20), "device": torch.device("cpu"), "fraction": 1e-9, "processes_on_device": 1}
    assert isinstance(open_images(MemorySource(), resident="auto", **share), PrefetchedImages)
    with pytest.raises(UserError, match=r"data\.resident"):
        open_images(MemorySource(), resident="always", **share)
