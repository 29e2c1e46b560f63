"""Each augmentation against torchvision's functional on the same drawn parameters, one sample at a time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from visionjobs.data.augment import AUGMENTATIONS, ColorJitter, JitterDraws, WildlifeAugmentation, augment_copies
from visionjobs.data.order import epoch_order

HEIGHT, WIDTH = 48, 64


def photos(n=8, device="cpu"):
    """Smooth images, as photos are: random colours at 8x8, enlarged. Floats between 0 and 1 in channels_last memory."""
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(n, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(small, size=(HEIGHT, WIDTH), mode="bilinear")
    return images.contiguous(memory_format=torch.channels_last).to(device)


def noise(n=8):
    """Images with an edge at every pixel."""
    return torch.rand(n, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))


def rows(params):
    """kornia's parameters of a batch -> one dict a sample."""
    count = len(params["batch_prob"])
    keys = [key for key in params if key != "forward_input_shape"]
    return [{key: params[key][i] for key in keys} for i in range(count)]


def stack(results):
    return torch.stack(list(results))


@pytest.fixture
def augmentation():
    torch.manual_seed(3)
    return WildlifeAugmentation()


# Meaning


@pytest.mark.parametrize("images", [photos(32), noise(32)])
def test_affine_is_torchvisions_nearest(augmentation, images):
    ours = augmentation.affine(images)
    theirs = stack(
        tv.affine(
            image, angle=0, translate=row["translations"].tolist(), scale=float(row["scale"][0]), shear=[0, 0],
            interpolation=tv.InterpolationMode.NEAREST,
        )
        for image, row in zip(images, rows(augmentation.affine._params), strict=True)
    )  # fmt: skip
    # The same pixel is picked everywhere, but for a few that lie half-way between two up to rounding.
    assert (ours != theirs).float().mean() < 0.002


def test_affine_moves_right_and_down_by_pixels_and_scales_about_the_centre(augmentation):
    image = torch.zeros(1, 3, HEIGHT, WIDTH)
    image[:, :, 20:28, 30:34] = 1
    still = {"angle": torch.zeros(1), "shear_x": torch.zeros(1), "shear_y": torch.zeros(1), "batch_prob": torch.ones(1)}
    still["center"] = torch.tensor([[(WIDTH - 1) / 2, (HEIGHT - 1) / 2]])
    moved = augmentation.affine(
        image, params=still | {"translations": torch.tensor([[5.0, 3.0]]), "scale": torch.ones(1, 2)}
    )
    assert torch.equal(moved, image.roll((3, 5), (2, 3)))
    grown = augmentation.affine(
        image, params=still | {"translations": torch.zeros(1, 2), "scale": torch.full((1, 2), 1.5)}
    )
    assert grown.sum() > 2 * image.sum()
    assert torch.equal(grown, grown.flip(2, 3))


@pytest.mark.parametrize("images", [photos(32), noise(32)])
def test_jitter_is_torchvisions_in_each_samples_own_order(images):
    torch.manual_seed(4)
    jitter = ColorJitter(brightness=0.3, contrast=0.2)
    draws = jitter.draw(len(images))
    assert 0 < draws.brightness_first.sum() < len(images)

    def one(image, brightness, contrast, first):
        if first:
            return tv.adjust_contrast(tv.adjust_brightness(image, brightness), contrast)
        return tv.adjust_brightness(tv.adjust_contrast(image, contrast), brightness)

    theirs = stack(one(image, *row) for image, *row in zip(images, *(draw.tolist() for draw in draws), strict=True))
    # torchvision's weight of red in gray is .2989, kornia's .299.
    assert (jitter.apply(images, draws) - theirs).abs().max() < 5e-5


def test_brightness_multiplies():
    image = torch.full((1, 3, 4, 4), 0.4)
    draws = JitterDraws(torch.tensor([1.25]), torch.tensor([1.0]), torch.tensor([True]))
    assert torch.allclose(ColorJitter(0.3, 0.2).apply(image, draws), torch.tensor(0.5))


def test_the_order_of_brightness_and_contrast_matters():
    image = photos(1)
    both = [
        ColorJitter(0.3, 0.2).apply(image, JitterDraws(torch.tensor([1.3]), torch.tensor([1.2]), torch.tensor([first])))
        for first in (True, False)
    ]
    assert not torch.allclose(*both, atol=1e-3)


