"""Which keys of a job file cannot stand together, each with the reason. JobSpec (spec.py) refuses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visionjobs.spec_sweep import sweep_problems

if TYPE_CHECKING:
    from visionjobs.spec import JobSpec

Problems = list[tuple[str, str]]
"""(the key to change, what is wrong with it)."""


def impossible(spec: JobSpec) -> Problems:
    """All that cannot work."""
    train, resources = spec.train, spec.resources
    found = _no_batches(spec) if train.epochs else []
    if train.precision == "fp16" and resources.gpus == 0:
        found.append(("train.precision", "fp16 needs a GPU, and resources.gpus is 0; expected auto, fp32 or bf16"))
    if train.freeze != "none" and spec.model.weights == "random":
        found.append(("train.freeze", f'"{train.freeze}" would keep random weights for ever: give model.weights too'))
    if spec.model.weights == "random" and spec.model.sha256:
        found.append(("model.sha256", "there is no file to check while model.weights is random"))
    if spec.name == "sweep" or spec.name.startswith("sweep_"):
        found.append(("name", f'"{spec.name}": the ids of sweeps begin so; expected a name that does not begin so'))
    if resources.workers % resources.workers_per_pod:
        found.append(
            (
                "resources.workers_per_pod",
                f"{resources.workers_per_pod} does not divide resources.workers = {resources.workers}",
            )
        )
    others = {
        "classification": _no_classification,
        "segmentation": _no_segmentation,
        "detection": _no_detection,
    }
    found += _no_training_loop(spec) if spec.task != "detection" else []
    return found + others[spec.task](spec) + sweep_problems(spec)


def _no_training_loop(spec: JobSpec) -> Problems:
    """What only a detection job can have."""
    train, found = spec.train, []
    if not train.epochs:
        found.append(("train.epochs", "0 is for detection; expected 1 or more"))
    if train.optimizer != "adam":
        found.append(("train.optimizer", f'"{train.optimizer}" is for detection; expected adam'))
    if spec.data.augment == "yolo":
        found.append(("data.augment", f'"yolo" is for detection, and the job\'s task is {spec.task}'))
    if spec.detect != type(spec.detect)():
        found.append(("detect", f"is for detection, and the job's task is {spec.task}; leave it out"))
    if spec.model.trust:
        found.append(("model.trust", "is for detection: weights of other tasks are never read as pickles"))
    return found


def _no_detection(spec: JobSpec) -> Problems:
    """What cannot be in a job of boxes."""
    train, data, found = spec.train, spec.data, []
    if sorted(set(spec.detect.floors)) != spec.detect.floors:
        found.append(("detect.floors", f"{spec.detect.floors} do not ascend; expected such as [0.001, 0.25]"))
    if any(side % 32 for side in data.size):
        found.append(("data.size", f"{data.size}: a detector takes multiples of 32 pixels"))
    if data.augment not in ("none", "yolo"):
        found.append(("data.augment", f'"{data.augment}" does not move boxes; expected none or yolo'))
    if not train.epochs and spec.model.weights == "random":
        found.append(("model.weights", "random, and train.epochs is 0: there is nothing to evaluate; give weights"))
    if train.schedule == "polynomial":
        found.append(("train.schedule", '"polynomial" is not for detection; expected constant or cosine'))
    if train.freeze == "encoder":
        found.append(("train.freeze", '"encoder" is for segmentation; expected none or backbone'))
    if train.checkpoint.unit != "epochs":
        found.append(("train.checkpoint.unit", "detection has checkpoints by epochs only"))
    plain: dict[str, tuple[Any, Any]] = {
        "data.copies": (data.copies, 0),
        "model.dropout": (spec.model.dropout, 0),
        "train.label_smoothing": (train.label_smoothing, 0),
        "train.class_weights": (train.class_weights, "none"),
        "train.ignore": (train.ignore, []),
        "train.compile": (train.compile, False),
    }
    found += [(key, f"is not for detection; expected {ours}") for key, (value, ours) in plain.items() if value != ours]
    return found


def _no_classification(spec: JobSpec) -> Problems:
    """What cannot be in a job of one label an image."""
    train, data = spec.train, spec.data
    found: Problems = []
    if data.augment == "camvid":
        found.append(("data.augment", '"camvid" is for segmentation; expected none or wildlife'))
    elif data.copies and data.augment == "none":
        found.append(("data.copies", f'{data.copies} augmented copies need data.augment, which is "none"'))
    elif data.augment != "none" and not data.copies:
        found.append(("data.augment", f'"{data.augment}" has no effect while data.copies is 0; expected 1 or more'))
    if train.class_weights != "none":
        found.append(("train.class_weights", f'"{train.class_weights}" is for segmentation; expected none'))
    if train.ignore:
        found.append(("train.ignore", "is for segmentation: every image of a classification job has its label"))
    return found


def _no_segmentation(spec: JobSpec) -> Problems:
    """What cannot be in a job of one label a pixel."""
    data = spec.data
    found: Problems = []
    if data.augment == "wildlife":
        found.append(("data.augment", '"wildlife" moves images and not their masks; expected none or camvid'))
    if data.copies:
        found.append(("data.copies", "is for classification: in segmentation each sample is augmented anew in "
                      "each epoch; expected 0"))  # fmt: skip
    if spec.model.dropout:
        found.append(("model.dropout", f"{spec.model.dropout} has no place in a segmentation model; expected 0"))
    return found


def _no_batches(spec: JobSpec) -> Problems:
    """A global batch that the workers cannot share."""
    batch, workers = spec.train.batch, spec.resources.workers
    if batch % workers:
        told = f"{batch} is not a multiple of resources.workers = {workers}, and every worker takes an equal part of "
        return [("train.batch", f"{told}the global batch")]
    if batch // workers < 2:
        told = f"{batch} leaves {batch // workers} sample to each of {workers} workers, and batch normalisation needs "
        return [("train.batch", f"{told}at least 2")]
    return []
