"""A detector's weights as plain tensors and values: from ultralytics' .pt, which is a pickle, or from our own .pth.

A .pth of ours is {"model": state dict, "yaml": the model's layers as ultralytics writes them down, "names": the
classes}, which torch.load(weights_only=True) reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from visionjobs.errors import UserError
from visionjobs.models.state import load_into
from visionjobs.models.ultralytics_env import quiet_ultralytics
from visionjobs.models.weights import locate_weights, sha256_of
from visionjobs.spec import JobSpec
from visionjobs.storage import OnBytes, Store

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

PICKLE = ".pt"


class DetectionState(NamedTuple):
    """state: float32 tensors by the model's keys; yaml: its layers, "nc" of them classes; names: of the classes."""

    state: dict[str, Tensor]
    yaml: dict[str, Any]
    names: tuple[str, ...]


def check_trusted(spec: JobSpec, path: Path) -> None:
    """Raises UserError where `path`, the job's weights, may not be read: a .pt of unknown origin, or another sha256."""
    expected = spec.model.sha256
    if expected is not None:
        found = sha256_of(path)
        if found != expected:
            raise UserError(
                f"{spec.name}: model.weights: {path} has the sha256 {found}, and model.sha256 expects {expected}. "
                "Supply the right file, or correct model.sha256."
            )
    elif path.suffix == PICKLE and not spec.model.trust:
        raise UserError(
            f"{spec.name}: model.weights: {path} is a pickle, which can run any code on the machine that reads it "
            "(delete files, send out passwords). If you know where it comes from, give model.sha256, the sha256 that "
            "its author publishes; or say model.trust: true. An .onnx file needs neither."
        )


def given_weights(spec: JobSpec, root: Store, cache: Path, on_bytes: OnBytes | None = None) -> Path:
    """A verified local file with the weights of a job that trains nothing, which may be read.

    Raises what locate_weights and check_trusted raise, and UserError where the job gives none.
    """
    path = locate_weights(spec, root, cache, on_bytes)
    if path is None:
        raise UserError(f"{spec.name}: model.weights is random, and nothing was trained: there is nothing to evaluate")
    check_trusted(spec, path)
    return path


def load_detection_state(path: Path) -> DetectionState:
    """The weights of a .pt of ultralytics (`check_trusted` it first) or of a .pth of ours, on the CPU.

    Of a .pt the averaged weights (EMA) are taken, where it has some, as ultralytics does. Its pickle is read with a
    list of allowed classes, ultralytics' and torch's own. Raises UserError for any other file.
    """
    return _of_pickle(path) if path.suffix == PICKLE else _of_tensors(path)


def build_detector(weights: DetectionState, source: str) -> DetectionModel:
    """The model in float32 on the CPU, in eval mode. Raises UserError naming `source` where the two do not fit."""
    quiet_ultralytics()
    from ultralytics.nn import tasks

    # The layers' names and the activation of a YAML are evaluated as Python unless this is on.
    tasks.SAFE_LOAD = True  # ultralytics reads it from ULTRALYTICS_SAFE_LOAD, at its import only
    try:
        with torch.random.fork_rng(devices=[]):
            model = tasks.DetectionModel(dict(weights.yaml), nc=len(weights.names), verbose=False)
    except Exception as error:  # fed with a YAML of another kind, ultralytics raises almost anything
        raise UserError(
            f"{source}: its layers are none of a detector that ultralytics {_version()} can build ({error})"
        ) from error
    load_into(model, weights.state, (), source)
    model.names = dict(enumerate(weights.names))
    return model.eval()


def load_plain(path: Path) -> Any:
    """What torch.save wrote, if it is tensors and plain values; else UserError. Code in the file is never run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the file's bytes made it trip over
        raise UserError(
            f"{path}: is not a file of tensors that torch.save wrote: it is missing, damaged, of another format, or "
            "has code in it, which is never run (torch.load with weights_only=True)"
        ) from error


def is_detection(loaded: Any) -> bool:
    """Whether this is what a .pth of ours holds."""
    return isinstance(loaded, dict) and isinstance(loaded.get("yaml"), dict)


def _of_tensors(path: Path) -> DetectionState:
    loaded = load_plain(path)
    if not is_detection(loaded):
        raise UserError(
            f'{path}: has no "yaml", the layers of a detector; expected the .pth of a finished detection run, a .pt of '
            "ultralytics, or an .onnx file"
        )
    return _checked(loaded.get("model"), loaded["yaml"], loaded.get("names"), path)


def _of_pickle(path: Path) -> DetectionState:
    quiet_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    try:
        with _safe_globals_kept():
            checkpoint, _ = torch_safe_load(str(path), safe_only=True)
        model = checkpoint.get("ema") or checkpoint["model"]
        state, yaml, names = model.float().state_dict(), model.yaml, model.names
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # ultralytics and torch raise almost anything
        raise UserError(
            f"{path}: is no model that ultralytics {_version()} saved: it is damaged, of another program, or holds "
            f"objects that are neither ultralytics' nor torch's ({error}). Export it as .onnx where it comes from."
        ) from error
    return _checked(state, yaml, names, path)


@contextmanager
def _safe_globals_kept() -> Iterator[None]:
    """ultralytics tells torch for good, and for all other files, which classes a file may hold: here for this one."""
    before = torch.serialization.get_safe_globals()
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _checked(state: Any, yaml: dict[str, Any], names: Any, path: Path) -> DetectionState:
    """names: a list, or {0: name, 1: name, ...}, as ultralytics keeps them."""
    if isinstance(names, Mapping) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f'{path}: its "names" are {names!r}; expected those of the classes, a list of texts')
    tensors = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    if not tensors or not state:
        raise UserError(f"{path}: has no state dict of the model (names -> tensors)")
    floats = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    return DetectionState(floats, dict(yaml), tuple(names))


def _version() -> str:
    import ultralytics

    return str(ultralytics.__version__)