@pytest.mark.parametrize("images", [photos(32), noise(32)])
def test_sharpness_is_torchvisions_factor_2_or_nothing(augmentation, images):
    ours = augmentation.sharpness(images)
    applied = augmentation.sharpness._params["batch_prob"].bool()
    assert 0 < applied.sum() < len(images)
    theirs = stack(tv.adjust_sharpness(image, 2.0) if p else image for image, p in zip(images, applied, strict=True))
    assert (ours - theirs).abs().max() < 1e-6
    assert torch.equal(ours[~applied], images[~applied])


def test_perspective_is_torchvisions(augmentation):
    images = photos(32)
    ours = augmentation.perspective(images)
    applied = augmentation.perspective._params["batch_prob"].bool()
    assert 0 < applied.sum() < len(images)

    def one(image, row, offset):
        if not row["batch_prob"]:
            return image
        start, end = ((row[key] + offset).tolist() for key in ("start_points", "end_points"))
        return tv.perspective(image, start, end)

    # With its half pixel put in front, torchvision's is the same transform ...
    exact = stack(
        one(image, row, 0.5) for image, row in zip(images, rows(augmentation.perspective._params), strict=True)
    )
    assert (ours - exact).abs().max() < 1e-3
    # ... and as it is, it differs by less than half a pixel.
    plain = stack(
        one(image, row, 0.0) for image, row in zip(images, rows(augmentation.perspective._params), strict=True)
    )
    inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    steepest = max(images.diff(dim=2).abs().max(), images.diff(dim=3).abs().max())
    assert (ours - plain)[inside].abs().max() < steepest
    assert torch.equal(ours[~applied], images[~applied])


def test_the_chain_is_its_four_steps_in_the_experiments_order(augmentation):
    images = photos()
    torch.manual_seed(5)
    whole = augmentation(images)
    torch.manual_seed(5)
    step = images
    for one in (augmentation.affine, augmentation.jitter, augmentation.sharpness, augmentation.perspective):
        step = one(step)
    assert torch.equal(whole, step)


def test_the_chain_keeps_shape_dtype_and_range(augmentation):
    result = augmentation(noise(16))
    assert result.shape == (16, 3, HEIGHT, WIDTH)
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6


# Draws


def test_affine_draws_have_the_right_ranges(augmentation):
    params = augmentation.affine.forward_parameters((4000, 3, HEIGHT, WIDTH))
    for axis, size in ((0, WIDTH), (1, HEIGHT)):
        shift = params["translations"][:, axis] / size
        assert shift.abs().max() <= 0.1
        assert shift.min() < -0.099
        assert shift.max() > 0.099
    scale = params["scale"]
    assert torch.equal(scale[:, 0], scale[:, 1])
    assert scale.min() >= 0.9
    assert scale.max() <= 1.1
    assert scale.max() - scale.min() > 0.198
    assert not params["angle"].any()
    assert not params["shear_x"].any()
    assert params["batch_prob"].all()


def test_jitter_draws_have_the_right_ranges():
    torch.manual_seed(6)
    draws = ColorJitter(brightness=0.3, contrast=0.2).draw(4000)
    for factor, reach in ((draws.brightness, 0.3), (draws.contrast, 0.2)):
        assert (factor - 1).abs().max() <= reach + 1e-6
        assert (factor - 1).min() < -0.99 * reach
        assert (factor - 1).max() > 0.99 * reach
    assert abs(draws.brightness_first.float().mean() - 0.5) < 5 * 0.5 / 4000**0.5


def test_sharpness_draws_exactly_2_for_half_of_the_samples(augmentation):
    params = augmentation.sharpness.forward_parameters((4000, 3, HEIGHT, WIDTH))
    assert torch.equal(params["sharpness"], torch.full((4000,), 2.0))
    assert abs(params["batch_prob"].mean() - 0.5) < 5 * 0.5 / 4000**0.5


