"""Images and masks move together, each sample by its own draws, and nothing comes in from outside."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from visionjobs.data.augment import JitterDraws
from visionjobs.data.augment_masks import (
    ASPECT,
    BRIGHTNESS,
    CONTRAST,
    HUE,
    MASK_AUGMENTATIONS,
    SATURATION,
    ZOOM,
    CamVidAugmentation,
    Draws,
    augment_with_masks,
)

HEIGHT, WIDTH = 48, 64


def scenes(n: int = 8, size: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[Tensor, Tensor]:
    """Images uint8 [n, H, W, 3] and masks [n, H, W] of large patches: class k is gray 40 k."""
    generator = torch.Generator().manual_seed(1)
    small = torch.randint(0, 6, (n, 1, 4, 5), generator=generator, dtype=torch.uint8)
    masks = torch.nn.functional.interpolate(small, size=size, mode="nearest-exact")[:, 0]
    return (masks[..., None] * 40).expand(-1, -1, -1, 3).contiguous(), masks


def noise(n: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (n, *size, 3), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 32, (n, *size), generator=generator, dtype=torch.uint8)


def draws(n: int = 1, **changes: float | bool) -> Draws:
    """Those that change nothing, but for `changes`."""
    one = torch.ones(n)
    still = Draws(one, one, one / 2, one / 2, torch.zeros(n, dtype=torch.bool),
                  JitterDraws(one, one, one > 0), one, torch.zeros(n))  # fmt: skip
    return still._replace(
        **{key: torch.full((n,), value) for key, value in changes.items() if key not in JitterDraws._fields},
        jitter=still.jitter._replace(
            **{key: torch.full((n,), value) for key, value in changes.items() if key in JitterDraws._fields}
        ),
    )


@pytest.fixture
def camvid() -> CamVidAugmentation:
    torch.manual_seed(3)
    return CamVidAugmentation((HEIGHT, WIDTH))


def as_floats(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2) / 255


# Geometry


def test_without_changes_everything_comes_back(camvid: CamVidAugmentation) -> None:
    images, masks = noise(3)
    floats, moved = camvid.apply(as_floats(images), masks, draws(3))
    assert (floats - as_floats(images)).abs().max() < 1e-5
    assert torch.equal(moved, masks)


def test_a_flip_exchanges_left_and_right_of_both(camvid: CamVidAugmentation) -> None:
    images, masks = noise(3)
    floats, moved = camvid.apply(as_floats(images), masks, draws(3, flip=True))
    assert (floats - as_floats(images).flip(3)).abs().max() < 1e-5
    assert torch.equal(moved, masks.flip(2))


@pytest.mark.parametrize(("top", "left"), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.0), (0.25, 1.0)])
def test_a_crop_is_that_part_of_the_image_enlarged(camvid: CamVidAugmentation, top: float, left: float) -> None:
    """Half as high and wide, so that each pixel of the mask becomes 2x2, and the image's interior is resized."""
    images, masks = noise(2)
    floats, moved = camvid.apply(as_floats(images), masks, draws(2, height=0.5, width=0.5, top=top, left=left))
    y, x = int(top * HEIGHT / 2), int(left * WIDTH / 2)
    part = masks[:, y : y + HEIGHT // 2, x : x + WIDTH // 2]
    assert torch.equal(moved, part.repeat_interleave(2, 1).repeat_interleave(2, 2))
    pixels = as_floats(images)[:, :, y : y + HEIGHT // 2, x : x + WIDTH // 2]
    enlarged = torch.nn.functional.interpolate(pixels, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    inner = (..., slice(1, -1), slice(1, -1))  # at its edge the crop is interpolated with what lies beside it
    assert (floats[inner] - enlarged[inner]).abs().max() < 1e-5


def test_one_axis_alone_changes_the_aspect(camvid: CamVidAugmentation) -> None:
    images, masks = noise(2)
    _, moved = camvid.apply(as_floats(images), masks, draws(2, width=0.5, left=0.0))
    assert torch.equal(moved, masks[:, :, : WIDTH // 2].repeat_interleave(2, 2))


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (45, 61), (33, 80)])
def test_image_and_mask_move_together(size: tuple[int, int]) -> None:
    """The class is written in the image's gray: after the geometry it can be read there, but for the edges."""
    images, masks = scenes(16, size)
    torch.manual_seed(5)
    augmentation = CamVidAugmentation(size)
    drawn = augmentation.draw(16)
    still = draws(16)
    floats, moved = augmentation.apply(
        as_floats(images), masks, drawn._replace(jitter=still.jitter, saturation=still.saturation, hue=still.hue)
    )
    read = floats[:, 0] * 255 / 40
    clear = (read - read.round()).abs() < 1e-3
    assert clear.float().mean() > 0.75
    assert torch.equal(read.round()[clear].to(torch.uint8), moved[clear])
    assert (moved != masks).flatten(1).any(1).all(), "every image was changed"


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (17, 23)])
def test_nothing_comes_from_outside_the_image(size: tuple[int, int]) -> None:
    """Of one colour and one class: a border that was filled would show."""
    images, masks = torch.full((64, *size, 3), 200, dtype=torch.uint8), torch.full((64, *size), 7, dtype=torch.uint8)
    torch.manual_seed(6)
    augmentation = CamVidAugmentation(size)
    still = draws(64)
    drawn = augmentation.draw(64)._replace(jitter=still.jitter, saturation=still.saturation, hue=still.hue)
    floats, moved = augmentation.apply(as_floats(images), masks, drawn)
    assert (floats - 200 / 255).abs().max() < 1e-5
    assert (moved == 7).all()


def test_only_classes_of_the_same_image_occur() -> None:
    _, masks = scenes(16)
    images, _ = noise(16)
    torch.manual_seed(7)
    _, moved = augment_with_masks(images, masks, CamVidAugmentation((HEIGHT, WIDTH)))
    for before, after in zip(masks, moved, strict=True):
        assert set(after.unique().tolist()) <= set(before.unique().tolist())


def test_high_class_numbers_stay_exact(camvid: CamVidAugmentation) -> None:
    masks = torch.arange(HEIGHT * WIDTH).remainder(256).to(torch.uint8).view(1, HEIGHT, WIDTH)
    _, moved = camvid.apply(torch.zeros(1, 3, HEIGHT, WIDTH), masks, draws())
    assert torch.equal(moved, masks)


# Draws


def test_bounds_of_the_draws(camvid: CamVidAugmentation) -> None:
    drawn = camvid.draw(20_000)
    for side in (drawn.height, drawn.width):
        assert 1 / ZOOM <= side.min() < 1 / ZOOM + 0.01
        assert 0.99 < side.max() <= 1
    aspect = drawn.height / drawn.width
    assert 1 / ASPECT - 1e-6 <= aspect.min() < 0.92
    assert 1.09 < aspect.max() <= ASPECT + 1e-6
    for place in (drawn.top, drawn.left):
        assert (place.min() >= 0) & (place.max() <= 1)
        assert abs(float(place.mean()) - 0.5) < 0.02
    assert abs(float(drawn.flip.float().mean()) - 0.5) < 0.02
    for factors, half in (
        (drawn.jitter.brightness, BRIGHTNESS), (drawn.jitter.contrast, CONTRAST), (drawn.saturation, SATURATION),
    ):  # fmt: skip
        assert 1 - half - 1e-6 <= factors.min() < 1 - 0.98 * half
        assert 1 + 0.98 * half < factors.max() <= 1 + half + 1e-6
    turns = drawn.hue / (2 * torch.pi)
    assert -HUE - 1e-6 <= turns.min() < -0.98 * HUE
    assert 0.98 * HUE < turns.max() <= HUE + 1e-6


def test_the_draws_of_one_sample_are_independent_of_each_other(camvid: CamVidAugmentation) -> None:
    drawn = camvid.draw(20_000)
    columns = torch.stack([drawn.height * drawn.width, drawn.height / drawn.width, drawn.top, drawn.left,
                           drawn.flip.float(), drawn.jitter.brightness, drawn.jitter.contrast,
                           drawn.jitter.brightness_first.float(), drawn.saturation, drawn.hue])  # fmt: skip
    correlation = torch.corrcoef(columns) - torch.eye(len(columns))
    assert correlation.abs().max() < 0.04


def test_each_sample_has_its_own(camvid: CamVidAugmentation) -> None:
    images, masks = (part[:1].repeat_interleave(8, 0) for part in noise(1))
    floats, moved = augment_with_masks(images, masks, camvid)
    for i in range(8):
        for j in range(i):
            assert not torch.equal(moved[i], moved[j])
            assert not torch.equal(floats[i], floats[j])


def test_the_same_seed_gives_the_same_bits(camvid: CamVidAugmentation) -> None:
    images, masks = noise(5)
    results = []
    for seed in (11, 11, 12):
        torch.manual_seed(seed)
        results.append(augment_with_masks(images, masks, camvid))
    assert all(torch.equal(a, b) for a, b in zip(*results[:2], strict=True))
    assert not torch.equal(results[0][1], results[2][1])


def test_masks_and_images_go_in_unharmed(camvid: CamVidAugmentation) -> None:
    images, masks = noise(3)
    before = images.clone(), masks.clone()
    augment_with_masks(images, masks, camvid)
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


# Colours


def test_colours_change_the_image_only(camvid: CamVidAugmentation) -> None:
    images, masks = noise(4)
    floats, moved = camvid.apply(
        as_floats(images), masks, draws(4, brightness=0.8, contrast=1.2, saturation=1.3, hue=0.1)
    )
    assert torch.equal(moved, masks)
    assert (floats - as_floats(images)).abs().mean() > 0.02


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_saturation_is_torchvisions(camvid: CamVidAugmentation, factor: float) -> None:
    images = as_floats(noise(3)[0])
    ours, _ = camvid.apply(images, noise(3)[1], draws(3, saturation=factor))
    assert (ours - tv.adjust_saturation(images, factor)).abs().max() < 3e-4  # its weight of red is .2989, kornia's .299


@pytest.mark.parametrize("turn", [-0.03, 0.01, 0.03])
def test_hue_is_torchvisions(camvid: CamVidAugmentation, turn: float) -> None:
    images = as_floats(noise(3)[0])
    ours, _ = camvid.apply(images, noise(3)[1], draws(3, hue=turn * 2 * torch.pi))
    assert (ours - tv.adjust_hue(images, turn)).abs().max() < 1e-3


def test_gray_stays_gray(camvid: CamVidAugmentation) -> None:
    images, masks = scenes(4)
    floats, _ = augment_with_masks(images, masks, camvid)
    assert (floats - floats.mean(1, keepdim=True)).abs().max() < 1e-5


# What comes out


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (33, 47), (16, 16), (17, 90)])
@pytest.mark.parametrize("n", [1, 5])
def test_shapes_dtypes_and_range(size: tuple[int, int], n: int) -> None:
    images, masks = noise(n, size)
    floats, moved = augment_with_masks(images, masks, MASK_AUGMENTATIONS["camvid"](size))
    assert (floats.shape, floats.dtype) == ((n, 3, *size), torch.float32)
    assert (moved.shape, moved.dtype) == ((n, *size), torch.uint8)
    assert 0 <= floats.min() <= floats.max() <= 1
    assert not floats.requires_grad


def test_float32_under_autocast(camvid: CamVidAugmentation) -> None:
    images, masks = noise(4)
    torch.manual_seed(1)
    plain = augment_with_masks(images, masks, camvid)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = augment_with_masks(images, masks, camvid)
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_draws_on_a_gpu(camvid: CamVidAugmentation) -> None:
    images, masks = noise(6)
    torch.manual_seed(1)
    floats, moved = augment_with_masks(images, masks, camvid)
    torch.manual_seed(1)
    there, moved_there = augment_with_masks(images.cuda(), masks.cuda(), camvid)
    assert there.device.type == moved_there.device.type == "cuda"
    assert (there.cpu() - floats).abs().mean() < 1e-4
    assert (moved_there.cpu() != moved).float().mean() < 1e-3


def test_the_rest_of_the_package_needs_no_kornia() -> None:
    code = "import sys, visionjobs.data.augment_masks, visionjobs.training.setup; assert 'kornia' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
