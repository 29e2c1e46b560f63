"""A segmentation run evaluated again: on other splits and datasets, whose masks have the classes' numbers otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_root
from tiny_masks import CAR, CLASSES, COLOURS, SIZE, TREE, Drawn, draw_split, masks_spec, pack_masks
from torch import Tensor, nn

from visionjobs.data.catalog import find_dataset
from visionjobs.data.loader import IMAGENET_MEAN, IMAGENET_STD
from visionjobs.errors import UserError
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.models.trained import Trained
from visionjobs.runs import create_run
from visionjobs.scenes import Scenes
from visionjobs.storage import Store, open_store
from visionjobs.training.evaluate import Evaluation, Told, described_in_classes_of, evaluate_run

TOLD = Told(lambda _what, _total: lambda _count: None, lambda _count, _total: None, lambda _stage: None)
INK = np.array([[90, 140, 230], [110, 110, 110], [220, 40, 40], [30, 120, 30], [0, 0, 0]], np.uint8)
"""Each class's colour in the images, which the model below knows."""


class NearestInk(nn.Module):
    """The class whose ink is nearest, but that every car is taken for a tree."""

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(values)[None, :, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        rgb = 255 * (images * std + mean)
        logits = -((rgb[:, None] - torch.from_numpy(INK).float()[None, :, :, None, None]) ** 2).sum(2) / 1000
        return logits[:, [0, 1, TREE, CAR, 4]]


def inked(number: int, seed: int, with_trees: bool = False) -> Drawn:
    masks = draw_split(number, seed, with_trees).masks
    return Drawn(INK[masks], masks)


def pack_cars(root: Store, other: str = "road") -> Drawn:
    """The dataset "cars": cars are its class 0, and all else its class 1."""
    drawn = inked(6, 9)
    masks = (drawn.masks != CAR).astype(np.uint8)
    pack_masks(root, "cars", {"train": inked(2, 8), "val": Drawn(drawn.images, masks)}, ("car", other), COLOURS[:2])
    return Drawn(drawn.images, masks)


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "storage"))


@pytest.fixture
def trained(root: Store) -> Trained:
    splits = {"train": inked(4, 0, True), "val": inked(3, 1, True), "test": inked(5, 2)}
    manifest = pack_masks(root, "tinymasks", splits)
    spec = masks_spec(f"data.size={list(SIZE)}", "data.version=0123456789abcdef")
    run = create_run(root, spec, manifest.model_dump_json())
    return Trained(run, spec, manifest, NearestInk().eval(), torch.device("cpu"))


def evaluate(trained: Trained, root: Store, data: str, split: str) -> Evaluation:
    return evaluate_run(trained, find_dataset(root, data), split, Path(f"{root.address}-cache"), TOLD)


def metrics_of(evaluation: Evaluation) -> dict:
    return json.loads(evaluation.store.read("metrics.json"))


def test_the_own_test_split(trained: Trained, root: Store) -> None:
    evaluation, truths = evaluate(trained, root, "tinymasks", "test"), inked(5, 2).masks
    assert evaluation.own
    assert evaluation.store.address.endswith("/evaluations/test")
    predicted = MaskPredictions.from_npz(evaluation.store.read("predictions/test.npz"), "test")
    assert np.array_equal(predicted.masks, np.array([0, 1, TREE, CAR, 4], np.uint8)[truths])
    matrix = np.zeros((5, 5), np.int64)
    np.add.at(matrix, (truths, predicted.masks), 1)
    found = metrics_of(evaluation)
    assert found["split"] == "test"
    assert found["metrics"]["confusion_matrix"] == matrix.tolist()
    assert found["metrics"]["per_class"]["tree"]["iou"] is None, "there is none"
    assert found["metrics"]["per_class"]["car"]["iou"] == 0
    assert found["metrics"]["miou"] == pytest.approx(2 / 3)


def test_all_images(trained: Trained, root: Store) -> None:
    evaluation = evaluate(trained, root, "tinymasks", "all")
    assert not evaluation.own
    assert metrics_of(evaluation)["metrics"]["images"] == 12
    assert metrics_of(evaluation)["metrics"]["pixels"] == 12 * SIZE[0] * SIZE[1]


def test_another_dataset_with_fewer_classes_in_another_order(trained: Trained, root: Store) -> None:
    truths = pack_cars(root).masks
    evaluation = evaluate(trained, root, "cars", "val")
    assert not evaluation.own
    found, cars = metrics_of(evaluation)["metrics"], int((truths == 0).sum())
    others = truths.size - cars
    matrix = np.array(found["confusion_matrix"])
    assert matrix[CAR, TREE] == cars
    assert matrix[1].sum() == others, "what is no car is road, and sky is taken for sky"
    assert matrix.sum() == cars + others
    assert [found["per_class"][name]["pixels"] for name in CLASSES] == [0, others, cars, 0, 0]
    assert found["per_class"]["sky"]["iou"] is None
    kept = Scenes.from_npz(evaluation.store.read("predictions/samples.npz"), "samples")
    assert set(np.unique(kept.truths)) == {1, CAR}, "the report's masks have the run's numbers too"


def test_what_was_evaluated_is_described_with_the_runs_classes(trained: Trained, root: Store) -> None:
    pack_cars(root)
    cars = find_dataset(root, "cars").manifest
    described = described_in_classes_of(trained.dataset, cars)
    assert (described.name, described.classes, described.colours) == ("cars", list(CLASSES), COLOURS)
    assert described.counts["val"] == {"sky": 0, "road": 6, "car": 6, "tree": 0, "ghost": 0}
    assert described.pixels["val"]["car"] == cars.pixels["val"]["car"] > 0
    assert described.split_sizes == {"train": 2, "val": 6}


def test_unknown_classes_are_refused(trained: Trained, root: Store) -> None:
    pack_cars(root, "street")
    with pytest.raises(
        UserError, match=r"classes that the run does not know: street\. The run's classes are: sky, road"
    ):
        evaluate(trained, root, "cars", "val")
    assert not trained.run.store.folders("evaluations")


def test_a_dataset_for_the_other_task_is_refused(trained: Trained, root: Store, tmp_path: Path) -> None:
    tiny_root(tmp_path)
    said = r"the dataset tiny \w+ is for classification, and run tinymasks-.* was trained for segmentation: .*has masks"
    with pytest.raises(UserError, match=said):
        evaluate(trained, root, "tiny", "val")
    assert not trained.run.store.folders("evaluations")
