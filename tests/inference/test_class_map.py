"""The model's classes among the dataset's categories, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionjobs.coco_json import read_annotations
from visionjobs.errors import UserError
from visionjobs.inference.class_map import NONE, class_map
from visionjobs.inference.detector_onnx import OnnxNetwork

NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True)


def refuse(message: str) -> None:
    raise AssertionError(message)


def test_the_80_classes_of_yolo_are_coco_s_categories(test_data: Path) -> None:
    import torch

    network = OnnxNetwork(str(test_data / "weights/yolov8n_int8.onnx"), (640, 640), torch.device("cpu"), 1)
    file = test_data / "coco_val2017_genuine/annotations/instances_val2017.json"
    truth = read_annotations(file.read_bytes(), str(file))
    numbers = truth.category_ids[class_map(network.classes, truth.classes, refuse)]
    assert len(numbers) == 80
    assert numbers[[0, 11, 12, 68, 79]].tolist() == [1, 13, 14, 78, 90]  # person, stop sign (11 -> 13), ..., toothbrush


@given(NAMES, NAMES)
def test_each_class_goes_to_its_own_name_and_all_that_is_missing_is_told(model: list[str], dataset: list[str]) -> None:
    told: list[str] = []
    common = set(model) & set(dataset)
    if not common:
        with pytest.raises(UserError, match="no class in common"):
            class_map(model, dataset, told.append)
        return
    mapped = class_map(model, dataset, told.append)
    assert mapped.dtype == np.int64
    assert [None if place == NONE else dataset[place] for place in mapped] == [
        name if name in common else None for name in model
    ]
    assert len(told) == bool(set(model) - common) + bool(set(dataset) - common)


def test_what_is_missing_is_named() -> None:
    told: list[str] = []
    mapped = class_map(["cat", "unicorn", "dog"], ["dog", "cat", "bird"], told.append)
    assert mapped.tolist() == [1, NONE, 0]
    assert told == [
        "the dataset lacks 1 of the model's classes; their boxes are dropped: unicorn",
        "the model lacks 1 of the dataset's categories, and finds none of them: bird",
    ]


def test_no_common_name_names_both_sides() -> None:
    with pytest.raises(UserError, match=r"The model's: Cat\. The dataset's: a, b, c, d, e, f, g, h, i, j and 2 more"):
        class_map(["Cat"], list("abcdefghijkl"))


@pytest.mark.parametrize(("model", "dataset", "whose"), [("aab", "ab", "model"), ("ab", "abb", "dataset")])
def test_a_name_that_is_twice_there_is_refused(model: str, dataset: str, whose: str) -> None:
    with pytest.raises(UserError, match=f"{whose}'s (classes|categories) must tell them apart"):
        class_map(list(model), list(dataset))
