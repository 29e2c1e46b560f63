"""(e) The colours of a label -> class numbers: our table look-up against the experiments' dictionary, pixel by pixel.

Both begin with the decoded RGB pixels of a 960x720 label, CamVid's own size, and end with a class number a pixel.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.measure import Comparison, Goal, Measured, Plan, Row, alternate, column
from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.colours import ColourTable
from visionjobs.data.sample_camvid import draw_scene
from visionjobs.errors import VisionjobsError

SIZE, TOY = (720, 960), (72, 96)
LABELS = 4
"""Different ones, drawn road scenes."""

REPEATS = {"table": 25, "dictionary": 1}
"""How often a round decodes each label: the fast side more often, so that both last long enough to be measured."""

VOID = list(CAMVID).index("Void")
GOAL = Goal(">=", 100)

Pixels = npt.NDArray[np.uint8]


def measure(plan: Plan) -> Measured:
    """ratio = labels a second of the table / of the dictionary."""
    size = TOY if plan.quick else SIZE
    table = ColourTable(CAMVID.values())
    drawn = [draw_scene(number, np.random.default_rng(number))[1] for number in range(LABELS)]
    labels = [
        table.paint(np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST)))
        for mask in drawn
    ]
    numbers = {colour: number for number, colour in enumerate(CAMVID.values())}
    sides: dict[str, Callable[[Pixels], object]] = {"table": table.numbers, "dictionary": partial(_looked_up, numbers)}
    for label in labels:
        if not np.array_equal(table.numbers(label), _looked_up(numbers, label).numpy()):
            raise VisionjobsError("the two sides decode a label differently")
    rows = alternate(
        {side: partial(_decode, decode, labels, REPEATS[side]) for side, decode in sides.items()},
        plan.rounds,
        plan.on_progress,
        what="labels",
    )
    comparison = Comparison(
        what="colours of a label to class numbers, table / dictionary",
        unit="labels/s",
        ours=column(rows, "table", "labels_per_second"),
        other=column(rows, "dictionary", "labels_per_second"),
        goal=GOAL,
        note=f"{size[1]}x{size[0]} px, {LABELS} drawn labels, one thread, without decoding the PNG; the experiments' "
        "dictionary is asked pixel by pixel",
    )
    return Measured(rows, [comparison])


def _looked_up(numbers: dict[tuple[int, int, int], int], label: Pixels) -> torch.Tensor:
    """As in the experiments (question 3, part 1 (a)): uint8 [H, W, 3] -> int64 [H, W]."""
    height, width, _ = label.shape
    colours = torch.from_numpy(label).view(-1, 3).tolist()
    mapped = [numbers.get(tuple(colour), VOID) for colour in colours]
    return torch.tensor(mapped, dtype=torch.int64).view(height, width)


def _decode(decode: Callable[[Pixels], object], labels: list[Pixels], repeats: int) -> Row:
    begin = time.perf_counter()
    for label in labels * repeats:
        decode(label)
    seconds = time.perf_counter() - begin
    count = len(labels) * repeats
    return {
        "labels": count,
        "seconds": seconds,
        "ms_per_label": seconds / count * 1000,
        "labels_per_second": count / seconds,
    }
