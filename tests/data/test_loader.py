"""The order of samples, the two ways to hold images, and normalisation."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from visionjobs.data import residence
from visionjobs.data.loader import (
    BLOCK_BYTES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    PREFETCHED_BATCHES,
    Normaliser,
    PrefetchedImages,
    ResidentImages,
    batch_plan,
    epoch_order,
    evaluation_plan,
    open_images,
    resized,
)
from visionjobs.data.residence import decide_residence, device_memory
from visionjobs.errors import UserError

GIB = 2**30


class MemorySource:
    """An ImageSource in memory, which counts its reads and can be slow or fail."""

    def __init__(self, n=37, height=24, width=20, fail_after=None, seconds=0.0):
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
        self.labels = generator.integers(0, 10, n)
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


def pairs(order):
    return list(zip(order.sample.tolist(), order.copy.tolist(), strict=True))


# The order of an epoch


@given(n=st.integers(0, 60), copies=st.integers(0, 4), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 99_999))
def test_an_epoch_has_every_image_and_copy_exactly_once(n, copies, seed, epoch):
    order = epoch_order(n, copies, seed, epoch)
    assert order.sample.dtype == order.copy.dtype == np.int64
    assert sorted(pairs(order)) == list(itertools.product(range(n), range(copies + 1)))


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    first = pairs(epoch_order(200, 3, 7, 2))
    torch.manual_seed(1)
    np.random.default_rng(2).random(3)
    assert pairs(epoch_order(200, 3, 7, 2)) == first


def test_the_order_draws_nothing_from_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    epoch_order(10, 0, 0, 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("other", [(7, 3), (8, 2), (2, 7), (3, 7)])
def test_other_seeds_and_epochs_give_other_orders(other):
    assert pairs(epoch_order(200, 0, 7, 2)) != pairs(epoch_order(200, 0, *other))


def test_the_order_is_the_same_for_ever():
    """Runs are resumed with later versions: a change of the order would break 'identical to the bit'."""
    assert pairs(epoch_order(4, 1, 0, 0)) == [(0, 1), (1, 0), (3, 0), (1, 1), (0, 0), (2, 0), (2, 1), (3, 1)]
    assert epoch_order(30_000, 0, 12, 3).sample[:6].tolist() == [3926, 27314, 16713, 19800, 10331, 29042]


def test_four_times_as_many_samples_with_three_copies():
    assert len(epoch_order(100, 3, 0, 0).sample) == 400


# Batches


@given(
    n=st.integers(0, 50), copies=st.integers(0, 3), share=st.integers(1, 7), world=st.integers(1, 5),
    start=st.integers(0, 6),
)  # fmt: skip
def test_the_parts_of_the_ranks_make_up_the_global_batches_and_the_rest_is_dropped(n, copies, share, world, start):
    order = epoch_order(n, copies, 1, 1)
    global_batch = share * world
    plans = [list(batch_plan(order, global_batch, rank, world, start)) for rank in range(world)]
    steps = len(order.sample) // global_batch
    assert all([part.step for part in plan] == list(range(start, steps)) for plan in plans)
    together = [pair for parts in zip(*plans, strict=True) for part in parts for pair in pairs(part)]
    assert all(len(part.sample) == share for plan in plans for part in plan)
    assert together == pairs(order)[start * global_batch : steps * global_batch]


@given(n=st.integers(1, 60), copies=st.integers(0, 3), batch=st.integers(1, 9), data=st.data())
def test_starting_at_a_step_gives_the_same_tail(n, copies, batch, data):
    order = epoch_order(n, copies, 3, 4)
    whole = list(batch_plan(order, batch, 0, 1))
    start = data.draw(st.integers(0, len(whole)))
    tail = list(batch_plan(order, batch, 0, 1, start))
    assert [(part.step, pairs(part)) for part in tail] == [(part.step, pairs(part)) for part in whole[start:]]


def test_a_global_batch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(ValueError, match="32 cannot be divided equally among 3"):
        batch_plan(epoch_order(64, 0, 0, 0), 32, 0, 3)


@given(n=st.integers(0, 70), batch=st.integers(1, 20), world=st.integers(1, 9))
def test_evaluation_takes_every_sample_once_in_equal_shares(n, batch, world):
    plans = [list(evaluation_plan(n, batch, rank, world)) for rank in range(world)]
    samples = [np.concatenate([part.sample for part in plan]).tolist() if plan else [] for plan in plans]
    assert list(itertools.chain(*samples)) == list(range(n))
    assert max(map(len, samples)) - min(map(len, samples)) <= 1
    assert all(0 < len(part.sample) <= batch for plan in plans for part in plan)
    assert not any(part.copy.any() for plan in plans for part in plan)


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
            assert a.images.device.type == a.labels.device.type == device.type
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.labels, b.labels)
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
        assert batch.labels.tolist() == source.labels[sample].tolist()
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
        assert torch.equal(batch.labels, torch.cat([a.labels, b.labels]))


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


# Residence


@pytest.mark.parametrize(
    ("needed", "resident", "fraction", "processes", "expected"),
    [
        (4 * GIB, "auto", 0.5, 1, True),
        (8 * GIB, "auto", 0.5, 1, True),
        (8 * GIB + 1, "auto", 0.5, 1, False),
        (4 * GIB, "auto", 0.5, 2, True),
        (4 * GIB + 1, "auto", 0.5, 2, False),
        (4 * GIB, "never", 0.5, 1, False),
        (8 * GIB, "always", 0.5, 1, True),
        (0, "auto", 0.5, 1, True),
    ],
)
def test_images_are_resident_where_they_fit_in_the_share(needed, resident, fraction, processes, expected):
    decided = decide_residence(needed, 16 * GIB, resident, fraction, processes)
    assert decided.resident is expected
    assert decided.bytes == needed
    assert decided.budget == int(fraction * 16 * GIB / processes)
    assert decided.reason.startswith("resident" if expected else "prefetched")


def test_always_that_does_not_fit_is_the_users_mistake_with_the_numbers():
    with pytest.raises(UserError, match=r'data\.resident: "always" needs 9,216 MiB') as caught:
        decide_residence(9 * GIB, 16 * GIB, "always", 0.5, 2)
    assert "4,096 MiB (0.5 of 16,384 MiB, 2 processes on the device)" in str(caught.value)
    assert "data.resident_fraction" in str(caught.value)


def test_bytes_are_counted_at_the_target_size():
    images = opened(MemorySource(n=10), (48, 40), torch.device("cpu"), "auto")
    assert images.residence.bytes == 10 * 48 * 40 * 3
    assert images.residence.resident


def test_auto_prefetches_what_does_not_fit_and_always_refuses_it():
    share = {"size": (24, 20), "device": torch.device("cpu"), "fraction": 1e-9, "processes_on_device": 1}
    assert isinstance(open_images(MemorySource(), resident="auto", **share), PrefetchedImages)
    with pytest.raises(UserError, match=r"data\.resident"):
        open_images(MemorySource(), resident="always", **share)


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "1073741824\n", GIB),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "2147483648\n", 2 * GIB),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("other", "1", None),
    ],
)
def test_a_containers_memory_limit_counts_on_the_cpu(file, text, limit, tmp_path, monkeypatch):
    monkeypatch.setattr(residence, "CGROUP", tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert device_memory(torch.device("cpu")) == (limit or psutil.virtual_memory().total)


# Normalisation

SIZE = (24, 20)


def some_images(n=6, device="cpu"):
    return torch.from_numpy(MemorySource(n=n).images).to(device)


def reference(images):
    """torchvision's, in float64."""
    unit = images.permute(0, 3, 1, 2).double() / 255
    return tv.normalize(unit, list(IMAGENET_MEAN), list(IMAGENET_STD))


