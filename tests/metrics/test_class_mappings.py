"""The tables that fold CamVid's 32 classes: whole, and as the labels that the literature uses have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.metrics.class_mappings import CAMVID11, CAMVID11_IGNORED, VOID, ClassMapping, mappings_for

CLASSES = list(CAMVID)

PAINTED_AS = {name: members[0] for name, members in CAMVID11.items()}
"""The 12-class labels use the colour of each group's first class, and Void's."""

THIN = {"SUVPickupTruck": 0.9, VOID: 0.86, "Column_Pole": 0.85}
"""Classes whose pixels lie at edges, or are few: the share that agrees is smaller."""


def group(mapping: ClassMapping, name: str) -> str | None:
    number = mapping.numbers[CLASSES.index(name)]
    return None if number is None else mapping.names[number]


def test_each_of_the_32_classes_is_in_one_group_or_ignored() -> None:
    members = [name for names in CAMVID11.values() for name in names]
    assert sorted([*members, *CAMVID11_IGNORED]) == sorted(CAMVID)
    assert len(CAMVID11) == 11


def test_camvid11() -> None:
    mapping = mappings_for(CLASSES)["camvid11"]
    assert mapping.names == (
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    )  # fmt: skip
    found = {name: group(mapping, name) for name in ("Wall", "LaneMkgsDriv", "Truck_Bus", "Child", "Archway", VOID)}
    assert found == {"Wall": "Building", "LaneMkgsDriv": "Road", "Truck_Bus": "Car", "Child": None, "Archway": None,
                     VOID: None}  # fmt: skip
    assert sum(number is None for number in mapping.numbers) == 5


def test_camvid31_is_all_but_void_in_their_order() -> None:
    mapping = mappings_for(CLASSES)["camvid31"]
    assert mapping.names == tuple(name for name in CLASSES if name != VOID)
    assert all(group(mapping, name) == (None if name == VOID else name) for name in CLASSES)


def test_the_order_of_the_classes_does_not_matter() -> None:
    backwards = CLASSES[::-1]
    for key, mapping in mappings_for(backwards).items():
        for name, number in zip(backwards, mapping.numbers, strict=True):
            assert (None if number is None else mapping.names[number]) == group(mappings_for(CLASSES)[key], name)


@pytest.mark.parametrize("classes", [[], ["cat", "dog"], CLASSES[:-1], [*CLASSES, "Cat"], [*CLASSES[:-1], CLASSES[0]]])
def test_other_classes_have_none(classes: list[str]) -> None:
    assert mappings_for(classes) == {}


def decoded(file: Path) -> np.ndarray:
    """Class numbers of a label, int64 [H, W]; colours of no class raise."""
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(np.int64) @ [65_536, 256, 1]
    codes = np.array(list(CAMVID.values())) @ [65_536, 256, 1]
    order = np.argsort(codes)
    found = order[np.searchsorted(codes[order], pixels).clip(max=31)]
    assert (codes[found] == pixels).all(), file
    return found


def test_camvid11_is_what_the_labels_that_come_with_segnet_have(test_data: Path) -> None:
    genuine, painted = test_data / "camvid32", test_data / "camvid12_recoloured"
    if not (genuine.is_dir() and painted.is_dir()):
        pytest.skip(f"no {genuine.name} or {painted.name} in {test_data}")
    files = sorted(genuine.glob("*_labels/*.png"))
    assert len(files) == 101
    pairs = np.zeros((32, 32), np.int64)
    for file in files:
        true, said = decoded(file), decoded(painted / file.parent.name / file.name)
        pairs += np.bincount((true * 32 + said).ravel(), minlength=1024).reshape(32, 32)
    mapping = mappings_for(CLASSES)["camvid11"]
    present = [name for at, name in enumerate(CLASSES) if pairs[at].any()]
    assert len(present) == 23
    agreed = {name: pairs[CLASSES.index(name), CLASSES.index(PAINTED_AS.get(str(group(mapping, name)), VOID))]
              for name in present}  # fmt: skip
    for name, pixels in agreed.items():
        assert pixels / pairs[CLASSES.index(name)].sum() > THIN.get(name, 0.93), name
    assert sum(agreed.values()) / pairs.sum() > 0.989
