"""The parts of a prediction: each image once, kept apart by weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from visionjobs.errors import SupersededError
from visionjobs.runs import Attempt, Run
from visionjobs.storage import open_store
from visionjobs.training.box_parts import BoxPart, delete_parts, in_truth_classes, read_parts, write_part

ONE, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run("yolo-1", open_store(str(tmp_path)).at("runs", "yolo-1"))


def part(done: list[int], images: list[int], score: float = 0.5) -> BoxPart:
    number = len(images)
    return BoxPart(
        done=np.array(done),
        images=np.array(images, np.int64),
        categories=np.arange(number) % 3,
        boxes=np.arange(4.0 * number).reshape(-1, 4),
        scores=np.full(number, score),
        classes=np.array(["cat", "dog", "fish"]),
        device=np.array("cpu"),
    )


def test_parts_of_several_attempts_are_one_and_each_image_counts_once(run: Run) -> None:
    first, second = Attempt(run, 1), Attempt(run, 2)
    write_part(first, ONE, part([0, 1], [0, 0, 1], 0.1))
    run.store.write("attempts/0002/claim.json", "{}")
    write_part(second, ONE, part([1, 2], [1, 2, 2], 0.2))
    write_part(second, ONE, part([3], [], 0.2))
    write_part(second, OTHER, part([4], [4], 0.9))
    found = read_parts(run, ONE, print)
    assert found is not None
    assert found.done.tolist() == [0, 1, 2, 3]
    assert found.images.tolist() == [0, 0, 1, 2, 2]
    assert found.scores.tolist() == [0.1, 0.1, 0.1, 0.2, 0.2]
    assert found.boxes.shape == (5, 4)
    assert found.classes.tolist() == ["cat", "dog", "fish"]
    with pytest.raises(SupersededError):
        write_part(first, ONE, part([5], []))


def test_no_part_is_nothing(run: Run) -> None:
    assert read_parts(run, ONE, print) is None
    write_part(Attempt(run, 1), ONE, part([0], [0]))
    assert read_parts(run, OTHER, print) is None
    delete_parts(run)
    assert read_parts(run, ONE, print) is None


def test_a_damaged_part_is_told_and_its_images_are_predicted_again(run: Run) -> None:
    write_part(Attempt(run, 1), ONE, part([3], [3]))
    write_part(Attempt(run, 1), ONE, part([7], [7]))
    entry = run.store.entries("attempts")[-1]
    run.store.write(entry.key, run.store.read(entry.key)[:-40])
    told: list[str] = []
    found = read_parts(run, ONE, told.append)
    assert found is not None
    assert found.done.tolist() == [3]
    assert "part-00000007.npz is damaged" in told[0]
    assert "predicted again" in told[0]
    assert len(run.store.entries("attempts")) == 1


def test_boxes_of_classes_that_the_dataset_lacks_are_dropped() -> None:
    found = in_truth_classes(part([2, 0, 1], [2, 2, 0, 0]), np.array([5, -1, 1]))
    assert found.images.tolist() == [0, 0, 2]
    assert found.categories.tolist() == [1, 5, 5]
    assert found.boxes[:, 0].tolist() == [8, 12, 0]
    assert len(in_truth_classes(part([0], []), np.array([0, 1, 2]))) == 0
