"""Formulas behind the experiments: label smoothing, Gaussian cross-entropy, receptive fields, multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor, fx, nn
from torch.nn import functional as F


class SmoothedLoss(NamedTuple):
    """The two weighted terms of the label-smoothed cross-entropy, scalars; their sum is the loss."""

    cross_entropy: Tensor
    uniform: Tensor


def label_smoothing_terms(logits: Tensor, target: Tensor, eps: float) -> SmoothedLoss:
    """The cross-entropy with smoothed labels, as the sum of two differentiable scalars (means over the batch).

    With q = softmax(logits), the loss is (1 - eps) * (-log q_target) + eps * (1/K) * sum_k(-log q_k): the first
    term is the cross-entropy with the labels, the second the one with the uniform distribution. The sum equals
    torch.nn.CrossEntropyLoss(label_smoothing=eps).

    logits: [N, K] floating point; target: [N] int64 class numbers; 0 <= eps <= 1.
    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, section 7.
    """
    log_q = F.log_softmax(logits, dim=1)
    return SmoothedLoss((1 - eps) * F.nll_loss(log_q, target), -eps * log_q.mean())


def gaussian_entropy(sigma: float) -> float:
    """Differential entropy of N(mu, sigma^2) in nats: 1/2 log(2 pi e sigma^2).

    The experiments' notes (question 1, 2c) call 1/2 log(2 pi sigma^2) the entropy. That lacks the 1/2 which
    log(e) / 2 brings, and which the notes count to the other term.
    Source: Cover and Thomas, "Elements of Information Theory", 2nd edition, example 8.1.2. Raises ValueError.
    """
    return 0.5 * math.log(2 * math.pi * math.e * _variance(sigma))


def gaussian_divergence(mu_p: float, sigma_p: float, mu_q: float, sigma_q: float) -> float:
    """Kullback-Leibler divergence KL(p || q) of p = N(mu_p, sigma_p^2) from q = N(mu_q, sigma_q^2), in nats.

    log(sigma_q / sigma_p) + (sigma_p^2 + (mu_p - mu_q)^2) / (2 sigma_q^2) - 1/2; zero only where p = q.
    Source: Bishop, "Pattern Recognition and Machine Learning", exercise 1.30. Raises ValueError.
    """
    var_p, var_q = _variance(sigma_p), _variance(sigma_q)
    return 0.5 * (math.log(var_q / var_p) + (var_p + (mu_p - mu_q) ** 2) / var_q - 1)


def gaussian_cross_entropy(mu_p: float, sigma_p: float, mu_q: float, sigma_q: float) -> float:
    """Cross-entropy H(p, q) = E_p[-log q(x)] of p = N(mu_p, sigma_p^2) and q = N(mu_q, sigma_q^2), in nats.

    1/2 log(2 pi sigma_q^2) + (sigma_p^2 + (mu_p - mu_q)^2) / (2 sigma_q^2). Its two parts are the entropy of p
    (`gaussian_entropy(sigma_p)`) and KL(p || q) (`gaussian_divergence`).
    Source: the experiments, question 1, 2b. Raises ValueError.
    """
    var_p, var_q = _variance(sigma_p), _variance(sigma_q)
    return 0.5 * math.log(2 * math.pi * var_q) + (var_p + (mu_p - mu_q) ** 2) / (2 * var_q)


def _variance(sigma: float) -> float:
    if not sigma > 0:
        raise ValueError(f"a standard deviation must be above 0, not {sigma}")
    return sigma * sigma


class Layer(NamedTuple):
    """A convolution or pooling along one axis. kernel, stride and dilation in elements of the layer's input."""

    kernel: int
    stride: int = 1
    dilation: int = 1


