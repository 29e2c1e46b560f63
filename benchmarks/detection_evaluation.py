"""(f) The whole evaluation of a detector at the scale of val2017 against pycocotools' COCOeval alone.

Each evaluation runs in a process of its own (detection_process.py), on detections that are simulated around the true
boxes of 4,952 images: as many as a detector has at confidence .25, and as many as at .001.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.measure import Comparison, Goal, Measured, Plan, Row, SkippedError, alternate, column
from benchmarks.photos import ROOT
from visionjobs.errors import VisionjobsError

FILE = Path("coco_val2017_scale") / "instances_val2017_derived_all4952.json"
OURS, OTHER = "visionjobs", "pycocotools"
GOAL = Goal("<=", 1)
LIMIT_MIB = 4e9 / 2**20
"""The peak memory is to stay below 4 GB."""


@dataclass(frozen=True)
class Case:
    """number: of detections, from confidence `floor` on."""

    number: int
    floor: float


CASES = (Case(34_600, 0.25), Case(800_000, 0.001))
TOY = (Case(1_000, 0.001),)


def measure(plan: Plan) -> Measured:
    """ratio = seconds of the whole evaluation / of COCOeval; its peak memory / the limit."""
    annotations = Path(os.environ.get("VISIONJOBS_TEST_DATA", ROOT.parent / "shared" / "data")) / FILE
    if not annotations.is_file():
        raise SkippedError(f"no true boxes: {annotations} is not a file (set VISIONJOBS_TEST_DATA)")
    rows: list[Row] = []
    comparisons: list[Comparison] = []
    for case in TOY if plan.quick else CASES:
        sides = {side: partial(_evaluate, side, annotations, case) for side in (OURS, OTHER)}
        what = f"{case.number:,} detections"
        found = alternate(sides, plan.rounds, plan.on_progress, what=what, warm_up=False)
        if len({round(ap, 9) for side in sides for ap in column(found, side, "ap")}) > 1:
            raise VisionjobsError(f"the two sides tell different APs of the same {what}")
        constant: Row = {"detections": case.number, "floor": case.floor}
        rows += [constant | row for row in found]
        comparisons += _compare(what, found)
    return Measured(rows, comparisons)


def _compare(what: str, rows: list[Row]) -> list[Comparison]:
    peaks = {side: column(rows, side, "peak_mib") for side in (OURS, OTHER)}
    return [
        Comparison(
            what=f"evaluation of {what}: all of ours / pycocotools' COCOeval alone",
            unit="s",
            ours=column(rows, OURS, "seconds"),
            other=column(rows, OTHER, "seconds"),
            goal=GOAL,
            note="the twelve numbers, TIDE for all and by size in two readings, calibration; COCOeval's evaluate and "
            "accumulate, its two sides loaded",
        ),
        Comparison(
            what=f"evaluation of {what}: peak memory / 4 GB",
            unit="MiB",
            ours=peaks[OURS],
            other=[LIMIT_MIB] * len(peaks[OURS]),
            goal=GOAL,
            note=f"of the whole process; COCOeval's {median(peaks[OTHER]):,.0f} MiB",
        ),
    ]


def _evaluate(side: str, annotations: Path, case: Case) -> Row:
    command = [sys.executable, "-m", "benchmarks.detection_process", side, str(annotations), str(case.floor)]
    done = subprocess.run([*command, str(case.number)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise VisionjobsError(f"the evaluation by {side} ended with status {done.returncode}")
    told = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": told["seconds"], "peak_mib": told["peak_bytes"] / 2**20, "ap": told["ap"]}
