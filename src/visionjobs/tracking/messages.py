"""What the driver tells the process that writes to wandb: plain values, no wandb object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Plan:
    """Which run is written. folder: for all that wandb writes; key: of the API, None to write an offline run there;
    group: of runs that belong together."""

    run_id: str
    project: str
    config: dict[str, Any]
    folder: str
    key: str | None = field(default=None, repr=False)
    group: str | None = None


@dataclass(frozen=True)
class Rows:
    """The next epochs of the history, in order, the first one being the run's first: numbers by column."""

    rows: list[dict[str, float]]


@dataclass(frozen=True)
class Table:
    """A row has a value a column: text, a number, or None for what does not exist."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]


@dataclass(frozen=True)
class Chart:
    """A table drawn as one of wandb's own charts. preset: its name; fields: the preset's field -> column."""

    title: str
    preset: str
    table: Table
    fields: dict[str, str]


@dataclass(frozen=True)
class Picture:
    """pixels: uint8 RGB [H, W, 3]."""

    pixels: npt.NDArray[np.uint8]
    caption: str


@dataclass(frozen=True)
class Final:
    """What a complete run ends with, each by wandb's key. figures: PNG files."""

    metrics: dict[str, float]
    tables: dict[str, Table]
    charts: dict[str, Chart]
    pictures: dict[str, tuple[Picture, ...]]
    figures: dict[str, bytes]


@dataclass(frozen=True)
class End:
    """Nothing follows. final: None where the run is not complete; exit_code: 0 where it is."""

    final: Final | None
    exit_code: int
