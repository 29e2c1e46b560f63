"""What is kept of each sample at the end of training: in the order of the split, whatever the number of workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import start_attempt, tiny_spec, train_here, train_in_processes

from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.storage import Store
from visionjobs.training import evaluation
from visionjobs.training.outputs import last_evaluation, read_outputs
from visionjobs.training.setup import Setup, set_up
from visionjobs.training.worker import Worker

RESNET = ("model.name=resnet18", "train.epochs=1", "train.batch=10")


def setup_of(root: Store, tmp_path, *sets: str) -> Setup:
    spec = tiny_spec(*sets)
    dataset = fetch(find_dataset(root, "tiny"), tmp_path / "cache")
    return set_up(spec, dataset, None, Worker(0, 1, torch.device("cpu")))


@pytest.mark.parametrize("world", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_the_same_on_any_number_of_workers(root: Store, world: int) -> None:
    """12 validation images over 5 workers are shares of 2 and 3."""
    spec = tiny_spec(*RESNET)
    attempt = start_attempt(root, spec)
    alone = train_here(root, attempt, spec)
    again = attempt.run.claim("attempt", {})
    several = train_in_processes(root, again, tiny_spec(*RESNET, f"resources.workers={world}"), world)
    assert (alone.error, several.error) == (None, None)
    one, other = read_outputs(attempt.store), read_outputs(again.store)
    assert {group: list(found) for group, found in one.items()} == {
        "kept": ["logits"], "train": ["index", "features"], "val": ["index", "features"],
    }  # fmt: skip
    for group, found in one.items():
        for name, array in found.items():
            assert array.shape == other[group][name].shape
            np.testing.assert_allclose(array, other[group][name], atol=1e-4, err_msg=f"{group}/{name}")
    assert one["kept"]["logits"].shape == (12, 4)
    assert one["train"]["features"].shape == (48, 512)
    assert several.metrics["confusion_matrix"] == alone.metrics["confusion_matrix"]


def test_logits_are_those_of_the_model_in_the_order_of_the_split(root: Store, tmp_path) -> None:
    setup = setup_of(root, tmp_path)
    metrics, groups = last_evaluation(setup)
    assert list(groups) == ["kept"], "the ConvNet has no features worth a look"
    split = fetch(find_dataset(root, "tiny"), tmp_path / "cache").split("val")
    pixels = torch.from_numpy(split.read_all()).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = setup.model((pixels - mean[:, None, None]) / std[:, None, None])
    np.testing.assert_allclose(groups["kept"]["logits"], expected.numpy(), atol=1e-5)
    right = int((expected.argmax(1).numpy() == split.labels).sum())
    assert metrics["accuracy"] == right / 12


def test_features_are_what_the_last_layer_sees(root: Store, tmp_path) -> None:
    setup = setup_of(root, tmp_path, *RESNET)
    found = setup.evaluator.features(setup.val, "fc")
    _, groups = last_evaluation(setup)
    with torch.no_grad():
        logits = setup.model.fc(torch.from_numpy(found["features"]))
    np.testing.assert_allclose(logits.numpy(), groups["kept"]["logits"], atol=1e-5)
    assert not setup.model.fc._forward_pre_hooks


def test_of_a_large_split_a_part_is_kept_evenly_spaced(root: Store, tmp_path, monkeypatch) -> None:
    setup = setup_of(root, tmp_path, *RESNET)
    whole = setup.evaluator.features(setup.train, "fc")
    monkeypatch.setattr(evaluation, "FEATURE_SAMPLES", 10)
    part = setup.evaluator.features(setup.train, "fc")
    assert whole["index"].tolist() == list(range(48))
    assert part["index"].tolist() == [0, 5, 10, 15, 20, 26, 31, 36, 41, 47]
    np.testing.assert_allclose(part["features"], whole["features"][part["index"]], atol=1e-5)
