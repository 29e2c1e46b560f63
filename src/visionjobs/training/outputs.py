"""What the workers hand to the finaliser at the end of training: `attempts/<n>/outputs.npz`, deleted when it is used.

The workers have the device, and the finaliser writes the run folder: they are different processes, on a cluster
perhaps on different machines.
"""

from __future__ import annotations

from typing import Any

from visionjobs.arrays import Arrays, pack_arrays, unpack_arrays
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.models import model_entry
from visionjobs.runs import OUTPUTS, Attempt
from visionjobs.storage import Store
from visionjobs.training.setup import Setup


def last_evaluation(setup: Setup) -> tuple[dict[str, Any], dict[str, Arrays]]:
    """The metrics of the final weights, and by group ("kept", "train", "val") what is kept. All workers call it."""
    evaluator = setup.evaluator
    metrics, kept = evaluator.metrics_and_samples(setup.measured_images())
    groups = {"kept": kept}
    layer = model_entry(setup.spec).features
    if layer is not None:
        groups |= {"train": evaluator.features(setup.train, layer), "val": evaluator.features(setup.val, layer)}
    return metrics, groups


def write_outputs(attempt: Attempt, groups: dict[str, Arrays]) -> None:
    """Store them in the attempt's folder. Raises SupersededError, StorageError."""
    arrays = {f"{group}/{name}": array for group, found in groups.items() for name, array in found.items()}
    attempt.write(OUTPUTS, pack_arrays(arrays))


def read_outputs(attempt_store: Store) -> dict[str, Arrays]:
    """What `write_outputs` stored. Raises VisionjobsError where it is not whole: the run may be continued."""
    try:
        arrays = unpack_arrays(attempt_store.read(OUTPUTS), f"{attempt_store.address}/{OUTPUTS}")
    except UserError as error:
        raise VisionjobsError(f"{error}; continue the run to evaluate it again") from error
    groups: dict[str, Arrays] = {}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = array
    return groups
