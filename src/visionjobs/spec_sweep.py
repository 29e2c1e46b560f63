"""The `sweep:` section of a job file: what is searched, by which metric, and with how much of the machine.

sweep:
  metric: val_accuracy
  trials: 16
  space:
    train.lr: {loguniform: [1e-4, 1e-2]}
    train.batch: {choice: [16, 32, 64]}
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from visionjobs.errors import nearest
from visionjobs.spec_section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionjobs.spec import JobSpec

METRICS = {
    "classification": ("val_accuracy", "val_loss"),
    "segmentation": ("val_miou", "val_pixel_accuracy", "val_loss"),
    "detection": ("val_map", "val_map50"),
}
"""Task -> the columns of its runs' history that a sweep may go by, its main one first."""

NO_SECTION = "has no sweep: section, which says what to search; the README shows one, and so does jobs/convnet.yaml"
"""Said of a job."""

FIXED = (
    "name", "task", "data.name", "data.version", "data.resident", "data.resident_fraction", "model.sha256",
    "model.trust", "train.epochs", "published", "sweep",
)  # fmt: skip
FIXED_SECTIONS = ("resources.", "limits.", "wandb.", "published.", "sweep.", "train.checkpoint.", "detect.")
"""Keys that are no hyperparameters: they say what is trained, how long, or on what, or change nothing that the metric
after an epoch would show (detect: of the boxes that are kept at the end; ultralytics validates with its own)."""

KINDS = ("choice", "uniform", "loguniform", "int")

Scalar = bool | int | float | str
Choices = Annotated[list[Scalar | list[int] | list[str]], Field(min_length=1, max_length=100)]
Bounds = Annotated[list[float], Field(min_length=2, max_length=2)]
WholeBounds = Annotated[list[Annotated[int, Field(ge=-(2**53), le=2**53)]], Field(min_length=2, max_length=2)]


class Domain(Section):
    """The values of one parameter: exactly one of the four is given.

    choice: one of these. uniform, loguniform: a real number from the first to the second, uniform as it is or in its
    logarithm. int: a whole number from the first to the second, both included.
    """

    choice: Choices | None = None
    uniform: Bounds | None = None
    loguniform: Bounds | None = None
    int: WholeBounds | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Domain:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "nothing"
            raise ValueError(f"expected exactly one of {', '.join(KINDS)}; found {found}")
        if given[0] == "choice":
            return self
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"{given[0]}: expected a smaller number, then a larger one; found {low}, {high}")
        if given[0] == "loguniform" and low <= 0:
            raise ValueError(f"loguniform: {low} has no logarithm; expected numbers above 0")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the kinds that it is not."""
        return {key: value for key, value in handler(self).items() if value is not None}

    @property
    def kind(self) -> str:
        """Which of KINDS."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value, of all but a choice."""
        low, high = getattr(self, self.kind)
        return low, high

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the domain's."""
        if self.choice is not None:
            return any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in self.choice)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.bounds
        return low <= value <= high and (self.int is None or float(value).is_integer())

    def corners(self) -> list[Any]:
        """Values whose validity stands for that of all: each choice, or both ends."""
        return list(self.choice) if self.choice is not None else list(getattr(self, self.kind))


