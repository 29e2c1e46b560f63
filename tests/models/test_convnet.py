"""The ConvNet of the experiments."""

from __future__ import annotations

import pytest
import torch
from base_model_tester import ModelTester, model_spec

from visionjobs.models import build_model
from visionjobs.models.convnet import ConvNet
from visionjobs.theory import model_receptive_field


class TestConvNet(ModelTester):
    name = "convnet"

    def test_is_the_one_of_the_experiments(self):
        shapes = {key: tuple(value.shape) for key, value in ConvNet(10, (224, 224)).state_dict().items()}
        assert shapes == {
            "conv1.weight": (32, 3, 3, 3),
            "conv1.bias": (32,),
            "conv2.weight": (64, 32, 3, 3),
            "conv2.bias": (64,),
            "conv3.weight": (128, 64, 3, 3),
            "conv3.bias": (128,),
            "fc.weight": (10, 128 * 14 * 14),
            "fc.bias": (10,),
        }

    @pytest.mark.parametrize("size", [(16, 16), (17, 31), (31, 33), (48, 16)])
    def test_takes_any_size_from_16_on(self, size):
        model = build_model(model_spec("convnet", size), 3, None)
        assert model(torch.zeros(1, 3, *size)).shape == (1, 3)

    def test_receptive_field(self):
        assert model_receptive_field(ConvNet(10, (224, 224))) == (42, 42)
