"""DeepLabV3 as torchvision builds it; the large ones share all but the backbone with the small one."""

from __future__ import annotations

import pytest
import torch
from base_model_tester import SegmentationModelTester, model_spec
from pydantic import ValidationError
from torchvision.models import segmentation
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from visionjobs.errors import UserError
from visionjobs.models import MODELS, build_model
from visionjobs.models.aspp import Branch, Reach, aspp_branches
from visionjobs.models.deeplab import DeepLabV3
from visionjobs.models.outputs import WithAuxiliary
from visionjobs.theory import Layer, model_receptive_field, receptive_field

NAMES = [name for name, entry in MODELS.items() if name.startswith("deeplabv3_")]
SMALL = "deeplabv3_mobilenet_v3_large"


class TestDeepLabV3MobileNet(SegmentationModelTester):
    name = SMALL


def theirs(name, num_classes=5):
    return getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=True)


@pytest.mark.parametrize("name", NAMES)
def test_has_torchvisions_keys_and_shapes(name):
    with torch.device("meta"):
        expected = theirs(name).state_dict()
        found = MODELS[name].build(5, (32, 32), 0.0).state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}
    assert set(MODELS[name].head) <= found.keys()


def filled(name, tmp_path, size=(32, 32)):
    """A model of torchvision's, and ours with its weights."""
    other = theirs(name)
    torch.save(other.state_dict(), tmp_path / "w.pth")
    return other, build_model(model_spec(name, size, weights=str(tmp_path / "w.pth")), 5, tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", SMALL])
def test_gives_torchvisions_logits(name, tmp_path):
    (other, model), image = filled(name, tmp_path), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(image), other.eval()(image)["out"])


def test_in_training_it_gives_the_auxiliary_heads_logits_too(tmp_path):
    (other, model), images = filled(SMALL, tmp_path), torch.randn(2, 3, 33, 48)
    with torch.no_grad():
        torch.manual_seed(0)  # of the dropout
        found = model(images)
        torch.manual_seed(0)
        expected = other(images)
    assert isinstance(found, WithAuxiliary)
    assert torch.equal(found.logits, expected["out"])
    assert torch.equal(found.auxiliary, expected["aux"])
    assert found.logits.shape == found.auxiliary.shape == (2, 5, 33, 48)


def test_published_weights_get_new_heads_for_other_classes(tmp_path):
    state = theirs(SMALL, 21).state_dict()
    torch.save(state, tmp_path / "w.pth")
    loaded = build_model(model_spec(SMALL, weights=str(tmp_path / "w.pth")), 32, tmp_path / "w.pth").state_dict()
    heads = {"classifier.4.weight", "classifier.4.bias", "aux_classifier.4.weight", "aux_classifier.4.bias"}
    assert {key for key, value in state.items() if not torch.equal(loaded[key], value)} == heads
    assert {loaded[key].shape[0] for key in heads} == {32}


def test_a_file_without_the_auxiliary_head_gets_a_new_one(tmp_path):
    state = {key: value for key, value in theirs(SMALL).state_dict().items() if not key.startswith("aux_")}
    torch.save(state, tmp_path / "w.pth")
    loaded = build_model(model_spec(SMALL, weights=str(tmp_path / "w.pth")), 5, tmp_path / "w.pth").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize("name", NAMES)
def test_all_published_weights_have_the_auxiliary_head(name):
    """torchvision counts its parameters with the 21 classes of Pascal VOC."""
    with torch.device("meta"):
        model = MODELS[name].build(21, (32, 32), 0.0)
    count = sum(p.numel() for p in model.parameters())
    assert [member.meta["num_params"] for member in MODELS[name].torchvision_weights] == [count]


def test_an_encoder_to_freeze_is_not_there(tmp_path):
    with pytest.raises(UserError, match=rf"train\.freeze: {SMALL} has no encoder; expected one of none, backbone"):
        build_model(model_spec(SMALL, weights=str(tmp_path / "w.pth"), freeze="encoder"), 5, None)


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (2, 2)])
def test_no_worker_trains_on_one_sample(batch, workers):
    """torch would raise: the image pooling's batch norm has one value a channel then."""
    tree = model_spec(SMALL).model_dump(mode="json")
    tree["train"]["batch"], tree["resources"]["workers"] = batch, workers
    with pytest.raises(ValidationError, match=r"train\.batch: .* and batch normalisation needs at least 2"):
        type(model_spec(SMALL)).model_validate(tree)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        DeepLabV3(deeplabv3_mobilenet_v3_large, 5)(torch.zeros(1, 3, 32, 32))


RESNET50 = [
    Layer(7, 2), Layer(3, 2),
    *[Layer(3)] * 3,
    Layer(3, 2), *[Layer(3)] * 3,
    Layer(3), *[Layer(3, dilation=2)] * 5,  # stride 2 became dilation, from the second block on
    Layer(3, dilation=2), *[Layer(3, dilation=4)] * 2,
]  # fmt: skip
"""The convolutions with more than one element along the backbone, and its pooling."""


def test_what_each_branch_of_the_pyramid_sees_and_costs():
    with torch.device("meta"):
        model = MODELS["deeplabv3_resnet50"].build(32, (360, 480), 0.0)
    plain = receptive_field([*RESNET50, Layer(3)])
    cost = 45 * 60 * 2048 * 256  # at an output stride of 8
    expected = [Branch("1x1", 1, *[Reach((receptive_field(RESNET50),) * 2, cost)] * 2)]
    for rate in (12, 24, 36):
        field = receptive_field([*RESNET50, Layer(3, dilation=rate)])
        assert field == plain + 2 * (rate - 1) * 8
        expected.append(Branch("3x3", rate, Reach((field, field), 9 * cost), Reach((plain, plain), 9 * cost)))
    expected.append(Branch("image pooling", 1, *[Reach((360, 480), 2048 * 256)] * 2))
    assert aspp_branches(model, (360, 480)) == expected
    assert model.training


def test_receptive_field_is_that_of_the_widest_branch_and_the_convolution_after_it():
    with torch.device("meta"):
        model = MODELS["deeplabv3_resnet50"].build(32, (360, 480), 0.0)
    widest = receptive_field([*RESNET50, Layer(3, dilation=36), Layer(3)])
    assert model_receptive_field(model) == (widest, widest) == (1019, 1019)
