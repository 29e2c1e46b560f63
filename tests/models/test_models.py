"""build_model: names and weights files that do not fit. cost: against counts known otherwise."""

from __future__ import annotations

import re

import pytest
import torch
from base_model_tester import model_spec
from torch import nn
from torchvision.models import segmentation

from visionjobs.errors import UserError
from visionjobs.models import MODELS, build_model
from visionjobs.models.convnet import ConvNet
from visionjobs.models.cost import measure
from visionjobs.models.freeze import freeze
from visionjobs.models.outputs import logits_of
from visionjobs.models.resnet import ResNet18
from visionjobs.models.state import read_state_dict


def test_every_model_is_tested_by_the_base_tester():
    tested = {"convnet", "resnet18", "segnet", "deeplabv3_mobilenet_v3_large"}
    alike = {"deeplabv3_resnet50", "deeplabv3_resnet101"}  # too slow; test_deeplab.py compares them with torchvision's
    assert set(MODELS) == tested | alike, "give the new model a test that inherits ModelTester, and name it here"


@pytest.mark.parametrize(("name", "hint"), [("resnet", "resnet18"), ("ConvNet", "convnet"), ("vgg", None)])
def test_an_unknown_model_is_told_with_the_nearest_name(name, hint):
    with pytest.raises(UserError, match=r"expected one of convnet, deeplabv3_mobilenet_v3_large, .*, segnet") as caught:
        build_model(model_spec(name), 10, None)
    assert "model.name" in str(caught.value)
    assert name in str(caught.value)
    assert (f'Did you mean "{hint}"' in str(caught.value)) == (hint is not None)


@pytest.mark.parametrize(("name", "task"), [("resnet18", "segmentation"), ("segnet", "classification")])
def test_a_model_of_another_task_is_refused(name, task):
    spec = model_spec(name).model_copy(update={"task": task})
    with pytest.raises(UserError, match=f"{name} is a model for .*, and the job's task is {task}"):
        build_model(spec, 10, None)


@pytest.mark.parametrize(
    ("name", "freeze", "has"), [("resnet18", "encoder", "backbone"), ("segnet", "backbone", "encoder")]
)
def test_only_what_the_model_has_can_be_frozen(name, freeze, has):
    spec = model_spec(name, weights="DEFAULT", freeze=freeze)
    with pytest.raises(UserError, match=rf"train\.freeze: {name} has no {freeze}; expected one of none, {has}$"):
        build_model(spec, 10, None)


def saved(path, **changes):
    """A ConvNet's weights with keys put in, replaced, or (None) taken out."""
    state = ConvNet(10, (32, 32)).state_dict() | changes
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv2.bias": None, "conv3.bias": None}, r"missing: conv2\.bias, conv3\.bias\."),
        ({"conv9.weight": torch.zeros(1)}, r"not known to the model: conv9\.weight\."),
        (
            {"conv1.weight": torch.zeros(32, 1, 3, 3)},
            r"other shapes: conv1\.weight \[32, 1, 3, 3\] instead of \[32, 3,",
        ),
        ({"fc.weight": torch.zeros(10, 9)}, r"other shapes: fc\.weight \[10, 9\] instead of \[10, 512\]"),
        ({"fc.bias": None}, r"missing: fc\.bias\."),
        ({"conv1.weight": torch.tensor(0.0)}, r"conv1\.weight \[\] instead of"),
    ],
)
def test_weights_that_do_not_fit_are_named_key_by_key(tmp_path, changes, message):
    file = saved(tmp_path / "w.pth", **changes)
    with pytest.raises(UserError, match=message) as caught:
        build_model(model_spec("convnet", (32, 32), weights=str(file)), 10, file)
    assert str(file) in str(caught.value)


def test_weights_of_another_architecture_name_some_keys_and_count_the_rest(tmp_path):
    file = saved(tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"missing: conv1.*and \d+ more|missing: bn1.*and \d+ more"):
        build_model(model_spec("resnet18", weights=str(file)), 10, file)


