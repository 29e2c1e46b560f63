"""The raw layouts that can be imported, by name: a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from visionjobs.data.camvid import SIZE, import_camvid
from visionjobs.data.coco import import_coco
from visionjobs.data.importing import ImportResult
from visionjobs.data.sample_camvid import draw_camvid
from visionjobs.data.sample_coco import draw_coco
from visionjobs.data.sample_wildlife import draw_wildlife
from visionjobs.data.wildlife import import_wildlife


@dataclass(frozen=True)
class Layout:
    """import_raw: as import_wildlife; draw_sample: as draw_wildlife.

    size, sample_size: (height, width) that images are packed at if nothing else is asked for, those of the sample; None
    where each image keeps its own, and import_raw takes no size; has_splits: whether the raw files say which split an
    image is in, so that there is nothing to draw; has_download: whether the raw files can be fetched.
    """

    import_raw: Callable[..., ImportResult]
    draw_sample: Callable[..., None]
    size: tuple[int, int] | None
    sample_size: tuple[int, int] | None
    has_splits: bool
    has_download: bool = False


LAYOUTS = {
    "wildlife": Layout(import_wildlife, draw_wildlife, (224, 224), (224, 224), has_splits=False),
    "camvid": Layout(import_camvid, draw_camvid, SIZE, (90, 120), has_splits=True),
    "coco": Layout(import_coco, draw_coco, None, None, has_splits=True, has_download=True),
}
