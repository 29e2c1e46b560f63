"""What every architecture must do. A new model's test inherits ModelTester and names the model:

class TestConvNet(ModelTester):
    name = "convnet"

One for segmentation inherits SegmentationModelTester.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from visionjobs.models import MODELS, build_model
from visionjobs.models.freeze import FreezableModule
from visionjobs.models.outputs import Outputs, WithAuxiliary, logits_of
from visionjobs.spec import JobSpec


def model_spec(
    name: str, size: tuple[int, int] = (64, 64), weights: str = "random", dropout: float = 0.0, **train: Any
) -> JobSpec:
    """A job for the model `name`, or of classification where there is none, without a dataset that exists."""
    return JobSpec.model_validate(
        {
            "name": "tested",
            "task": MODELS[name].task if name in MODELS else "classification",
            "model": {"name": name, "weights": weights, "dropout": dropout},
            "data": {"name": "wildlife", "size": list(size)},
            "train": train,
        }
    )


class ModelTester:
    """Inherited, never collected itself: its name does not begin with Test."""

    name: str
    num_classes = 7
    size = (64, 64)
    sizes = ((64, 64), (50, 67), (32, 96))
    batch = 4

    @property
    def freezes(self) -> str:
        """What `train.freeze` may name."""
        return next(iter(MODELS[self.name].freezable))

    @property
    def frozen_prefixes(self) -> tuple[str, ...]:
        return MODELS[self.name].freezable[self.freezes]

    def build(self, size: tuple[int, int] | None = None, **train: Any) -> FreezableModule:
        return build_model(model_spec(self.name, size or self.size, **train), self.num_classes, weights=None)

    def images(self, size: tuple[int, int] | None = None) -> Tensor:
        return torch.randn(self.batch, 3, *(size or self.size), generator=torch.Generator().manual_seed(0))

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Of the logits of `images(size)`."""
        return (self.batch, self.num_classes)

    def loss(self, outputs: Outputs) -> Tensor:
        """Cross-entropy with some targets, an auxiliary head's added."""
        parts = outputs if isinstance(outputs, WithAuxiliary) else [outputs]
        shape = (self.batch, *parts[0].shape[2:])
        targets = torch.randint(self.num_classes, shape, generator=torch.Generator().manual_seed(0))
        return sum(nn.functional.cross_entropy(part, targets) for part in parts)

    def frozen(self, tmp_path_factory: pytest.TempPathFactory) -> FreezableModule:
        """A model with a frozen backbone, filled from a file, as the spec demands."""
        file = tmp_path_factory.mktemp("weights") / "weights.pth"
        torch.save(self.build().state_dict(), file)
        spec = model_spec(self.name, self.size, weights=str(file), freeze=self.freezes)
        return build_model(spec, self.num_classes, file)

    @pytest.mark.parametrize("index", range(3))
    def test_gives_one_logit_a_class(self, index):
        size = self.sizes[index]
        with torch.no_grad():
            logits = self.build(size).eval()(self.images(size))
        assert logits.shape == self.shape(size)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()

    def test_gradient_reaches_every_parameter(self):
        model = self.build()
        self.loss(model(self.images())).backward()
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
        loaded = build_model(model_spec(self.name, self.size, weights=str(file)), self.num_classes, file)
        with torch.no_grad():
            assert torch.equal(loaded.eval()(self.images()), trained.eval()(self.images()))

    def test_another_number_of_classes_gets_a_new_head_only(self, tmp_path):
        file, trained = tmp_path / "weights.pth", self.build(seed=3)
        torch.save(trained.state_dict(), file)
        loaded = build_model(
            model_spec(self.name, self.size, weights=str(file), seed=4), self.num_classes + 2, file
        ).state_dict()
        fresh = build_model(model_spec(self.name, self.size, seed=4), self.num_classes + 2, None).state_dict()
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
        assert not any(name.startswith(self.frozen_prefixes) for name in trainable)
        assert any(name.startswith(self.frozen_prefixes) for name, _ in model.named_parameters())

    def test_a_frozen_backbone_does_not_move(self, tmp_path_factory):
        model = self.frozen(tmp_path_factory).train()
        before = copy.deepcopy(model.state_dict())
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
        self.loss(model(self.images())).backward()
        optimizer.step()
        moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        assert {name for name, p in model.named_parameters() if p.requires_grad} <= moved
        assert not any(key.startswith(self.frozen_prefixes) for key in moved), "neither weights nor statistics"

    def test_frozen_batch_norm_stays_in_eval_mode(self, tmp_path_factory):
        model = self.frozen(tmp_path_factory)
        for whole in (model, model.eval().train(), nn.SyncBatchNorm.convert_sync_batchnorm(model).train()):
            norms = {name: module for name, module in whole.named_modules() if isinstance(module, _BatchNorm)}
            frozen = {name for name in norms if f"{name}.".startswith(self.frozen_prefixes)}
            assert {name for name, norm in norms.items() if not norm.training} == frozen
            assert whole.training
        assert all(module.training for module in self.build().eval().train().modules())

    def test_an_image_s_logits_depend_on_no_other_image(self):
        model, images = self.build().eval(), self.images()
        with torch.no_grad():
            torch.testing.assert_close(model(images[:1]), model(images)[:1], atol=1e-4, rtol=1e-4)

    def test_can_be_pickled(self):
        model = pickle.loads(pickle.dumps(self.build()))  # noqa: S301 (our own bytes)
        assert logits_of(model(self.images())).shape == self.shape(self.size)


class SegmentationModelTester(ModelTester):
    """The same for logits a pixel, at sizes that no stride divides."""

    size = (32, 48)
    sizes = ((32, 32), (45, 70), (63, 33))
    batch = 2

    def shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        return (self.batch, self.num_classes, *size)

    def test_dropout_acts_in_training_only_and_adds_no_keys(self):
        with pytest.raises(ValidationError, match=r"model\.dropout: 0\.5 has no place in a segmentation model"):
            model_spec(self.name, self.size, dropout=0.5)
