"""State dicts: read from files without running code in them, checked key by key, loaded into a model."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from visionjobs.errors import UserError

_SHOWN = 8


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A file of names -> tensors, on the CPU. Raises UserError for anything else; code in the file is never run."""
    return state_dict_in(path, str(path))


def state_dict_in(file: Path | io.BytesIO, source: str) -> dict[str, Tensor]:
    """The same for an open file; `source` is named in errors."""
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error}") from error
    except Exception as error:  # torch.load raises whatever the file's bytes made it trip over
        raise UserError(
            f"{source}: is not a file of tensors that torch.save wrote: it is damaged, of another format, or has code "
            "in it, which is never run (torch.load with weights_only=True)"
        ) from error
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"{source}: expected a state dict (names -> tensors), found {type(loaded).__name__}")
    others = [key for key, value in loaded.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others:
        raise UserError(f"{source}: expected a state dict (names -> tensors); these are no tensors: {_listed(others)}")
    return dict(loaded)


def load_into(
    model: nn.Module, state: Mapping[str, Tensor], head: Sequence[str], source: str, optional: Sequence[str] = ()
) -> None:
    """Copy `state` into `model`, without the `head` keys where their first axis, the number of classes, differs.

    Parts of the model (`optional`: how their keys begin) of which `state` has no key at all stay as they are.
    Raises UserError that names `source` and every other key which is missing, not known or of another shape.
    """
    own = model.state_dict()
    new_head = any(key in own and key in state and own[key].shape[:1] != state[key].shape[:1] for key in head)
    skipped = set(head) if new_head else set()
    used = {key: value for key, value in state.items() if key not in skipped}
    absent = tuple(prefix for prefix in optional if not any(key.startswith(prefix) for key in state))
    # Files from before PyTorch 0.4.1 have no num_batches_tracked, and nothing here reads it.
    missing = [
        key
        for key in own
        if key not in state and not key.endswith("num_batches_tracked") and not key.startswith(absent)
    ]
    unknown = [key for key in used if key not in own]
    shapes = [
        f"{key} {list(value.shape)} instead of {list(own[key].shape)}"
        for key, value in used.items()
        if key in own and value.shape != own[key].shape
    ]
    problems = [
        f"{what}: {_listed(keys)}"
        for what, keys in (("missing", missing), ("not known to the model", unknown), ("other shapes", shapes))
        if keys
    ]
    if problems:
        raise UserError(
            f"{source}: model.weights do not fit {type(model).__name__}. {'. '.join(problems)}. "
            "Expected the weights of the same architecture, at the same data.size where the shapes depend on it."
        )
    model.load_state_dict(used, strict=False)


def _listed(keys: Sequence[object]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(str(key) for key in keys[:_SHOWN]) + more
