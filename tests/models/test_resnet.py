"""ResNet-18 as torchvision builds it."""

from __future__ import annotations

import torch
import torchvision
from base_model_tester import ModelTester

from visionjobs.models.resnet import ResNet18
from visionjobs.theory import model_receptive_field


class TestResNet18(ModelTester):
    name = "resnet18"

    def test_is_torchvisions(self):
        theirs, ours = torchvision.models.resnet18().eval(), ResNet18(1000).eval()
        ours.load_state_dict(theirs.state_dict())
        with torch.no_grad():
            assert torch.equal(ours(self.images()), theirs(self.images()))

    def test_receptive_field(self):
        assert model_receptive_field(ResNet18(10)) == (435, 435)