def receptive_field(layers: Iterable[Layer]) -> int:
    """Input elements along one axis that reach one output of a stack of layers, padding disregarded.

    1 + sum_l((k_l - 1) d_l prod_{j<l} s_j). The experiments' notes (question 1, 3a) multiply the dilations of the
    layers before instead of their strides; dilation leaves the distance of neighbouring outputs as it is, so
    dilations add up: with d_l = 2^(l-1) the field grows as 2^L and not as 2^(L(L-1)/2).
    Source: Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019, equation 2.
    """
    size, jump = 1, 1  # jump: input elements between neighbouring outputs
    for layer in layers:
        size, jump = size + (layer.kernel - 1) * layer.dilation * jump, jump * layer.stride
    return size


_WINDOWED = (nn.Conv1d, nn.Conv2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.MaxUnpool2d)


class _Tracer(fx.Tracer):
    """Records a model's graph; a class that derives from one of the layers is that layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _WINDOWED) or super().is_leaf_module(m, module_qualified_name)


def model_receptive_field(model: nn.Module) -> tuple[int, ...]:
    """Largest theoretical receptive field of a model's output, in pixels along each axis ((height, width) for images).

    Follows one output element back from layer to layer: of n outputs in a row, a window layer sees
    (n - 1) s + (k - 1) d + 1 inputs, and unpooling by s at most ceil((n - 1) / s) + 1. Where branches meet (a residual
    block), the most that one of them asks for goes on. Adaptive pooling and linear layers, which see everything, and
    the interpolation of an output to another size are not counted.
    Source: as `receptive_field`. Raises torch.fx.proxy.TraceError for a model whose path depends on its input's
    values, and ValueError for one without convolutions or pooling.
    """
    modules = dict(model.named_modules())
    graph = _Tracer().trace(model)
    asked: dict[fx.Node, list[int]] = {}  # elements of a node's inputs, along each axis
    for node in reversed(graph.nodes):
        counts = _widest(asked[user] for user in node.users)
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, _WINDOWED):
            layers = _layers(module)
            counts = [
                math.ceil((n - 1) / layer.stride) + 1
                if isinstance(module, nn.MaxUnpool2d)
                else (n - 1) * layer.stride + (layer.kernel - 1) * layer.dilation + 1
                for n, layer in zip(counts or [1] * len(layers), layers, strict=True)
            ]
        asked[node] = counts
    widest = _widest(counts for node, counts in asked.items() if node.op == "placeholder")
    if not widest:
        raise ValueError(f"{type(model).__name__} has no convolution or pooling layer")
    return tuple(widest)


def _widest(branches: Iterable[list[int]]) -> list[int]:
    """The most along each axis; [] where no branch has a convolution or pooling layer."""
    return [max(counts) for counts in zip(*(branch for branch in branches if branch), strict=True)]


def _layers(module: nn.Module) -> list[Layer]:
    """One Layer an axis. torch gives sizes as a tuple, or as one number for all axes."""
    axes = 1 if isinstance(module, nn.Conv1d | nn.MaxPool1d | nn.AvgPool1d) else 2
    sizes = [getattr(module, name, 1) for name in ("kernel_size", "stride", "dilation")]  # pooling may have no dilation
    by_axis = [size if isinstance(size, tuple) else (size,) * axes for size in sizes]
    return [Layer(*values) for values in zip(*by_axis, strict=True)]


def conv_multiply_adds(
    input_size: Sequence[int],
    in_channels: int,
    out_channels: int,
    kernel: Sequence[int],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> int:
    """Multiply-adds of one convolution of one sample, without bias: output elements * in_channels * kernel elements.

    input_size and kernel: elements along each axis. Dilation spreads the kernel without adding weights, so at equal
    output size a dilated convolution costs what a plain one does.
    Source: the experiments, question 1, 3c; output size as in torch.nn.Conv2d. Raises ValueError (empty output).
    """
    output = [
        (size + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for size, k in zip(input_size, kernel, strict=True)
    ]
    if min(output) < 1:
        raise ValueError(f"a kernel of {list(kernel)}, dilation {dilation}, does not fit into {list(input_size)}")
    return math.prod(output) * out_channels * in_channels * math.prod(kernel)
