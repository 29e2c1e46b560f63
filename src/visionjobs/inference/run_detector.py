"""A detection run's detector: the weights that it was finished with, ready to be asked."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from visionjobs.inference.detector import Detector, detector_config
from visionjobs.models.trained import read_weights
from visionjobs.models.yolo_weights import given_weights
from visionjobs.runs import Run
from visionjobs.spec import JobSpec
from visionjobs.storage import OnBytes, Store


@dataclass(frozen=True)
class RunDetector:
    """spec: as the run was made."""

    run: Run
    spec: JobSpec
    detector: Detector


def load_run_detector(
    run: Run, root: Store, cache: Path, *, floor: float | None, device: str, threads: int,
    on_bytes: OnBytes | None = None,
) -> RunDetector:  # fmt: skip
    """floor: the least confidence of a box, None: the job's highest.

    Of a run that trained, its own weights, verified by the sha256 in its record; of one with train.epochs 0 those that
    it was given, verified by the sha256 that its spec was pinned to.
    Raises UserError where they are missing, or cannot be used; FinalError where they are damaged.
    """
    spec = run.spec_now()
    floor = spec.detect.floors[-1] if floor is None else floor
    if spec.train.epochs:
        data, _ = read_weights(run, spec)
        with tempfile.TemporaryDirectory(prefix="visionjobs-weights-") as folder:
            path = Path(folder, f"{spec.name}.pth")
            path.write_bytes(data)
            return RunDetector(run, spec, Detector(detector_config(spec, path, floor, device, threads)))
    found = given_weights(spec, root, cache, on_bytes)
    return RunDetector(run, spec, Detector(detector_config(spec, found, floor, device, threads)))