class Sweep(Section):
    """Which trials a sweep makes of its job. Trial 0 is the job as it is."""

    metric: str = Field(description="a column of the history: val_accuracy, val_miou, val_map, val_loss, ...")
    mode: Literal["auto", "max", "min"] = Field("auto", description="auto: min of a loss, max of anything else")
    trials: int = Field(16, ge=1, le=10_000)
    space: Annotated[dict[str, Domain], Field(min_length=1, max_length=50)]
    search: Literal["random", "tpe"] = Field("random", description="tpe: Optuna's tree-structured Parzen estimator")
    scheduler: Literal["asha", "none"] = Field("asha", description="asha: the worse ones of a rung are stopped early")
    grace: int = Field(1, ge=1, description="epochs before which no trial is stopped (asha)")
    reduction: int = Field(3, ge=2, le=10, description="of a rung, the best one in so many goes on (asha)")
    at_once: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="trials at the same time; auto: what the machine holds, on a cluster at most 4"
    )
    gpus: Literal["auto"] | Annotated[float, Field(ge=0.01, le=1)] = Field(
        "auto", description="of each worker of a trial, instead of resources.gpus; 0.5: two trials share a GPU"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of the search; each trial has train.seed")

    @property
    def maximise(self) -> bool:
        """Whether a higher value of the metric is better."""
        return not self.metric.endswith("loss") if self.mode == "auto" else self.mode == "max"


def sweep_problems(spec: JobSpec) -> list[tuple[str, str]]:
    """(key, what is wrong with it), of the sweep section against the job that it belongs to."""
    sweep = spec.sweep
    if sweep is None:
        return []
    found = []
    if not spec.train.epochs:
        found.append(("sweep", "this job trains nothing (train.epochs is 0): there is nothing to search"))
    known = METRICS[spec.task]
    if sweep.metric not in known:
        told = f'a {spec.task} job reports no "{sweep.metric}" after an epoch; expected one of {", ".join(known)}.'
        found.append(("sweep.metric", told + nearest(sweep.metric, known)))
    if sweep.grace > max(spec.train.epochs, 1):
        found.append(("sweep.grace", f"{sweep.grace} is more than train.epochs = {spec.train.epochs}"))
    if sweep.gpus != "auto" and sweep.gpus < 1 and spec.resources.workers > 1:
        told = f"{sweep.gpus} of a GPU, but workers of one trial cannot share a GPU; expected 1"
        found.append(("sweep.gpus", told))
    for key, domain in sweep.space.items():
        found += [(f"sweep.space.{key}", problem) for problem in _space_problems(spec, key, domain)]
    return found


def _space_problems(spec: JobSpec, key: str, domain: Domain) -> list[str]:
    from visionjobs.spec import flatten

    keys = flatten(spec.model_dump(mode="json", exclude={"sweep", "published"}))
    if key in FIXED or key.startswith(FIXED_SECTIONS):
        return [
            "is no hyperparameter (it says what is trained, how long, on what or where): every trial has the job's own"
        ]
    if key not in keys:
        searchable = [name for name in keys if name not in FIXED and not name.startswith(FIXED_SECTIONS)]
        same = [name for name in searchable if name.rpartition(".")[2] == key.rpartition(".")[2]]  # lr: train.lr
        hint = f' Did you mean "{same[0]}"?' if same else nearest(key, searchable)
        return [f"the job has no such key; expected one of {', '.join(searchable)}.{hint}"]
    if domain.kind != "choice" and (problems := _range_problems(keys[key], domain)):
        return problems
    return [why for value in domain.corners() if (why := _never_fits(spec, key, value)) is not None]


def _never_fits(spec: JobSpec, key: str, value: Any) -> str | None:
    """What is wrong with `value` for this key, whatever the others are (train.lr cannot be -1); None where it fits."""
    from visionjobs.jobfile_messages import expected_and_found
    from visionjobs.spec import JobSpec

    try:
        JobSpec.model_validate(with_parameters(spec, {key: value}))
    except ValidationError as error:
        own = [detail for detail in error.errors() if detail["loc"]]  # what cannot stand together has no place
        return expected_and_found(own) if own else None
    return None


def with_parameters(spec: JobSpec, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The job as plain values, without its sweep section and with other values of some keys. A sha256 is of the job's
    own weights, and does not hold for others."""
    tree: dict[str, Any] = spec.model_dump(mode="json", exclude={"sweep"})
    weights = parameters.get("model.weights", spec.model.weights), parameters.get("model.name", spec.model.name)
    if weights != (spec.model.weights, spec.model.name):
        tree["model"]["sha256"] = None
    for key, value in parameters.items():
        *sections, last = key.split(".")
        node = tree
        for name in sections:
            node = node[name]
        node[last] = value
    return tree


def _range_problems(own: Any, domain: Domain) -> list[str]:
    if isinstance(own, bool) or not isinstance(own, int | float):
        return [f"its values are no numbers (the job's own is {own!r}): give them as choice: [...]"]
    if isinstance(own, int) and domain.kind != "int":
        return [f"its values are whole numbers: give int: [{math.ceil(domain.bounds[0])}, {int(domain.bounds[1])}]"]
    return []
