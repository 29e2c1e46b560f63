"""The loop in this process: what it learns, writes, repeats and refuses."""

from __future__ import annotations

import time

import pytest
import torch
from tiny import assert_same_bits, final_weights, start_attempt, tiny_spec, train_here

from visionjobs.runs import read_progress
from visionjobs.storage import Store
from visionjobs.tasks.classification import Classification
from visionjobs.training.checkpoint import list_checkpoints
from visionjobs.training.loop import Loop, step_seed


def test_learns_and_leaves_a_history(root: Store) -> None:
    attempt = start_attempt(root, tiny_spec("train.epochs=4"))
    outcome = train_here(root, attempt, tiny_spec("train.epochs=4"))
    history = attempt.run.history()
    assert outcome.error is None
    assert outcome.metrics["accuracy"] >= 0.9
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert [row["step"] for row in history] == [6, 12, 18, 24]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert history[-1]["val_accuracy"] == outcome.metrics["accuracy"]
    assert sum(map(sum, outcome.metrics["confusion_matrix"])) == 12
    progress = read_progress(attempt.store)
    assert (progress["step"], progress["epochs"], progress["steps_per_epoch"]) == (24, 4, 6)


def test_label_smoothing_terms_are_logged_apart_and_sum_to_the_loss(root: Store) -> None:
    spec = tiny_spec("train.epochs=1", "train.label_smoothing=0.2")
    attempt = start_attempt(root, spec)
    train_here(root, attempt, spec)
    (row,) = attempt.run.history()
    assert row["train_uniform"] > 0
    assert row["train_ce"] + row["train_uniform"] == pytest.approx(row["train_loss"], abs=1e-6)


def test_each_image_four_times_an_epoch(root: Store) -> None:
    spec = tiny_spec("train.epochs=1", "data.augment=wildlife", "data.copies=3")
    attempt = start_attempt(root, spec)
    outcome = train_here(root, attempt, spec)
    assert outcome.facts["samples_per_epoch"] == 4 * 48
    assert attempt.run.history()[0]["step"] == 4 * 48 // 8


def test_last_incomplete_batch_is_dropped_and_told(root: Store) -> None:
    spec = tiny_spec("train.epochs=1", "train.batch=10")
    attempt = start_attempt(root, spec)
    outcome = train_here(root, attempt, spec)
    assert outcome.facts["dropped_per_epoch"] == 8
    assert attempt.run.history()[0]["step"] == 4


@pytest.mark.parametrize("sets", [(), ("data.augment=wildlife", "data.copies=1"), ("data.size=[24, 40]",)])
def test_resident_and_prefetched_images_end_in_the_same_weights(root: Store, sets: tuple[str, ...]) -> None:
    weights = []
    for resident in ("always", "never"):
        spec = tiny_spec("train.epochs=1", f"data.resident={resident}", *sets)
        attempt = start_attempt(root, spec)
        assert train_here(root, attempt, spec).error is None
        weights.append(final_weights(attempt.run))
    assert_same_bits(*weights)


def test_another_seed_ends_in_other_weights(root: Store) -> None:
    weights = []
    for seed in (0, 1):
        spec = tiny_spec("train.epochs=1", f"train.seed={seed}")
        attempt = start_attempt(root, spec)
        train_here(root, attempt, spec)
        weights.append(final_weights(attempt.run))
    assert not torch.equal(weights[0]["conv1.weight"], weights[1]["conv1.weight"])


def test_loss_that_is_not_finite_stops_with_the_step_named(root: Store, tmp_path) -> None:
    spec = tiny_spec("train.epochs=1")
    attempt = start_attempt(root, spec)
    train_here(root, attempt, spec)
    weights = final_weights(attempt.run)
    weights["fc.weight"] = torch.full_like(weights["fc.weight"], float("nan"))
    torch.save(weights, tmp_path / "bad.pth")
    spec = tiny_spec(f"model.weights={tmp_path}/bad.pth")
    attempt = start_attempt(root, spec)
    outcome = train_here(root, attempt, spec)
    assert outcome.exit_status == 3
    assert "step 1 (epoch 1)" in outcome.error
    assert "train.lr" in outcome.error
    assert not [entry for entry in attempt.run.store.entries() if "checkpoints" in entry.key]


