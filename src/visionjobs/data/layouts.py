"""The raw layouts that can be imported, by name: a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from visionjobs.data.sample_wildlife import draw_wildlife
from visionjobs.data.wildlife import ImportResult, import_wildlife


@dataclass(frozen=True)
class Layout:
    """import_raw: as import_wildlife; draw_sample: as draw_wildlife."""

    import_raw: Callable[..., ImportResult]
    draw_sample: Callable[..., None]


LAYOUTS = {"wildlife": Layout(import_wildlife, draw_wildlife)}
