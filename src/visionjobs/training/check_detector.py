"""What can be told of a detection job's weights before Ray is started and a run is made."""

from __future__ import annotations

from pathlib import Path

from visionjobs.data.manifest import Manifest
from visionjobs.errors import UserError
from visionjobs.inference.class_map import class_map
from visionjobs.inference.detector import Detector, detector_config
from visionjobs.models.yolo_weights import check_trusted, load_detection_state
from visionjobs.spec import JobSpec


def check_detector(spec: JobSpec, weights: Path, dataset: Manifest) -> list[str]:
    """Open the weights as they will be opened, on the CPU. Returns warnings.

    Raises UserError where they cannot be used: damaged, of another input size, without a class of the dataset's; or,
    where the job trains, an .onnx file.
    """
    check_trusted(spec, weights)
    if spec.train.epochs:
        if weights.suffix == ".onnx":
            raise UserError(
                f"{spec.name}: model.weights: {weights} can be evaluated (train.epochs: 0), not trained further; "
                "expected random, or a .pt or .pth"
            )
        load_detection_state(weights)
        return []
    warnings: list[str] = []
    detector = Detector(detector_config(spec, weights, spec.detect.floors[0], "cpu", threads=1))
    class_map(detector.classes, dataset.classes, warnings.append)
    if detector.architecture not in ("", spec.model.name):
        warnings.append(
            f"model.name is {spec.model.name}, and {weights.name} says that it is {detector.architecture}: what is "
            f"told of the model by its name is of another one; set model.name={detector.architecture}"
        )
    return warnings
