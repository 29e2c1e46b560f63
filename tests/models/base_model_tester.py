"""What every architecture must do. A new model's test inherits ModelTester and names the model:

class TestConvNet(ModelTester):
    name = "convnet"
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from visionjobs.models import MODELS, build_model
from visionjobs.models.freeze import FreezableModule
from visionjobs.spec import JobSpec


def model_spec(
    name: str, size: tuple[int, int] = (64, 64), weights: str = "random", dropout: float = 0.0, **train: Any
) -> JobSpec:
    """A job for the model `name`, without a dataset that exists."""
    return JobSpec.model_validate(
        {
            "name": "tested",
            "task": "classification",
            "model": {"name": name, "weights": weights, "dropout": dropout},
            "data": {"name": "wildlife", "size": list(size)},
            "train": train,
        }
    )


class ModelTester:
    """Inherited, never collected itself: its name does not begin with Test."""

    name: str
    num_classes = 7
    sizes = ((64, 64), (50, 67), (32, 96))

    def build(self, size: tuple[int, int] = (64, 64), **train: Any) -> FreezableModule:
        return build_model(model_spec(self.name, size, **train), self.num_classes, weights=None)

    def images(self, size: tuple[int, int] = (64, 64), n: int = 4) -> torch.Tensor:
        return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(0))

    def frozen(self, tmp_path_factory: pytest.TempPathFactory) -> FreezableModule:
        """A model with a frozen backbone, filled from a file, as the spec demands."""
        file = tmp_path_factory.mktemp("weights") / "weights.pth"
        torch.save(self.build().state_dict(), file)
        spec = model_spec(self.name, weights=str(file), freeze="backbone")
        return build_model(spec, self.num_classes, file)

    @pytest.mark.parametrize("index", range(3))
    def test_gives_one_logit_a_class(self, index):
        size = self.sizes[index]
        with torch.no_grad():
            logits = self.build(size)(self.images(size))
        assert logits.shape == (4, self.num_classes)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()

    def test_gradient_reaches_every_parameter(self):
        model = self.build()
        nn.functional.cross_entropy(model(self.images()), torch.arange(4)).backward()
        without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert without == []

    def test_starts_in_train_mode_on_the_cpu(self):
        model = self.build()
        assert all(module.training for module in model.modules())
        assert {p.device.type for p in model.parameters()} == {"cpu"}
        assert all(p.requires_grad for p in model.parameters())

    def test_the_seed_decides_every_weight_and_leaves_the_global_state_alone(self):
        before = torch.get_rng_state()
        first, again, other = self.build(seed=1), self.build(seed=1), self.build(seed=2)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(123)
        later = self.build(seed=1)
        for same in (again, later):
            assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))

    def test_state_dict_round_trip(self, tmp_path):
        file, trained = tmp_path / "weights.pth", self.build(seed=3)
        trained(self.images())  # moves running statistics
        torch.save(trained.state_dict(), file)
        loaded = build_model(model_spec(self.name, weights=str(file)), self.num_classes, file)
        with torch.no_grad():
            assert torch.equal(loaded.eval()(self.images()), trained.eval()(self.images()))

    def test_another_number_of_classes_gets_a_new_head_only(self, tmp_path):
        file, trained = tmp_path / "weights.pth", self.build(seed=3)
        torch.save(trained.state_dict(), file)
        loaded = build_model(model_spec(self.name, weights=str(file), seed=4), self.num_classes + 2, file).state_dict()
        fresh = build_model(model_spec(self.name, seed=4), self.num_classes + 2, None).state_dict()
        for key, value in trained.state_dict().items():
            assert torch.equal(loaded[key], fresh[key] if key in MODELS[self.name].head else value), key

    def test_head_keys_have_the_classes_on_their_first_axis(self):
        state = self.build().state_dict()
        assert [state[key].shape[0] for key in MODELS[self.name].head] == [self.num_classes] * len(
            MODELS[self.name].head
        )

    def test_dropout_acts_in_training_only_and_adds_no_keys(self):
        model, plain = self.build(dropout=0.5), self.build()
        assert model.state_dict().keys() == plain.state_dict().keys()
        with torch.no_grad():
            assert not torch.equal(model(self.images()), model(self.images()))
            assert torch.equal(copy.deepcopy(plain)(self.images()), copy.deepcopy(plain)(self.images()))
            assert torch.equal(self.build(dropout=0.5).eval()(self.images()), self.build().eval()(self.images()))

    def test_channels_last_gives_the_same_logits(self):
        model, images = self.build().eval(), self.images()
        with torch.no_grad():
            expected = model(images)
            found = copy.deepcopy(model).to(memory_format=torch.channels_last)(
                images.contiguous(memory_format=torch.channels_last)
            )
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)

    def test_backbone_and_head_are_all_there_is(self, tmp_path_factory):
        model = self.frozen(tmp_path_factory)
        trainable = {name for name, p in model.named_parameters() if p.requires_grad}
        assert set(MODELS[self.name].head) <= trainable
        assert not any(name.startswith(MODELS[self.name].backbone) for name in trainable)
        assert any(name.startswith(MODELS[self.name].backbone) for name, _ in model.named_parameters())

    def test_a_frozen_backbone_does_not_move(self, tmp_path_factory):
        model = self.frozen(tmp_path_factory).train()
        before = copy.deepcopy(model.state_dict())
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
        nn.functional.cross_entropy(model(self.images()), torch.arange(4)).backward()
        optimizer.step()
        moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        assert moved == {name for name, p in model.named_parameters() if p.requires_grad}

    def test_frozen_batch_norm_stays_in_eval_mode(self, tmp_path_factory):
        model = self.frozen(tmp_path_factory)
        for whole in (model, model.eval().train(), nn.SyncBatchNorm.convert_sync_batchnorm(model).train()):
            norms = [module for module in whole.modules() if isinstance(module, _BatchNorm)]
            assert [norm.training for norm in norms] == [False] * len(norms)
            assert whole.training
        assert all(module.training for module in self.build().eval().train().modules())

    def test_can_be_pickled(self):
        model = pickle.loads(pickle.dumps(self.build()))  # noqa: S301 (our own bytes)
        assert model(self.images()).shape == (4, self.num_classes)
