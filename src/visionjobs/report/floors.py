"""What a detection run measured, by confidence floor: its metrics in the order in which pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionjobs.report.formatting import count
from visionjobs.report.summary import RunSummary

Floor = Mapping[str, Any]

PARTS = {"all": "All", "small": "Small", "medium": "Medium", "large": "Large"}
"""boxes.SIZES, as a page calls them."""

SIZES_DEFINED = (
    "Small objects have an area below 32\N{SUPERSCRIPT TWO} pixels, medium ones below 96\N{SUPERSCRIPT TWO}, large "
    "ones the rest."
)


def floors(run: RunSummary) -> dict[str, Floor]:
    """Floor -> its metrics, ascending; {} before the run was evaluated."""
    found = run.values.get("floors") or {}
    return {key: found[key] for key in sorted(found, key=float)}


def counted(number: float, singular: str, plural: str = "") -> str:
    """'1 box', '2,000 boxes'."""
    return f"{count(number)} {singular if number == 1 else plural or singular + 's'}"


def listed(words: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
