"""JobSpec: the typed contents of a job file. Every key that a user may write stands here, with its default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from visionjobs.spec_combinations import impossible
from visionjobs.spec_section import Section
from visionjobs.spec_sweep import Sweep

JOB_NAME = r"^[a-z][a-z0-9_]{0,24}$"
"""A job's name: short enough that `<name>-<date>-<time>-<hash>` is a Kubernetes label of at most 47 characters."""

DATASET_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"

WANDB_PROJECT = r"^[^/\\#?%:\s]([^/\\#?%:]{0,126}[^/\\#?%:\s])?$"
"""What wandb takes for the name of a project."""

QUANTITY = r"^[1-9][0-9]*(Mi|Gi)$"
SHA256 = r"^[0-9a-f]{64}$"

PATTERNS = {
    JOB_NAME: "a letter, then at most 24 lower-case letters, digits and _",
    DATASET_NAME: "at most 63 lower-case letters, digits, - and _",
    WANDB_PROJECT: "at most 128 characters, none of them / \\ # ? % or :, and no space at either end",
    QUANTITY: "an amount such as 512Mi or 4Gi",
    SHA256: "64 hexadecimal digits in lower case",
}
"""What each pattern asks for, in words for the message of an error."""

Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256)]


class Model(Section):
    """Which architecture, and with which weights it starts."""

    name: str = Field(description="a name from models/")
    weights: str = Field(
        "random", description="random, a name of torchvision's or ultralytics', a file or a storage address"
    )
    sha256: Sha256 | None = Field(None, description="expected sha256 of the weights file")
    trust: bool = Field(False, description="load a .pt of unknown sha256 all the same: it may run any code (detection)")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the features before the last layer that is dropped")


class Data(Section):
    """Which packed dataset, at which size, and how the training samples are augmented."""

    name: Annotated[str, StringConstraints(pattern=DATASET_NAME)]
    version: str = Field("newest", description="newest, or the version that `visionjobs data list` shows")
    size: Annotated[list[Annotated[int, Field(ge=16, le=4096)]], Field(min_length=2, max_length=2)] = Field(
        default=[224, 224], description="height, width in pixels"
    )
    augment: Literal["none", "wildlife", "camvid", "yolo"] = Field(
        "none",
        description="wildlife (data/augment.py) changes the copies; camvid (data/augment_masks.py) every sample; yolo: "
        "what ultralytics does to every sample",
    )
    copies: int = Field(0, ge=0, le=32, description="augmented copies of each image in an epoch, besides the original")
    resident: Literal["auto", "always", "never"] = Field("auto", description="keep the dataset in device memory")
    resident_fraction: float = Field(0.5, gt=0, le=0.95, description="largest share of the device memory it may take")


class Checkpoint(Section):
    """How often the state is written to storage."""

    every: int = Field(1, ge=1)
    unit: Literal["epochs", "steps"] = "epochs"


class Train(Section):
    """How the model is trained."""

    epochs: int = Field(10, ge=0, le=100_000, description="0: the weights are evaluated as they are (detection)")
    batch: int = Field(32, ge=1, le=1_000_000, description="global batch, over all workers")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="adamw and sgd: detection only")
    lr: float = Field(1e-3, gt=0, le=10)
    schedule: Literal["constant", "polynomial", "cosine"] = Field(
        "constant", description="of the learning rate over all steps (training/schedule.py)"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**31)
    class_weights: Literal["none", "median_frequency"] = Field("none", description="of the loss (segmentation)")
    ignore: list[str] = Field(default=[], description="classes whose pixels have no part in the loss (segmentation)")
    freeze: Literal["none", "backbone", "encoder"] = Field(
        "none", description="what is not trained, if the model has it"
    )
    compile: bool = False
    checkpoint: Checkpoint = Checkpoint()


class Detect(Section):
    """How boxes are predicted and evaluated (detection)."""

    floors: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1, max_length=4)] = Field(
        default=[0.001, 0.25],
        description="confidence floors, ascending: boxes above the first are stored, and evaluated above each",
    )
    nms_iou: float = Field(0.7, gt=0, le=1, description="of two boxes of a class with a larger IoU one is dropped")
    max_det: int = Field(300, ge=1, le=3000, description="boxes kept of an image, the most confident ones")
    batch: int = Field(16, ge=1, le=1024, description="images that a predictor takes at once")


class Resources(Section):
    """What each run may use. `cpus`, `gpus` and `memory` are for each worker."""

    workers: int = Field(1, ge=1, le=1024)
    gpus: Literal["auto"] | Annotated[int, Field(ge=0, le=1)] = "auto"
    cpus: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = "auto"
    memory: Quantity = "8Gi"
    workers_per_pod: int = Field(1, ge=1, le=64, description="on a cluster: workers that share a pod, and so a node")


class Limits(Section):
    """Bounds on retries and time."""

    attempts: int = Field(10, ge=1, le=1000, description="attempts of one run, all together")
    worker_failures: int = Field(3, ge=0, le=100, description="restarts of the workers within one attempt")
    hours: float | None = Field(None, gt=0, description="longest time of one attempt")


class Wandb(Section):
    """Whether the run is mirrored in Weights & Biases, and in which project."""

    mode: Literal["auto", "online", "offline", "off"] = Field(
        "auto", description="auto: online when WANDB_API_KEY is set, else offline into the run folder"
    )
    project: Annotated[str, StringConstraints(pattern=WANDB_PROJECT)] = "visionjobs"

    @field_validator("mode", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        """To YAML, `off` without quotes is false."""
        return "off" if value is False else value


class Published(Section):
    """A published figure to stand beside ours."""

    value: float
    source: Annotated[str, StringConstraints(min_length=1)]


class JobSpec(Section):
    """A job file. The name is the file's own, without `.yaml`."""

    name: Annotated[str, StringConstraints(pattern=JOB_NAME)]
    task: Literal["classification", "segmentation", "detection"]
    model: Model
    data: Data
    train: Train = Train()
    detect: Detect = Detect()
    resources: Resources = Resources()
    limits: Limits = Limits()
    wandb: Wandb = Wandb()
    published: dict[str, Published] = Field(default={})
    sweep: Sweep | None = Field(None, description="what `visionjobs sweep` searches")

    @model_validator(mode="after")
    def _combinations(self) -> JobSpec:
        """Refuse what cannot work. Each message begins with the key to change."""
        for key, problem in impossible(self):
            raise ValueError(f"{key}: {problem}")
        return self


CHANGEABLE = ("train.epochs", "resources.", "limits.", "wandb.")
"""What `--run ID --set` may change: keys, or sections that end with a dot."""


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'train': {'lr': .1}} -> {'train.lr': .1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(old: JobSpec, new: JobSpec) -> dict[str, tuple[Any, Any]]:
    """Key -> (old value, new value), for every key whose value differs."""
    a, b = flatten(old.model_dump(mode="json")), flatten(new.model_dump(mode="json"))
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


def is_changeable(key: str, allowed: Sequence[str] = CHANGEABLE) -> bool:
    """Whether what is continued may take another value for `key`. allowed: keys, or sections that end with a dot."""
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in allowed)
