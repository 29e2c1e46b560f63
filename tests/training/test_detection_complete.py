"""What a finished prediction becomes: boxes, annotations, curves and the images of the report."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionjobs import box_scenes
from visionjobs.box_scenes import LABEL_ERROR, WORST, BoxScenes
from visionjobs.boxes import Detections, Truth
from visionjobs.coco_json import ANNOTATIONS, RESULTS, read_annotations, read_results
from visionjobs.detection_curves import KEY as CURVES
from visionjobs.metrics.detection import evaluate
from visionjobs.metrics.tide import ERRORS
from visionjobs.tasks.base import Completed
from visionjobs.tasks.detection import complete, complete_file
from visionjobs.training.evaluate_files import ImageFolder

FLOORS = (0.01, 0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    for number in range(3):
        Image.new("RGB", (1000, 500), (80 * number, 10, 20)).save(path / f"{number}.jpg")
    return path


def truth_of_three() -> Truth:
    boxes = np.array([[0, 0, 100, 100], [300, 100, 50, 50], [10, 10, 30, 30], [500, 100, 60, 60]], float)
    return Truth(
        image_ids=np.array([11, 22, 33]), paths=("0.jpg", "1.jpg", "2.jpg"), image_sizes=np.full((3, 2), [500, 1000]),
        category_ids=np.array([3, 7]), classes=("cat", "dog"), annotation_ids=np.arange(4) + 1,
        images=np.array([0, 0, 1, 1]), categories=np.array([0, 1, 0, 0]), boxes=boxes, areas=boxes[:, 2] * boxes[:, 3],
        crowd=np.zeros(4, bool),
    )  # fmt: skip


def found_in_three() -> Detections:
    """Image 0: one right, one of another class, one below all floors; image 1: nothing; image 2: background."""
    return Detections(
        images=np.array([0, 0, 0, 2]),
        categories=np.array([0, 0, 1, 1]),
        boxes=np.array([[0, 0, 100, 100], [300, 100, 50, 50], [1, 1, 5, 5], [600.12345, 200, 40, 40]]),
        scores=np.array([0.9, 0.8, 0.001, 0.7]),
    )


@pytest.fixture(scope="module")
def completed(folder: Path) -> Completed:
    truth = truth_of_three()
    return complete(truth, found_in_three(), FLOORS, ImageFolder(truth, folder), lambda _: None)


def scenes_of(completed: Completed) -> BoxScenes:
    return BoxScenes.from_npz(completed.files[box_scenes.KEY], "scenes")


def test_files_are_what_the_metrics_are_of(completed: Completed) -> None:
    truth = read_annotations(completed.files[ANNOTATIONS], "annotations")
    found = read_results(completed.files[RESULTS], "results", truth)
    assert len(found) == 3  # what is below every floor is not kept
    assert found.boxes[2].tolist() == [600.123, 200, 40, 40]
    assert evaluate(truth, found, FLOORS).to_dict() == completed.metrics
    assert json.loads(completed.files[RESULTS])[1]["category_id"] == 3
    assert CURVES in completed.files


def test_worst_images_and_suspects_have_all_their_boxes(completed: Completed) -> None:
    scenes = scenes_of(completed)
    assert scenes.kinds.tolist() == [WORST, WORST, WORST, LABEL_ERROR, LABEL_ERROR]
    # image 1 misses both of its boxes; images 0 and 2 have one error each
    assert scenes.paths.tolist() == ["1.jpg", "0.jpg", "2.jpg", "0.jpg", "2.jpg"]
    assert np.bincount(scenes.truth_scenes, minlength=5).tolist() == [2, 2, 0, 2, 0]
    assert np.bincount(scenes.scenes, minlength=5).tolist() == [0, 2, 1, 2, 1]
    assert scenes.truth_missed.tolist() == [True, True, False, False, False, False]
    errors = [ERRORS[code] for code in scenes.errors]
    assert errors == ["none", "Cls", "Bkg", "none", "Cls", "Bkg"]
    assert scenes.suspect.tolist() == [False, False, False, False, True, True]
    assert scenes.sizes.tolist() == [[500, 1000]] * 5


def test_images_are_scaled_down_and_whole(completed: Completed) -> None:
    scenes = scenes_of(completed)
    for scene, name in enumerate(scenes.paths.tolist()):
        image = Image.open(io.BytesIO(scenes.jpeg(scene)))
        assert image.size == (640, 320)
        assert abs(image.getpixel((100, 100))[0] - 80 * int(name[0])) < 8


def test_sizes_are_those_of_the_images_where_the_annotations_do_not_tell(folder: Path) -> None:
    truth = replace(truth_of_three(), image_sizes=np.zeros((3, 2), np.int64))
    completed = complete(truth, found_in_three(), FLOORS, ImageFolder(truth, folder), lambda _: None)
    assert scenes_of(completed).sizes.tolist() == [[500, 1000]] * 5


def test_a_file_of_results_is_kept_and_measured_as_it_is() -> None:
    """Scores of another program may differ by less than we would write: that decides which detection comes first."""
    truth, found = truth_of_three(), found_in_three()
    twice = Detections(*(np.repeat(getattr(found, name), 2, axis=0) for name in ("images", "categories", "boxes")),
                       scores=np.array([0.9, 0.9 - 1e-12, 0.8, 0.8, 0.1, 0.1, 0.7, 0.2499999999]))  # fmt: skip
    completed = complete_file(truth, b"theirs", twice, FLOORS, None, lambda _: None)
    assert completed.files[RESULTS] == b"theirs"
    assert completed.metrics == evaluate(truth, twice, FLOORS).to_dict()
    assert completed.metrics["floors"]["0.25"]["detections"] == 5
    assert box_scenes.KEY not in completed.files


def test_without_any_error_there_is_no_scene(folder: Path) -> None:
    truth = truth_of_three()
    perfect = Detections(truth.images, truth.categories, truth.boxes, np.full(4, 0.9))
    completed = complete(truth, perfect, FLOORS, ImageFolder(truth, folder), lambda _: None)
    assert len(scenes_of(completed)) == 0
