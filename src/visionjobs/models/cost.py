"""What a model costs: parameters, FLOPs and memory, found from shapes alone, without computing anything."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from visionjobs.models.outputs import total

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

FLOAT_BYTES = 4
ADAM_MOMENTS = 2


@dataclass(frozen=True)
class Cost:
    """parameters, trainable: counts. forward_flops: one image, evaluated; step_flops: a training step of one worker.

    A multiply-add is 2 FLOPs; only convolutions and matrix products count, as in torch's FlopCounterMode.
    The rest is memory in bytes: weights (with buffers), gradients and Adam's moments in float32; activations: what
    the model's forward pass in training keeps for the backward pass, its input included. The loss keeps the logarithms
    of the probabilities besides, as many bytes as the logits.
    """

    parameters: int
    trainable: int
    forward_flops: int
    step_flops: int
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def memory(self) -> int:
        """Bytes that training holds at its peak, without workspaces and the allocator's reserve."""
        return self.weights + self.gradients + self.optimizer + self.activations


def detector_flops(model: DetectionModel, size: tuple[int, int]) -> int:
    """Of one image [3, height, width], evaluated; counted as in Cost, on fake tensors. The model is left as it is."""
    fake, copied = FakeTensorMode(allow_non_fake_inputs=True), copy.deepcopy(model).eval()
    copied.model[-1].stride = model.stride.tolist()  # its values are asked for, and fake tensors have none
    state: dict[str, Tensor] = {name: fake.from_tensor(tensor) for name, tensor in copied.state_dict().items()}
    with fake, torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(copied, state, torch.empty(1, 3, *size))
    return int(counter.get_total_flops())


def measure(model: nn.Module, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Cost:
    """The cost of training `model` on `batch` images [3, height, width] at once, with autocast to `dtype`.

    Runs on fake tensors, which have shapes and no memory. The model is left as it is.
    """
    fake = FakeTensorMode()
    state = {
        name: fake.from_tensor(tensor).requires_grad_(tensor.requires_grad)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }
    own = {tensor.untyped_storage()._cdata for tensor in state.values()}
    kept: dict[int, torch.UntypedStorage] = {}  # holding each storage keeps its identity from being used again

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    was_training = model.training
    with fake, torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            functional_call(model.eval(), state, torch.empty(1, 3, *size))
        with FlopCounterMode(display=False) as step:
            with saved_tensors_hooks(keep, lambda tensor: tensor):
                output = functional_call(model.train(), state, torch.empty(batch, 3, *size))
            total(output).backward()  # type: ignore[no-untyped-call]
    model.train(was_training)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trainable=trainable,
        forward_flops=forward.get_total_flops(),
        step_flops=step.get_total_flops(),
        weights=sum(tensor.nbytes for tensor in state.values()),
        gradients=trainable * FLOAT_BYTES,
        optimizer=trainable * FLOAT_BYTES * ADAM_MOMENTS,
        activations=sum(storage.nbytes() for storage in kept.values()),
    )
