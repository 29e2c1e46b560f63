"""The folder of a finished segmentation run, each number against the stored masks and those of the dataset."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from tiny import ending, finish, start_attempt
from tiny_masks import CLASSES, SIZES, masks_root, masks_spec

from visionjobs import mask_predictions, scenes
from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.loader import resized, resized_masks
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.models.trained import load_trained
from visionjobs.report.build import build_report
from visionjobs.report.load import load_summary
from visionjobs.runs import OUTPUTS, Run
from visionjobs.scenes import Scenes
from visionjobs.storage import Store
from visionjobs.training import driver

SIZE = (32, 48)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return masks_root(tmp_path_factory.mktemp("finish"))


@pytest.fixture(scope="module")
def run(masks: Store) -> Run:
    """One epoch, with everything switched on that a run may have."""
    sets = ("model.name=deeplabv3_mobilenet_v3_large", "train.epochs=1", "train.checkpoint.unit=epochs",
            "data.augment=camvid", "train.ignore=[tree]", "train.schedule=cosine")  # fmt: skip
    spec = driver.pin_inputs(masks, masks_spec(*sets), ending(masks).cache)
    return finish(masks, start_attempt(masks, spec), spec)


@pytest.fixture(scope="module")
def dataset(masks: Store, tmp_path_factory: pytest.TempPathFactory) -> LocalDataset:
    return fetch(find_dataset(masks, "tinymasks"), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def predicted(run: Run) -> MaskPredictions:
    key = mask_predictions.KEY.format(split="test")
    return MaskPredictions.from_npz(run.store.read(key), key)


@pytest.fixture(scope="module")
def shown(run: Run) -> Scenes:
    return Scenes.from_npz(run.store.read(scenes.KEY), scenes.KEY)


@pytest.fixture(scope="module")
def metrics(run: Run) -> dict:
    found = json.loads(run.store.read("metrics.json"), parse_constant=pytest.fail)
    assert (found["split"], found["task"], found["job"]) == ("test", "segmentation", "tinymasks")
    return found["metrics"]


@pytest.fixture(scope="module")
def truth(dataset: LocalDataset) -> np.ndarray:
    """uint8 [7, 32, 48], made small here by plain indexing: 40 -> 32 and 56 -> 48 take the pixel at each centre."""
    whole = dataset.split("test").read_masks(np.arange(7))
    rows = ((2 * np.arange(32) + 1) * 40) // 64
    columns = ((2 * np.arange(48) + 1) * 56) // 96
    return whole[:, rows][:, :, columns]


def test_the_folder_is_complete(run: Run) -> None:
    keys = {entry.key for entry in run.store.entries()}
    needed = {"spec.yaml", "record.json", "metrics.json", "predictions/test.npz", "predictions/samples.npz",
              "weights/tinymasks.pth", "report/report.html", "dataset.json"}  # fmt: skip
    assert needed <= keys
    assert not [key for key in keys if key.endswith(OUTPUTS)]
    assert run.record()["state"] == "complete"


def test_matrix_and_ratios_are_sklearns(metrics: dict, predicted: MaskPredictions, truth: np.ndarray) -> None:
    y, z = truth.reshape(-1), predicted.masks.reshape(-1)
    matrix = confusion_matrix(y, z, labels=range(5))
    assert metrics["confusion_matrix"] == matrix.tolist()
    assert metrics["pixels"] == len(y) == matrix.sum()
    assert metrics["images"] == 7
    assert metrics["pixel_accuracy"] == pytest.approx((y == z).mean(), abs=1e-12)
    present = sorted(set(y.tolist()))
    ious = jaccard_score(y, z, labels=present, average=None)
    assert metrics["miou"] == pytest.approx(ious.mean(), abs=1e-12)
    assert [metrics["per_class"][CLASSES[k]]["iou"] for k in present] == pytest.approx(ious.tolist(), abs=1e-12)
    shares = np.bincount(y, minlength=5)[present] / len(y)
    assert metrics["fwiou"] == pytest.approx(float(shares @ ious), abs=1e-12)
    assert metrics["per_class"]["ghost"] == metrics["per_class"]["tree"] == {
        "accuracy": None, "iou": None, "dice": None, "precision": None, "recall": None, "pixels": 0,
    }  # fmt: skip
    assert "camvid11" not in metrics, "these are not CamVid's classes"


def test_each_image_s_matrix_is_its_own(predicted: MaskPredictions, truth: np.ndarray) -> None:
    assert predicted.paths == tuple(f"test/{k:02}.png" for k in range(7))
    for row in range(7):
        expected = confusion_matrix(truth[row].ravel(), predicted.masks[row].ravel(), labels=range(5))
        np.testing.assert_array_equal(predicted.confusions[row], expected)


def test_loss_boundary_and_intervals_agree_with_what_is_stored(metrics: dict, predicted: MaskPredictions) -> None:
    assert metrics["loss"] == pytest.approx(predicted.nll_sums.sum() / predicted.nll_pixels.sum(), rel=1e-9)
    road = metrics["boundary"]["per_class"]["road"]
    assert road["pixels"] == predicted.boundaries[:, 1, 2].sum()
    assert set(metrics["boundary"]) == {"tolerance", "f", "per_class"}
    intervals = metrics["intervals"]
    for name in ("miou", "pixel_accuracy", "fwiou", "loss"):
        low, high = intervals[name]
        assert low <= high
        assert low - 1e-9 <= metrics[name] <= high + 1e-9 or name != "pixel_accuracy"


def test_stored_weights_give_the_stored_masks(run: Run, dataset: LocalDataset, predicted: MaskPredictions) -> None:
    weights = run.store.read("weights/tinymasks.pth")
    assert run.record()["weights"] == {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)}
    trained = load_trained(run, torch.device("cpu"))
    images = resized(torch.from_numpy(dataset.split("test").read_all()), SIZE)
    floats = images.permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = trained.model.eval()((floats - mean[:, None, None]) / std[:, None, None])
    assert (logits.argmax(1).numpy() != predicted.masks).mean() < 1e-3
    truth = resized_masks(torch.from_numpy(dataset.split("test").read_masks(np.arange(7))), SIZE).long()
    nll = torch.nn.functional.cross_entropy(logits, truth, reduction="none").flatten(1).sum(1)
    np.testing.assert_allclose(predicted.nll_sums, nll.numpy(), rtol=1e-3)
    assert predicted.nll_pixels.tolist() == [SIZE[0] * SIZE[1]] * 7, "the ignored tree is in no test image"


def test_scenes_are_test_images_and_their_truth(
    shown: Scenes, predicted: MaskPredictions, dataset: LocalDataset, truth: np.ndarray
) -> None:
    assert shown.index.tolist() == scenes.shown(predicted).tolist()
    np.testing.assert_array_equal(shown.truths, truth[shown.index])
    images = resized(torch.from_numpy(dataset.split("test").read(shown.index)), SIZE).numpy()
    np.testing.assert_array_equal(shown.images, images)


def test_examples_are_the_training_images_with_most_of_a_class(shown: Scenes, dataset: LocalDataset) -> None:
    assert shown.example_classes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3], "two of each but the ghost"
    train = dataset.split("train")
    whole = train.read_masks(np.arange(SIZES["train"]))
    most = [int(np.argmax((whole == k).sum((1, 2)))) for k in range(4)]
    expected = resized_masks(torch.from_numpy(whole[most]), SIZE).numpy()
    np.testing.assert_array_equal(shown.examples[::2], expected)
    np.testing.assert_array_equal(shown.example_images[::2], resized(torch.from_numpy(train.read(most)), SIZE).numpy())


def test_augmented_images_stand_beside_their_originals(shown: Scenes) -> None:
    assert shown.originals.shape == (3, *SIZE, 3)
    assert shown.augmented.shape == (3, 3, *SIZE, 3)
    assert shown.augmented_masks.shape == (3, 3, *SIZE)
    for original, mask, copies, moved in zip(
        shown.originals, shown.original_masks, shown.augmented, shown.augmented_masks, strict=True
    ):
        assert all(np.abs(copy.astype(int) - original).mean() > 1 for copy in copies)
        assert not np.array_equal(moved[0], moved[1]), "each in its own way"
        assert set(np.unique(moved)) <= set(np.unique(mask))


def test_the_report_is_that_of_the_folder_alone(run: Run) -> None:
    rebuilt = build_report(load_summary(run))
    stored = {entry.key for entry in run.store.at("report").entries()}
    assert stored == set(rebuilt)
    assert [key for key, data in rebuilt.items() if run.store.read(f"report/{key}") != data] == []