def test_perspective_draws_corners_inwards_by_up_to_a_tenth_for_half_of_the_samples(augmentation):
    params = augmentation.perspective.forward_parameters((4000, 3, HEIGHT, WIDTH))
    corners = torch.tensor([[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]])
    inwards = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    assert torch.equal(params["start_points"], corners.expand(4000, 4, 2).float())
    moved = (params["end_points"] - params["start_points"]) * inwards / torch.tensor([WIDTH, HEIGHT])
    assert moved.min() >= 0
    assert moved.max() <= 0.1 + 1e-6
    assert moved.max() > 0.099
    assert abs(params["batch_prob"].mean() - 0.5) < 5 * 0.5 / 4000**0.5


def test_every_sample_has_draws_of_its_own(augmentation):
    result = augmentation(photos(1).expand(16, -1, -1, -1))
    assert all(not torch.equal(result[i], result[j]) for i in range(16) for j in range(i))


def test_draws_are_a_pure_function_of_the_global_generator(augmentation):
    images = photos()
    torch.manual_seed(7)
    first, after = augmentation(images), torch.rand(1)
    other = WildlifeAugmentation()
    np.random.default_rng(0).random(5)
    torch.manual_seed(7)
    assert torch.equal(other(images), first)
    assert torch.equal(torch.rand(1), after)  # as many draws
    assert not torch.equal(other(images), first)


def test_draws_are_the_same_on_the_cpu_and_on_a_gpu(augmentation):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(8)
        results.append(augmentation(photos(device=device)).cpu())
    differing = (results[0] - results[1]).abs() > 1e-3
    assert differing.float().mean() < 0.005  # nearest neighbours that lie half-way


# The copies of a batch


@pytest.mark.parametrize("copy", [[0, 1, 0, 3, 2, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 5]])
def test_only_copies_are_augmented_and_originals_stay_to_the_bit(augmentation, copy):
    images, copy = photos(), np.array(copy)
    kept = images.clone()
    result = augment_copies(images, copy, augmentation)
    assert torch.equal(images, kept)
    for i, number in enumerate(copy):
        assert torch.equal(result[i], images[i]) == (number == 0)


def test_copies_get_the_draws_of_a_batch_of_their_own(augmentation):
    images, copy = photos(), np.array([0, 1, 0, 3, 2, 0, 0, 1])
    torch.manual_seed(9)
    result = augment_copies(images, copy, augmentation)
    torch.manual_seed(9)
    assert torch.equal(result[copy > 0], augmentation(images[copy > 0]))


def test_a_batch_of_originals_draws_nothing(augmentation):
    images = photos()
    torch.manual_seed(10)
    assert augment_copies(images, np.zeros(8, np.int64), augmentation) is images
    untouched = torch.rand(1)
    torch.manual_seed(10)
    assert torch.equal(torch.rand(1), untouched)


def test_a_batch_of_copies_only(augmentation):
    images = photos()
    kept = images.clone()
    result = augment_copies(images, np.ones(8, np.int64), augmentation)
    assert torch.equal(images, kept)
    assert all(not torch.equal(a, b) for a, b in zip(result, images, strict=True))


def test_autocast_does_not_reach_the_augmentation(augmentation):
    images, copy = photos(), np.ones(8, np.int64)
    torch.manual_seed(11)
    plain = augment_copies(images, copy, augmentation)
    torch.manual_seed(11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment_copies(images, copy, augmentation), plain)


def test_three_copies_make_four_different_images_an_epoch(augmentation):
    images, order = photos(4), epoch_order(4, 3, 0, 0)
    epoch = augment_copies(images[torch.from_numpy(order.sample)], order.copy, augmentation)
    for sample in range(4):
        versions = epoch[torch.from_numpy(order.sample == sample)]
        assert len(versions) == 4
        assert sum(torch.equal(version, images[sample]) for version in versions) == 1
        assert len(torch.unique(versions, dim=0)) == 4


def test_the_name_in_a_job_file_makes_the_augmentation():
    assert isinstance(AUGMENTATIONS["wildlife"](), WildlifeAugmentation)


def test_batches_need_neither_kornia_nor_pydantic_nor_what_lies_above():
    absent = ("kornia", "pydantic", "ray", "visionjobs.tasks", "visionjobs.training", "visionjobs.cluster")
    imports = "import visionjobs.data.augment, visionjobs.data.loader"
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); {imports}"
    subprocess.run([sys.executable, "-c", code], check=True)
