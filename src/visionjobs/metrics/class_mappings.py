"""Tables that fold the 32 classes of CamVid into those that the literature reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

VOID = "Void"

CAMVID11: dict[str, tuple[str, ...]] = {
    "Sky": ("Sky",),
    "Building": ("Building", "Wall", "Bridge", "Tunnel", "Archway"),
    "Pole": ("Column_Pole", "TrafficCone"),
    "Road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
    "Pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
    "Tree": ("Tree", "VegetationMisc"),
    "SignSymbol": ("SignSymbol", "Misc_Text", "TrafficLight"),
    "Fence": ("Fence",),
    "Car": ("Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"),
    "Pedestrian": ("Pedestrian", "Child", "CartLuggagePram", "Animal"),
    "Bicyclist": ("Bicyclist", "MotorcycleScooter"),
}


@dataclass(frozen=True)
class Mapping32:
    """names: J class names; numbers: of each of the K classes the place in names, None where it is ignored."""

    names: tuple[str, ...]
    numbers: tuple[int | None, ...]


def mappings_for(classes: Sequence[str]) -> dict[str, Mapping32]:
    """ "camvid11" and "camvid31" (without Void), where `classes` are CamVid's; {} for any others."""
    groups = [name for members in CAMVID11.values() for name in members]
    if sorted(classes) != sorted([*groups, VOID]):
        return {}
    place = {name: number for number, members in enumerate(CAMVID11.values()) for name in members}
    without = tuple(name for name in classes if name != VOID)
    return {
        "camvid11": Mapping32(tuple(CAMVID11), tuple(place.get(name) for name in classes)),
        "camvid31": Mapping32(without, tuple(None if name == VOID else without.index(name) for name in classes)),
    }
