"""Formulas against torch, against random draws and against gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visionjobs import theory
from visionjobs.theory import Layer

EPS = st.floats(0, 1, allow_nan=False)
LAYERS = st.lists(
    st.builds(Layer, kernel=st.integers(1, 4), stride=st.integers(1, 3), dilation=st.integers(1, 3)),
    min_size=1,
    max_size=3,
)


def random_logits(n: int, k: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(n, k, generator=generator, dtype=dtype)
    return logits, torch.randint(k, (n,), generator=generator)


@given(n=st.integers(1, 16), k=st.integers(1, 30), eps=EPS, seed=st.integers(0, 1000))
def test_label_smoothing_terms_sum_to_torchs_loss(n, k, eps, seed):
    logits, target = random_logits(n, k, seed)
    terms = theory.label_smoothing_terms(logits, target, eps)
    expected = nn.CrossEntropyLoss(label_smoothing=eps)(logits, target)
    torch.testing.assert_close(sum(terms), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
def test_label_smoothing_terms_sum_in_float32(eps):
    logits, target = random_logits(32, 10, 0, torch.float32)
    terms = theory.label_smoothing_terms(logits, target, eps)
    expected = nn.CrossEntropyLoss(label_smoothing=eps)(logits, target)
    torch.testing.assert_close(sum(terms), expected, atol=1e-6, rtol=0)


def test_label_smoothing_gradient_is_torchs():
    logits, target = random_logits(8, 5, 0)
    logits.requires_grad_()
    ours = torch.autograd.grad(sum(theory.label_smoothing_terms(logits, target, 0.1)), logits)
    torchs = torch.autograd.grad(nn.CrossEntropyLoss(label_smoothing=0.1)(logits, target), logits)
    torch.testing.assert_close(ours, torchs)


def test_each_label_smoothing_term_is_what_its_name_says():
    logits, target = random_logits(8, 5, 1)
    log_q = logits.log_softmax(1)
    terms = theory.label_smoothing_terms(logits, target, 0.2)
    torch.testing.assert_close(terms.cross_entropy, -0.8 * log_q[torch.arange(8), target].mean())
    torch.testing.assert_close(terms.uniform, -0.2 / 5 * log_q.sum(1).mean())


GAUSSIANS = [(0.0, 1.0, 0.0, 1.0), (1.0, 0.5, -2.0, 3.0), (-4.0, 2.0, 1.0, 0.7), (10.0, 0.1, 10.3, 0.2)]


@pytest.mark.parametrize(("mu_p", "sigma_p", "mu_q", "sigma_q"), GAUSSIANS)
def test_gaussian_cross_entropy_is_the_mean_of_draws(mu_p, sigma_p, mu_q, sigma_q):
    draws = np.random.default_rng(0).normal(mu_p, sigma_p, 1_000_000)
    surprise = 0.5 * np.log(2 * np.pi * sigma_q**2) + (draws - mu_q) ** 2 / (2 * sigma_q**2)
    standard_error = surprise.std(ddof=1) / math.sqrt(len(draws))
    assert abs(theory.gaussian_cross_entropy(mu_p, sigma_p, mu_q, sigma_q) - surprise.mean()) < 5 * standard_error


@given(
    mu_p=st.floats(-10, 10), sigma_p=st.floats(0.01, 10), mu_q=st.floats(-10, 10), sigma_q=st.floats(0.01, 10)
)  # fmt: skip
def test_gaussian_cross_entropy_is_entropy_plus_divergence(mu_p, sigma_p, mu_q, sigma_q):
    parts = theory.gaussian_entropy(sigma_p) + theory.gaussian_divergence(mu_p, sigma_p, mu_q, sigma_q)
    assert math.isclose(theory.gaussian_cross_entropy(mu_p, sigma_p, mu_q, sigma_q), parts, rel_tol=1e-9, abs_tol=1e-9)
    assert theory.gaussian_divergence(mu_p, sigma_p, mu_q, sigma_q) >= -1e-9


@pytest.mark.parametrize("sigma", [0.1, 1.0, 7.0])
def test_gaussian_entropy_and_divergence_are_torchs(sigma):
    p, q = torch.distributions.Normal(1.0, sigma), torch.distributions.Normal(-0.5, 2.0)
    assert theory.gaussian_entropy(sigma) == pytest.approx(p.entropy().item(), rel=1e-6)
    assert theory.gaussian_divergence(1.0, sigma, -0.5, 2.0) == pytest.approx(
        torch.distributions.kl_divergence(p, q).item(), rel=1e-5
    )


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_standard_deviation_must_be_positive(sigma):
    with pytest.raises(ValueError, match="standard deviation"):
        theory.gaussian_entropy(sigma)
    with pytest.raises(ValueError, match="standard deviation"):
        theory.gaussian_cross_entropy(0.0, 1.0, 0.0, sigma)


def stack(layers: list[Layer], dims: int) -> nn.Sequential:
    """Unpadded convolutions of one channel with positive weights, so that no two paths of a gradient cancel."""
    conv = nn.Conv1d if dims == 1 else nn.Conv2d
    convs = [conv(1, 1, layer.kernel, stride=layer.stride, dilation=layer.dilation, bias=False) for layer in layers]
    for module in convs:
        nn.init.uniform_(module.weight, 0.5, 1.0)
    return nn.Sequential(*convs).double()


def gradient_extent(model: nn.Module, size: int, dims: int) -> list[int]:
    """Along each axis: from the first to the last input element that has a gradient from one output in the middle."""
    x = torch.ones(1, 1, *[size] * dims, dtype=torch.double, requires_grad=True)
    y = model(x)
    y[(0, 0, *[n // 2 for n in y.shape[2:]])].backward()
    touched = x.grad[0, 0].nonzero()
    return (touched.max(0).values - touched.min(0).values + 1).tolist()


@settings(max_examples=60)
@given(layers=LAYERS, dims=st.sampled_from([1, 2]))
def test_receptive_field_is_the_extent_of_an_input_gradient(layers, dims):
    model, field = stack(layers, dims), theory.receptive_field(layers)
    assert gradient_extent(model, field + 5, dims) == [field] * dims
    assert theory.model_receptive_field(model) == (field,) * dims


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], 1),
        ([Layer(3)], 3),
        ([Layer(3), Layer(3)], 5),
        ([Layer(3, stride=2), Layer(3)], 7),
        ([Layer(3, dilation=2), Layer(3)], 7),
        ([Layer(3, dilation=2**i) for i in range(4)], 31),  # 2^(L+1) - 1; products of the dilations would give 151
    ],
)
def test_receptive_field_of_known_stacks(layers, expected):
    assert theory.receptive_field(layers) == expected


def test_receptive_field_of_resnets():
    """Summed by hand. 7x7/2 and pool 3/2: 11, jump 4. ResNet-18: +32 +56 +112 +224; ResNet-50: +24 +56 +176 +160."""
    assert theory.model_receptive_field(torchvision.models.resnet18()) == (435, 435)
    assert theory.model_receptive_field(torchvision.models.resnet50()) == (427, 427)


def test_receptive_field_differs_by_axis():
    model = nn.Sequential(nn.Conv2d(1, 1, (3, 1), stride=(2, 1)), nn.MaxPool2d(3), nn.AvgPool2d((1, 2)))
    assert theory.model_receptive_field(model) == (3 + 2 * 2, 1 + 2 + 3)


def test_receptive_field_needs_a_window():
    with pytest.raises(ValueError, match="no convolution"):
        theory.model_receptive_field(nn.Linear(2, 2))


def counted_flops(conv: nn.Module, size: tuple[int, int]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        conv.to("meta")(torch.empty(1, conv.in_channels, *size, device="meta"))
    return counter.get_total_flops()


@given(
    kernel=st.sampled_from([1, 3, 5]),
    dilation=st.integers(1, 4),
    stride=st.integers(1, 3),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    channels=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
@settings(deadline=None)
def test_dilated_and_plain_convolutions_cost_the_same_at_equal_output_size(kernel, dilation, stride, size, channels):
    half = kernel // 2
    plain = nn.Conv2d(*channels, kernel, stride, padding=half, bias=False)
    dilated = nn.Conv2d(*channels, kernel, stride, padding=half * dilation, dilation=dilation, bias=False)
    assert counted_flops(plain, size) == counted_flops(dilated, size)
    ours = theory.conv_multiply_adds(
        size, *channels, (kernel, kernel), stride=stride, padding=half * dilation, dilation=dilation
    )
    assert counted_flops(dilated, size) == 2 * ours
    assert ours == theory.conv_multiply_adds(size, *channels, (kernel, kernel), stride=stride, padding=half)


def test_a_kernel_larger_than_its_input_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        theory.conv_multiply_adds((8, 8), 1, 1, (3, 3), dilation=4)
