"""SegNet: its encoder is torchvision's VGG16-BN, its decoder unpools to the sizes that were pooled."""

from __future__ import annotations

import re

import pytest
import torch
import torchvision
from base_model_tester import SegmentationModelTester, model_spec
from torch import nn
from torch.nn import functional as F

from visionjobs.errors import UserError
from visionjobs.models import build_model
from visionjobs.models.segnet import DECODER_MOMENTUM, SegNet
from visionjobs.theory import model_receptive_field

SIZE = (45, 70)


class TestSegNet(SegmentationModelTester):
    name = "segnet"


@pytest.fixture(scope="module")
def vgg16_bn():
    """torchvision's layers before the fully connected ones (of which it has 124 million weights), all random."""
    vgg = torchvision.models.VGG(torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], True), 3)
    for module in vgg.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            nn.init.normal_(module.running_mean)
    return vgg.eval()


@pytest.fixture(scope="module")
def published(vgg16_bn, tmp_path_factory):
    """Its weights in a file with torchvision's keys, with fully connected layers."""
    file = tmp_path_factory.mktemp("weights") / "vgg16_bn-00000000.pth"
    state = {key: value for key, value in vgg16_bn.state_dict().items() if key.startswith("features.")}
    torch.save(state | {"classifier.0.weight": torch.zeros(4, 2), "classifier.6.bias": torch.zeros(1000)}, file)
    return file


def built(file, num_classes=5, **train):
    return build_model(model_spec("segnet", SIZE, weights=str(file), **train), num_classes, file)


def test_our_file_has_the_keys_of_torchvisions():
    with torch.device("meta"):
        theirs = torchvision.models.vgg16_bn().features.state_dict()
        ours = SegNet(5).encoder.state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


def test_the_encoders_features_are_torchvisions(vgg16_bn, published):
    model = built(published, freeze="encoder").eval()
    ours = theirs = torch.randn(2, 3, *SIZE)
    pools = 0
    with torch.no_grad():
        for mine, other in zip(model.encoder, vgg16_bn.features, strict=True):
            if isinstance(other, nn.MaxPool2d):
                assert torch.equal(ours, theirs), "before the pooling"
                pools, (ours, indices) = pools + 1, mine(ours)
                assert torch.equal(indices, F.max_pool2d(theirs, 2, return_indices=True)[1])
            else:
                ours = mine(ours)
            theirs = other(theirs)
            assert torch.equal(ours, theirs)
    assert pools == 5
    assert ours.abs().max() > 0


def test_of_torchvisions_weights_the_decoder_stays_random(published):
    loaded, file = built(published, seed=4).state_dict(), torch.load(published)
    fresh = build_model(model_spec("segnet", SIZE, seed=4), 5, None).state_dict()
    for key, value in loaded.items():
        layer = key.removeprefix("encoder.")
        assert torch.equal(value, fresh[key] if layer == key else file[f"features.{layer}"]), key


def test_weights_of_the_encoder_alone_load(tmp_path):
    state = {key: value for key, value in SegNet(5).state_dict().items() if key.startswith("encoder.")}
    torch.save(state, tmp_path / "w.pth")
    loaded = built(tmp_path / "w.pth").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "features.44.weight": torch.zeros(1)}, "not known to the model: encoder.44.weight"),
        (lambda state: {key: v for key, v in state.items() if ".40." not in key}, "missing: encoder.40.weight, "),
        (lambda state: {**state, "features.0.weight": torch.zeros(64, 1, 3, 3)}, "encoder.0.weight [64, 1, 3, 3] inst"),
        (lambda _: torchvision.models.resnet18().state_dict(), "not known to the model: conv1.weight"),
    ],
)
def test_other_weights_are_refused_key_by_key(published, tmp_path, change, message):
    torch.save(change(torch.load(published)), tmp_path / "w.pth")
    with pytest.raises(UserError, match=re.escape(message)):
        built(tmp_path / "w.pth")


def test_a_decoder_that_lacks_a_part_is_not_taken_for_none(tmp_path):
    state = SegNet(5).state_dict()
    del state["decoder.2.3.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"missing: decoder\.2\.3\.weight\."):
        built(tmp_path / "w.pth")


def test_unpooling_puts_each_maximum_back_where_it_was():
    model, image = SegNet(5), torch.rand(2, 3, *SIZE)
    pooled, indices = model.encoder[6](image)
    back = model.unpool(pooled, indices, image.shape[-2:])
    assert back.shape == image.shape
    is_maximum = F.max_unpool2d(torch.ones_like(pooled), indices, 2, output_size=image.shape) > 0
    assert torch.equal(back, torch.where(is_maximum, image, 0))
    assert is_maximum.sum() == pooled.numel()


def test_the_decoder_mirrors_the_encoder():
    model = SegNet(5)
    convs = [module for module in model.encoder if isinstance(module, nn.Conv2d)]
    mirrored = [module for module in model.decoder.modules() if isinstance(module, nn.Conv2d)] + [model.classifier]
    assert (len(convs), len(mirrored)) == (13, 13)
    for conv, mirror in list(zip(convs, reversed(mirrored), strict=True))[1:]:
        assert (mirror.in_channels, mirror.out_channels) == (conv.out_channels, conv.in_channels)
    momenta = {name.split(".")[0]: [] for name, _ in model.named_children()}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            momenta[name.split(".")[0]].append(module.momentum)
    assert momenta["decoder"] == [DECODER_MOMENTUM] * 12
    assert momenta["encoder"] == [0.1] * 13
    assert momenta["classifier"] == []


@pytest.mark.parametrize("size", [(31, 64), (64, 16)])
def test_images_that_five_poolings_leave_nothing_of_are_refused(size):
    with pytest.raises(UserError, match=r"data\.size: segnet needs at least 32 pixels"):
        build_model(model_spec("segnet", size), 5, None)


def test_receptive_field():
    """Against which pixels have a gradient, in one dimension, at each place of an output between two poolings."""

    def passed(x, convs):
        for _ in range(convs):
            x = F.conv1d(x, torch.full((1, 1, 3), 1 / 3, dtype=torch.float64), padding=1)
        return x

    x = y = torch.zeros(1, 1, 1024, dtype=torch.float64, requires_grad=True)
    for convs in (2, 2, 3, 3, 3):
        y = F.avg_pool1d(passed(y, convs), 2)
    for convs in (3, 3, 3, 2, 2):
        y = passed(y.repeat_interleave(2, dim=-1), convs)
    seen = [torch.autograd.grad(y[0, 0, at], x, retain_graph=True)[0][0, 0].nonzero() for at in range(512, 544)]
    extents = [int(pixels.max() - pixels.min()) + 1 for pixels in seen]
    assert model_receptive_field(SegNet(5)) == (max(extents), max(extents)) == (404, 404)
