"""From a model's classes to a dataset's categories, by their names: COCO's 80 classes have numbers from 1 to 90."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from visionjobs.boxes import Ints
from visionjobs.errors import UserError

NONE = -1
"""Of a class that the dataset lacks."""


def class_map(
    model_classes: Sequence[str], categories: Sequence[str], warn: Callable[[str], None] = lambda _message: None
) -> Ints:
    """int64 [model classes]: index into the dataset's categories, NONE where it lacks the class.

    A detection of a class that is NONE has to be dropped. warn: called with what either side lacks.
    Raises UserError where no name is on both sides, or a name is twice on one.
    """
    for names, whose in ((model_classes, "the model's classes"), (categories, "the dataset's categories")):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            raise UserError(f"the names of {whose} must tell them apart; more than once there: {_listed(twice)}")
    places = {name: number for number, name in enumerate(categories)}
    lacking = [name for name in model_classes if name not in places]
    never = [name for name in categories if name not in set(model_classes)]
    if len(lacking) == len(model_classes):
        raise UserError(
            f"the model and the dataset have no class in common. The model's: {_listed(model_classes)}. The dataset's: "
            f"{_listed(categories)}. Expected the same names: take another model, or rename the categories"
        )
    if lacking:
        warn(f"the dataset lacks {len(lacking)} of the model's classes; their boxes are dropped: {_listed(lacking)}")
    if never:
        warn(f"the model lacks {len(never)} of the dataset's categories, and finds none of them: {_listed(never)}")
    return np.array([places.get(name, NONE) for name in model_classes], np.int64)


def _listed(names: Sequence[str], shown: int = 10) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