def test_files_without_num_batches_tracked_are_whole(tmp_path):
    """torchvision's oldest files are such."""
    state = ResNet18(10).state_dict()
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "w.pth")
    model = build_model(model_spec("resnet18", weights=str(tmp_path / "w.pth")), 10, tmp_path / "w.pth")
    assert torch.equal(model.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


class Payload:
    """Unpickled, it would make a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_code_in_a_weights_file_is_never_run(tmp_path):
    torch.save({"conv1.weight": Payload(tmp_path / "owned")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="never run"):
        read_state_dict(tmp_path / "w.pth")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content", [b"", b"text\n", b"PK\x03\x04 and no more", b"\x80\x02}q\x00.", bytes(range(256)) * 9]
)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "w.pth"))):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("value", [torch.zeros(3), [torch.zeros(3)], {}, {"epoch": 3, "w": torch.zeros(1)}])
def test_what_is_not_a_state_dict_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(UserError, match="expected a state dict"):
        read_state_dict(tmp_path / "w.pth")


def test_a_truncated_file_is_refused(tmp_path):
    file = saved(tmp_path / "w.pth")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match="damaged"):
        read_state_dict(file)


def test_cost_of_a_linear_layer_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    cost = measure(model, 8, (4, 4))
    assert cost.parameters == cost.trainable == 48 * 5 + 5
    assert cost.forward_flops == 2 * 48 * 5
    assert cost.step_flops == 2 * 8 * 2 * 48 * 5  # forward and weight gradient; the input needs none
    assert (cost.weights, cost.gradients, cost.optimizer) == (4 * 245, 4 * 245, 8 * 245)
    assert cost.activations == 8 * 48 * 4


def test_cost_of_resnet18_is_the_published_one():
    """torchvision gives 11,689,512 parameters and 1.814 GFLOPS (multiply-adds) for ResNet18_Weights.IMAGENET1K_V1."""
    cost = measure(ResNet18(1000), 2, (224, 224))
    assert cost.parameters == 11_689_512
    assert cost.forward_flops / 2e9 == pytest.approx(1.814, abs=0.001)


def test_cost_of_deeplab_is_the_published_one():
    """178.722 GFLOPS (multiply-adds) at 520 x 520 pixels, in which torchvision counts the auxiliary head too."""
    model = MODELS["deeplabv3_resnet50"].build(21, (520, 520), 0.0)
    published = segmentation.DeepLabV3_ResNet50_Weights.DEFAULT.meta
    auxiliary = 65 * 65 * (9 * 1024 * 256 + 256 * 21)
    cost = measure(model, 2, (520, 520))
    assert cost.forward_flops / 2e9 == pytest.approx(published["_ops"] - auxiliary / 1e9, abs=0.001)
    assert cost.parameters == published["num_params"]


@pytest.mark.parametrize(
    ("name", "batch", "size"),
    [
        ("convnet", 2, (64, 64)),
        ("convnet", 5, (64, 64)),
        ("segnet", 2, (45, 70)),
        ("deeplabv3_mobilenet_v3_large", 2, (45, 70)),
    ],
)
def test_activations_are_what_autograd_really_keeps(name, batch, size):
    model, kept = MODELS[name].build(10, size, 0.0), {}
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(torch.zeros(batch, 3, *size))
    assert measure(model, batch, size).activations == sum(storage.nbytes() for storage in kept.values())
    assert logits_of(output).requires_grad


def test_pooling_indices_count_with_8_bytes_and_a_frozen_encoder_keeps_nothing_else():
    """Of 32 x 32 pixels: indices of 64 x 16 x 16, ... elements, but the coarsest ones: what they unpool is frozen."""
    model = MODELS["segnet"].build(4, (32, 32), 0.0)
    whole = measure(model, 1, (32, 32)).activations
    freeze(model, ("encoder.",))
    indices = 8 * sum(channels * (16 >> at) ** 2 for at, channels in enumerate((64, 128, 256, 512)))
    decoder = measure(model, 1, (32, 32)).activations
    assert decoder < whole
    # Of a convolution, batch norm and ReLU: input, output, normalised output; the classifier keeps what ReLU kept.
    convs = [module for module in model.decoder.modules() if isinstance(module, nn.Conv2d)]
    sides = [2] * 3 + [4] * 3 + [8] * 3 + [16] * 2 + [32]
    floats = sum(2 * conv.out_channels * side**2 for conv, side in zip(convs, sides, strict=True))
    unpooled = sum(
        channels * side**2 for channels, side in zip((512, 512, 256, 128, 64), (2, 4, 8, 16, 32), strict=True)
    )
    statistics = sum(2 * conv.out_channels for conv in convs)
    assert decoder == indices + 4 * (floats + unpooled + statistics)


def test_measuring_leaves_the_model_alone_and_bf16_keeps_less():
    model = ResNet18(10).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    full, half = measure(model, 64, (64, 64)), measure(model, 64, (64, 64), torch.bfloat16)
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert half.step_flops == full.step_flops
    assert half.activations < full.activations
    assert full.memory == full.weights + full.gradients + full.optimizer + full.activations
