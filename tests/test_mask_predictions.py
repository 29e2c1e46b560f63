"""What is kept of a segmentation model's predictions, and which images a report shows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionjobs import scenes
from visionjobs.arrays import pack_arrays, unpack_arrays
from visionjobs.errors import UserError
from visionjobs.mask_predictions import MaskPredictions
from visionjobs.scenes import Scenes, image_ious, ranked, shown, worst_classes


def of_matrices(confusions: np.ndarray) -> MaskPredictions:
    """Predictions whose other arrays are of no interest."""
    n, k = confusions.shape[:2]
    return MaskPredictions(
        "test", tuple(f"class {i}" for i in range(k)), tuple(f"test/{i}.png" for i in range(n)),
        confusions.astype(np.int64), np.zeros(n), np.ones(n, np.int64), np.zeros((n, k, 4), np.int64),
        np.zeros((n, 2, 2), np.uint8),
    )  # fmt: skip


def of_ious(ious: list[float]) -> MaskPredictions:
    """Images of one class with these IoUs."""
    return of_matrices(np.array([[[round(1000 * iou), 1000 - round(1000 * iou)], [0, 0]] for iou in ious]))


def some(n: int = 5, k: int = 4) -> MaskPredictions:
    generator = np.random.default_rng(0)
    return MaskPredictions(
        "test", tuple(f"Straße {i}" for i in range(k)), tuple(f"test/süd {i}_L.png" for i in range(n)),
        generator.integers(2**40, size=(n, k, k)), generator.random(n), generator.integers(99, size=n),
        generator.integers(99, size=(n, k, 4)), generator.integers(k, size=(n, 6, 8)).astype(np.uint8),
    )  # fmt: skip


def some_scenes() -> Scenes:
    generator = np.random.default_rng(1)
    images, masks = (generator.integers(256, size=(3, 4, 5, *end)).astype(np.uint8) for end in ((3,), ()))
    return Scenes(np.array([1, 4, 9]), images, masks, np.array([0, 0, 2]), images, masks, images[:0], masks[:0],
                  images[:0, None], masks[:0, None])  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 5])
def test_predictions_come_back_as_they_were(n: int) -> None:
    given = some(n)
    found = MaskPredictions.from_npz(given.to_npz(), "a/test.npz")
    assert (found.split, found.classes, found.paths, len(found)) == ("test", given.classes, given.paths, n)
    for name in ("confusions", "nll_sums", "nll_pixels", "boundaries", "masks"):
        one, other = getattr(found, name), getattr(given, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_scenes_come_back_as_they_were() -> None:
    given = some_scenes()
    found = Scenes.from_npz(given.to_npz(), "samples.npz")
    for field in fields(Scenes):
        one, other = getattr(found, field.name), getattr(given, field.name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one, other)
    assert [found.place(row) for row in (0, 1, 4, 5, 9, 10)] == [None, 0, 1, None, 2, None]


@pytest.mark.parametrize("kind", [MaskPredictions, Scenes])
@pytest.mark.parametrize("damage", ["", "half", "flipped", "text"])
def test_a_damaged_file_is_told_by_its_name(kind: type[MaskPredictions | Scenes], damage: str) -> None:
    data = some().to_npz() if kind is MaskPredictions else some_scenes().to_npz()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
    broken = {"": b"", "half": data[:middle], "flipped": flipped, "text": b"no arrays"}[damage]
    with pytest.raises(UserError, match=r"runs/1/x\.npz is damaged"):
        kind.from_npz(broken, "runs/1/x.npz")


def test_a_file_that_lacks_an_array_is_told_by_its_name() -> None:
    arrays = unpack_arrays(some().to_npz(), "")
    del arrays["boundaries"], arrays["split"]
    with pytest.raises(
        UserError, match=r"x\.npz holds no predictions of masks \(boundaries, split are missing\).*evaluat"
    ):
        MaskPredictions.from_npz(pack_arrays(arrays), "x.npz")
    arrays = unpack_arrays(some_scenes().to_npz(), "")
    del arrays["truths"]
    with pytest.raises(UserError, match=r"x\.npz holds no scenes: truths are missing"):
        Scenes.from_npz(pack_arrays(arrays), "x.npz")


def test_the_iou_of_an_image_is_the_mean_over_its_own_classes() -> None:
    matrix = np.array([[[6, 2, 0], [1, 3, 0], [0, 0, 0]], [[0, 0, 4], [0, 0, 0], [0, 0, 0]]])
    # the first lacks class 2; the second has class 0 alone, and nothing right
    assert image_ious(of_matrices(matrix)) == pytest.approx([(6 / 9 + 3 / 6) / 2, 0.0])


@pytest.mark.parametrize(("n", "sizes"), [
    (0, {}), (1, {"best": 1}), (2, {"best": 1, "worst": 1}), (3, {"best": 1, "median": 1, "worst": 1}),
    (8, {"best": 2, "median": 2, "worst": 2}), (9, {"best": 3, "median": 3, "worst": 3}),
    (232, {"best": 3, "median": 3, "worst": 3}),
])  # fmt: skip
def test_how_many_images_are_ranked(n: int, sizes: dict[str, int]) -> None:
    found = ranked(of_ious([0.5] * n) if n else of_matrices(np.zeros((0, 2, 2))))
    assert {kind: len(rows) for kind, rows in found.items()} == sizes


def test_best_median_and_worst() -> None:
    found = ranked(of_ious([0.3, 0.9, 0.1, 0.5, 0.7, 0.2, 0.8, 0.4, 0.6, 1.0, 0.0]))
    assert {kind: rows.tolist() for kind, rows in found.items()} == {
        "best": [9, 1, 6], "median": [8, 3, 7], "worst": [5, 2, 10],
    }  # fmt: skip


@settings(max_examples=50)
@given(ious=st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), max_size=30))
def test_each_image_is_ranked_once_and_in_order(ious: list[float]) -> None:
    found = ranked(of_ious(ious)) if ious else {}
    rows = [int(row) for kind in ("best", "median", "worst") for row in found.get(kind, [])]
    assert len(set(rows)) == len(rows) == min(9, len(ious) // 3 * 3 or len(ious))
    assert [ious[row] for row in rows] == sorted((ious[row] for row in rows), reverse=True)
    if rows:
        assert ious[rows[0]] == max(ious)
        assert len(ious) == 1 or ious[rows[-1]] == min(ious)


def test_the_worst_classes_are_those_with_the_lowest_iou_that_occur() -> None:
    # rows: five classes of 100, 50, 10, 20 and no pixels, and one with an IoU of just over .5
    matrix = np.zeros((1, 6, 6), np.int64)
    matrix[0, 0] = [90, 0, 0, 0, 10, 0]  # IoU .9
    matrix[0, 1] = [0, 25, 0, 0, 25, 0]  # .5
    matrix[0, 2] = [0, 0, 0, 0, 10, 0]  # 0, 10 pixels
    matrix[0, 3] = [0, 0, 0, 0, 20, 0]  # 0, 20 pixels
    matrix[0, 5] = [0, 0, 0, 0, 49, 51]  # .51
    assert list(worst_classes(of_matrices(matrix))) == [3, 2, 1]


def test_of_a_worst_class_the_images_with_most_of_its_pixels_are_shown() -> None:
    matrices = np.zeros((6, 2, 2), np.int64)
    matrices[:, 0, 0] = 100
    matrices[:, 1, 0] = [0, 5, 9, 5, 0, 1]
    found = worst_classes(of_matrices(matrices))
    assert {k: rows.tolist() for k, rows in found.items()} == {1: [2, 1, 3]}
    matrices[[1, 2, 3], 1] = 0
    assert worst_classes(of_matrices(matrices))[1].tolist() == [5]


def test_a_model_without_low_classes_shows_none() -> None:
    assert worst_classes(of_ious([0.9, 0.8])) == {}


def test_the_shown_rows_are_sorted_without_repeats_and_the_same_after_storage() -> None:
    generator = np.random.default_rng(0)
    given = of_matrices(generator.integers(50, size=(40, 8, 8)))
    rows = shown(given)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert set(rows) == {
        int(row) for part in (ranked(given), worst_classes(given)) for at in part.values() for row in at
    }
    assert len(rows) <= 3 * scenes.RANKED + scenes.WORST_CLASSES * scenes.IMAGES_A_CLASS
    assert np.array_equal(shown(MaskPredictions.from_npz(given.to_npz(), "")), rows)
    assert np.array_equal(shown(replace(given, split="all", masks=given.masks[:0])), rows)  # of the counts alone


def test_nothing_is_shown_of_no_images() -> None:
    assert shown(of_matrices(np.zeros((0, 3, 3)))).tolist() == []
