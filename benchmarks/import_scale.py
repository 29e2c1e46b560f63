"""(d) Importing ten times as many images: the peak memory stays, the time is linear.

Each import runs in a process of its own (import_process.py), which tells its seconds and its peak memory.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.measure import Comparison, Goal, Measured, Plan, Row, alternate, column
from benchmarks.photos import DRAWN_SIZE, ROOT, draw_photos
from visionjobs.errors import VisionjobsError

IMAGES = (2_000, 20_000)
TOY = (60, 120)
GOAL = Goal("<=", 1.2)
MIB = 2**20


def measure(plan: Plan) -> Measured:
    """ratio = of many / of few images: peak resident memory, seconds an image."""
    few, many = TOY if plan.quick else IMAGES
    sides = {}
    for count in (few, many):
        plan.on_progress(f"drawing {count:,} images", 0, 1)
        source = draw_photos(plan.scratch / str(count), count)
        sides[str(count)] = partial(_import, source, count, plan.scratch / "storage")
    rows = alternate(sides, plan.rounds, plan.on_progress, what="imports", warm_up=False)
    drawn = f"{DRAWN_SIZE[0]}x{DRAWN_SIZE[1]} px, packed at 224x224"
    anonymous = [median(column(rows, str(count), "peak_anonymous_mib")) for count in (many, few)]
    notes = {
        "peak_mib": f"{drawn}; without mapped files {anonymous[0]:.0f} and {anonymous[1]:.0f} MiB",
        "ms_per_image": f"{drawn}; without the start of the process",
    }
    comparisons = [
        Comparison(
            what=f"import of {many:,} / of {few:,} images: {what}",
            unit=unit,
            ours=column(rows, str(many), key),
            other=column(rows, str(few), key),
            goal=GOAL,
            note=notes[key],
        )
        for what, unit, key in (("peak memory", "MiB", "peak_mib"), ("time an image", "ms", "ms_per_image"))
    ]
    return Measured(rows, comparisons)


def _import(source: Path, count: int, storage: Path) -> Row:
    """Import `source` in a process of its own; what it stored is deleted."""
    command = [sys.executable, "-m", "benchmarks.import_process", str(source), str(storage)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    shutil.rmtree(storage, ignore_errors=True)
    if done.returncode:
        raise VisionjobsError(f"the import of {source} ended with status {done.returncode}")
    told = json.loads(done.stdout.splitlines()[-1])
    if told["images"] != count:
        raise VisionjobsError(f"{source}: {told['images']} images were imported, expected {count}")
    return {
        "images": count,
        "seconds": told["seconds"],
        "ms_per_image": told["seconds"] / count * 1000,
        "peak_mib": told["peak_bytes"] / MIB,
        "peak_anonymous_mib": told["peak_anonymous_bytes"] / MIB,
    }