def test_loss_that_becomes_infinite_on_the_way_names_that_step(root: Store, monkeypatch) -> None:
    spec = tiny_spec("train.epochs=3", "train.checkpoint.every=1")
    attempt = start_attempt(root, spec)
    loss, calls = Classification.loss, []

    def overflowing(self, outputs, targets):
        calls.append(1)
        terms = loss(self, outputs, targets)
        return {name: term * (float("inf") if len(calls) == 9 else 1.0) for name, term in terms.items()}

    monkeypatch.setattr(Classification, "loss", overflowing)
    outcome = train_here(root, attempt, spec)
    assert outcome.exit_status == 3
    assert "the loss of step 9 (epoch 2) is not finite" in outcome.error
    assert max(info.step for info in list_checkpoints(attempt.run)) == 8, "no checkpoint of broken weights"


def test_batch_larger_than_the_dataset_is_refused(root: Store) -> None:
    spec = tiny_spec("train.batch=64")
    outcome = train_here(root, start_attempt(root, spec), spec)
    assert outcome.exit_status == 2
    assert "train.batch: 64 is more than the 48" in outcome.error


def test_fp16_on_the_cpu_is_refused(root: Store) -> None:
    spec = tiny_spec("train.precision=fp16")
    outcome = train_here(root, start_attempt(root, spec), spec)
    assert outcome.exit_status == 2
    assert "train.precision" in outcome.error


def test_bf16_trains_on_the_cpu(root: Store) -> None:
    spec = tiny_spec("train.precision=bf16", "train.epochs=1")
    outcome = train_here(root, start_attempt(root, spec), spec)
    assert outcome.facts["precision"] == "bf16"


@pytest.mark.parametrize(("model", "layer"), [("convnet", "conv1.weight"), ("resnet18", "layer1.0.conv1.weight")])
def test_frozen_backbone_keeps_its_bits_and_the_head_learns(root: Store, tmp_path, model: str, layer: str) -> None:
    spec = tiny_spec(f"model.name={model}", "train.epochs=1")
    attempt = start_attempt(root, spec)
    train_here(root, attempt, spec)
    before = final_weights(attempt.run)
    torch.save(before, tmp_path / "start.pth")
    spec = tiny_spec(f"model.name={model}", f"model.weights={tmp_path}/start.pth", "train.freeze=backbone")
    attempt = start_attempt(root, spec)
    assert train_here(root, attempt, spec).error is None
    after = final_weights(attempt.run)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"fc.weight", "fc.bias"}
    assert layer in before


def test_step_seeds_differ() -> None:
    seeds = {step_seed(seed, step, rank) for seed in range(5) for step in range(200) for rank in range(4)}
    assert len(seeds) == 5 * 200 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_attempt_that_was_superseded_stops_and_writes_nothing_more(root: Store, monkeypatch) -> None:
    spec = tiny_spec("train.epochs=4")
    attempt = start_attempt(root, spec)
    train_step = Loop.train_step

    def claimed_by_another(self, batch):
        if self.step == 7:
            while not attempt.run.history():  # the row of the first epoch is written beside the training
                time.sleep(0.01)
            attempt.run.claim("attempt", {})
        train_step(self, batch)

    monkeypatch.setattr(Loop, "train_step", claimed_by_another)
    outcome = train_here(root, attempt, spec)
    assert outcome.exit_status == 5
    assert "superseded by attempt 2" in outcome.error
    assert max(info.step for info in list_checkpoints(attempt.run)) <= 7
    assert [row["epoch"] for row in attempt.run.history()] == [0]


@pytest.mark.slow
def test_compiled_model_trains(root: Store) -> None:
    spec = tiny_spec("train.compile=true", "train.epochs=4")
    outcome = train_here(root, start_attempt(root, spec), spec)
    assert outcome.error is None
    assert outcome.metrics["accuracy"] >= 0.9
