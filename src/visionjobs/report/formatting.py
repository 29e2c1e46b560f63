"""Values as a reader sees them. What does not exist is "n/a", never 0."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

NOT_AVAILABLE = "n/a"
MINUS = "\N{MINUS SIGN}"


def _exists(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def decimal(value: float | None, digits: int = 4) -> str:
    """0.64273 -> '0.6427'."""
    return f"{value:.{digits}f}".replace("-", MINUS) if value is not None and _exists(value) else NOT_AVAILABLE


def signed(value: float | None, digits: int = 4) -> str:
    """0.01 -> '+0.0100'; what rounds to nothing carries no sign."""
    if value is None or not _exists(value):
        return NOT_AVAILABLE
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", MINUS)


def percent(share: float | None) -> str:
    """0.256 -> '25.6 %'."""
    return f"{100 * share:.1f} %" if share is not None and _exists(share) else NOT_AVAILABLE


def count(value: float | None) -> str:
    """9334 -> '9,334'."""
    return f"{value:,.0f}" if value is not None and _exists(value) else NOT_AVAILABLE


def memory(size: float | None) -> str:
    """Bytes -> '1.5 GiB' or '312 MiB'."""
    if size is None or not _exists(size):
        return NOT_AVAILABLE
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def duration(seconds: float | None) -> str:
    """75 -> '1 min 15 s'."""
    if seconds is None or not _exists(seconds):
        return NOT_AVAILABLE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(text: Any) -> str:
    """An ISO 8601 time, as records have it -> '2026-05-04 10:11:12 UTC'; anything else as it is."""
    try:
        return f"{datetime.fromisoformat(str(text)).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return plain(text)


def plain(value: Any) -> str:
    """Any single value of a record: numbers short, text as it is."""
    if value is None or value == "":
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else NOT_AVAILABLE
    return str(value)