def test_normalised_images_are_torchvisions(device):
    images = some_images(device=device)
    result = Normaliser(SIZE, device)(images)
    assert result.dtype == torch.float32
    assert result.shape == (6, 3, *SIZE)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert (result - reference(images)).abs().max() < 1e-6
    unit = tv.to_dtype(images.permute(0, 3, 1, 2), torch.float32, scale=True)
    assert (result - tv.normalize(unit, list(IMAGENET_MEAN), list(IMAGENET_STD))).abs().max() < 1e-6


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_floats_are_normalised_alike_in_any_memory_format(memory_format, device):
    images = some_images(device=device)
    unit = (images.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=memory_format)
    kept = unit.clone()
    result = Normaliser(SIZE, device).floats(unit)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert (result - reference(images)).abs().max() < 1e-6
    assert torch.equal(unit, kept)


def test_contiguous_memory_on_demand(device):
    images = some_images(device=device)
    result = Normaliser(SIZE, device, channels_last=False)(images)
    assert result.is_contiguous()
    assert torch.equal(result, Normaliser(SIZE, device)(images))


def test_other_dtype_mean_and_std(device):
    images = some_images(device=device)
    half = Normaliser(SIZE, device, dtype=torch.bfloat16)(images)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, Normaliser(SIZE, device)(images).bfloat16())
    plain = Normaliser(SIZE, device, mean=(0, 0, 0), std=(1, 1, 1))(images)
    assert (plain - images.permute(0, 3, 1, 2) / 255).abs().max() < 1e-6


def test_an_image_is_normalised_alike_at_any_place_of_any_batch():
    images = some_images(13)
    normalise = Normaliser(SIZE, torch.device("cpu"))
    together = normalise(images).clone()
    apart = torch.cat([normalise(part).clone() for part in images.split(3)])
    assert torch.equal(together, apart)


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_batches_of_any_size_one_after_another(counts):
    normalise = Normaliser(SIZE, torch.device("cpu"))
    for count in counts:
        images = some_images(count)
        assert normalise(images).shape == (count, 3, *SIZE)
        assert count == 0 or (normalise(images) - reference(images)).abs().max() < 1e-6


def test_on_the_cpu_the_next_batch_takes_the_place_of_the_last():
    normalise = Normaliser(SIZE, torch.device("cpu"))
    first = normalise(some_images(4))
    kept = first.clone()
    second = normalise(255 - some_images(4))
    assert first.data_ptr() == second.data_ptr()
    assert not torch.equal(first, kept)


def test_two_batches_alive_at_once_are_an_error_and_never_a_wrong_gradient():
    normalise, layer = Normaliser(SIZE, torch.device("cpu")), torch.nn.Conv2d(3, 4, 3)
    loss = layer(normalise(some_images(4))).sum()
    normalise(some_images(4))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_one_batch_after_another_gives_the_gradients_of_fresh_memory():
    normalise, layer = Normaliser(SIZE, torch.device("cpu")), torch.nn.Conv2d(3, 4, 3)
    for images in (some_images(4), 255 - some_images(4), some_images(2)):
        gradients = []
        for batch in (normalise(images), normalise(images).clone()):
            layer.zero_grad()
            layer(batch).square().sum().backward()
            gradients.append(layer.weight.grad.clone())
        assert torch.equal(*gradients)


def test_a_normaliser_first_used_in_inference_mode_serves_training_too():
    normalise, layer = Normaliser(SIZE, torch.device("cpu")), torch.nn.Conv2d(3, 4, 3)
    with torch.inference_mode():
        layer(normalise(some_images(4)))
    layer(normalise(some_images(4))).sum().backward()
    assert layer.weight.grad.abs().sum() > 0
