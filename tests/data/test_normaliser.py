"""uint8 images -> normalised floats."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from visionjobs.data.loader import IMAGENET_MEAN, IMAGENET_STD, Normaliser

SIZE = (24, 20)


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


def some_images(n=6, device="cpu"):
    return torch.randint(0, 256, (n, *SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(
        device
    )


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


@settings(max_examples=20)
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
