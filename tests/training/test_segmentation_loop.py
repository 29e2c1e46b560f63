"""The loop on masks, in this process and in two: learns, repeats, resumes to the bit, and counts every pixel once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_resume import Killed, kill_at
from tiny import assert_same_bits, final_weights, start_attempt, train_here, train_in_processes
from tiny_masks import SIZES, Drawn, draw_split, masks_root, masks_spec, pack_masks

from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.loader import resized, resized_masks
from visionjobs.errors import UserError
from visionjobs.storage import Store, open_store
from visionjobs.training.loop import Loop
from visionjobs.training.outputs import read_outputs
from visionjobs.training.schedule import learning_rate
from visionjobs.training.setup import Setup, set_up
from visionjobs.training.worker import Worker

DEEPLAB = ("model.name=deeplabv3_mobilenet_v3_large",)
ALL_OF_IT = (*DEEPLAB, "data.augment=camvid", "train.schedule=polynomial", "train.class_weights=median_frequency",
             "train.ignore=[tree]", "train.label_smoothing=0.1")  # fmt: skip
FIGURES = ("epoch", "step", "lr", "train_loss", "train_ce", "train_miou", "train_pixel_accuracy", "val_loss",
           "val_miou", "val_pixel_accuracy")  # fmt: skip


@pytest.fixture
def masks(tmp_path) -> Store:
    """A storage root with the dataset "tinymasks"."""
    return masks_root(tmp_path)


def setup_of(root: Store, tmp_path, *sets: str) -> Setup:
    spec = masks_spec(*sets)
    dataset = fetch(find_dataset(root, spec.data.name), tmp_path / "cache")
    return set_up(spec, dataset, None, Worker(0, 1, torch.device("cpu")))


def figures(run) -> list[list[object]]:
    return [[row[key] for key in FIGURES] for row in run.history()]


def test_history_and_outcome(masks: Store) -> None:
    spec = masks_spec(*DEEPLAB, "train.epochs=3", "train.schedule=cosine", "train.checkpoint.unit=epochs")
    attempt = start_attempt(masks, spec)
    outcome = train_here(masks, attempt, spec)
    history = attempt.run.history()
    assert outcome.error is None
    assert [row["lr"] for row in history] == [learning_rate(spec.train, step, 9) for step in (2, 5, 8)]
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert history[-1]["train_ce"] < 0.8 * history[0]["train_ce"]
    assert history[-1]["train_loss"] > history[-1]["train_ce"], "it has the auxiliary head's part too"
    assert history[-1]["train_miou"] > history[0]["train_miou"]
    pixels = SIZES["test"] * 32 * 48
    matrix = np.array(outcome.metrics["confusion_matrix"])
    assert (matrix.sum(), outcome.metrics["images"]) == (pixels, 7), "the end is measured on the test split"
    assert outcome.metrics["per_class"]["tree"]["iou"] is None, "it is in none of its images"
    assert outcome.metrics["per_class"]["ghost"]["pixels"] == 0
    assert outcome.facts["resident"]["train"]["bytes"] == 12 * 32 * 48 * 4


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_killed_and_resumed_ends_with_the_same_bits(masks: Store, monkeypatch, step: int) -> None:
    """In the middle of an epoch too: the confusion matrix of its first part is in the checkpoint."""
    spec = masks_spec(*ALL_OF_IT)
    whole = start_attempt(masks, spec)
    train_here(masks, whole, spec)
    first = start_attempt(masks, spec)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(step, patch)
        train_here(masks, first, spec)
    outcome = train_here(masks, first.run.claim("attempt", {}), spec)
    assert outcome.error is None
    assert_same_bits(final_weights(whole.run), final_weights(first.run))
    assert figures(whole.run) == figures(first.run)


def test_counts_are_those_before_the_kill(masks: Store, tmp_path) -> None:
    setup = setup_of(masks, tmp_path, *DEEPLAB)
    loop = Loop(setup)
    for name, tensor in loop.counts.items():
        tensor.copy_(torch.arange(tensor.numel()).view_as(tensor) + len(name))
    state = {
        "model": setup.model.state_dict(), "optimizer": setup.optimizer.state_dict(), "scaler": {}, "step": 1,
        "counts": {name: torch.stack([tensor, 2 * tensor]) for name, tensor in loop.counts.items()},
    }  # fmt: skip
    restored = Loop(setup_of(masks, tmp_path, *DEEPLAB))
    restored.restore(state)  # two workers' counts, taken up by one
    assert restored.step == 1
    assert all(torch.equal(restored.counts[name], 3 * tensor) for name, tensor in loop.counts.items())
    assert restored.counts["confusion"].dtype == torch.int64


@pytest.mark.slow
def test_resident_and_prefetched_end_in_the_same_weights(masks: Store) -> None:
    weights = []
    for resident in ("always", "never"):
        spec = masks_spec(*ALL_OF_IT, "train.epochs=1", f"data.resident={resident}")
        attempt = start_attempt(masks, spec)
        assert train_here(masks, attempt, spec).error is None
        weights.append(final_weights(attempt.run))
    assert_same_bits(*weights)


def test_augmentation_changes_training_and_not_evaluation(masks: Store, tmp_path) -> None:
    plain, augmented = (setup_of(masks, tmp_path, *DEEPLAB, f"data.augment={name}") for name in ("none", "camvid"))
    assert plain.evaluator.metrics(plain.val) == augmented.evaluator.metrics(augmented.val)
    inputs = []
    for setup in (plain, augmented):
        loop = Loop(setup)
        seen = []
        wrapped = setup.train_input

        def remembering(batch, wrapped=wrapped, seen=seen):
            images, targets = wrapped(batch)
            seen.append((images.clone(), targets.clone()))
            return images, targets

        setup.train_input = remembering
        loop.train_epoch(0)
        inputs.append(seen)
    for (images, targets), (changed, moved) in zip(*inputs, strict=True):
        assert images.shape == changed.shape
        assert (moved.dtype, moved.shape) == (torch.uint8, targets.shape)
        assert not torch.equal(moved, targets)
        assert (changed - images).abs().mean() > 0.05


def test_two_workers_measure_what_one_does(masks: Store) -> None:
    """7 test images over 2 workers, with the weights of the same checkpoint: the same counts, and kept in order."""
    spec = masks_spec(*DEEPLAB, "train.epochs=1")
    attempt = start_attempt(masks, spec)
    alone = train_here(masks, attempt, spec)
    again = attempt.run.claim("attempt", {})
    both = train_in_processes(masks, again, masks_spec(*DEEPLAB, "train.epochs=1", "resources.workers=2"), 2)
    assert (alone.error, both.error) == (None, None)
    one, other = read_outputs(attempt.store)["kept"], read_outputs(again.store)["kept"]
    assert list(one) == list(other)
    assert one["masks"].shape == (7, 32, 48)
    # Batches of other sizes round otherwise: a pixel whose best two logits are that near may change sides.
    assert (one["masks"] != other["masks"]).mean() < 1e-3
    np.testing.assert_allclose(one["nll_sums"], other["nll_sums"], rtol=1e-4)
    assert both.metrics["pixels"] == alone.metrics["pixels"] == 7 * 32 * 48
    for key in ("loss", "miou", "pixel_accuracy", "fwiou"):
        assert both.metrics[key] == pytest.approx(alone.metrics[key], abs=2e-3)
    assert np.array(both.metrics["confusion_matrix"]).tolist() == other["confusions"].sum(0).tolist()


@pytest.mark.slow
def test_two_workers_one_killed_with_9(masks: Store) -> None:
    spec = masks_spec(*ALL_OF_IT, "resources.workers=2")
    whole, attempt = start_attempt(masks, spec), start_attempt(masks, spec)
    complete = train_in_processes(masks, whole, spec, 2)
    train_in_processes(masks, attempt, spec, 2, die_at=5)
    resumed = train_in_processes(masks, attempt.run.claim("attempt", {}), spec, 2)
    assert complete.error is None
    assert resumed.metrics == complete.metrics
    assert_same_bits(final_weights(whole.run), final_weights(attempt.run))


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (("train.ignore=[trees]",), 'train.ignore.0: the dataset tinymasks has no class "trees"'),
        (("train.ignore=[sky, rod]",), 'train.ignore.1: the dataset tinymasks has no class "rod"'),
        (("train.ignore=[sky, road, car, tree]",), "train.ignore: names every class that the training images hold"),
        (("train.batch=16",), "train.batch: 16 is more than the 12 training samples"),
    ],
)
def test_what_the_dataset_cannot_give(masks: Store, tmp_path, sets: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError) as caught:
        setup_of(masks, tmp_path, *sets)
    assert told in str(caught.value)


def test_a_dataset_of_labels_is_none_of_masks(root: Store, tmp_path) -> None:
    with pytest.raises(UserError, match=r"is for classification .* and the job's task is segmentation"):
        setup_of(root, tmp_path, "data.name=tiny")


def test_segnet_overfits_two_images(tmp_path) -> None:
    """In evaluation mode, so with running statistics that have arrived."""
    root = open_store(str(tmp_path / "storage"))
    drawn = draw_split(2, 0, with_trees=True)
    small = Drawn(
        resized(torch.from_numpy(drawn.images), (32, 48)).numpy(),
        resized_masks(torch.from_numpy(drawn.masks), (32, 48)).numpy(),
    )
    pack_masks(root, "tinymasks", {"train": small, "val": small})
    sets = ("train.lr=3e-3", "train.schedule=cosine", "train.class_weights=median_frequency")
    setup = setup_of(root, tmp_path, "train.epochs=20", "train.batch=2", *sets)
    before = setup.evaluator.metrics(setup.train)
    loop = Loop(setup)
    rows = []
    for epoch in range(20):
        loop.train_epoch(epoch)
        rows.append(setup.task.train_row(loop.counts)["train_loss"])
        for tensor in loop.counts.values():
            tensor.zero_()
    after = setup.evaluator.metrics(setup.train)
    assert rows[-1] < 0.25 * rows[0]
    assert before["miou"] < 0.35
    assert after["miou"] > 0.7
    assert after["loss"] < 0.5
