"""The names of a detector's classes in the metadata of its ONNX file."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from visionjobs.errors import UserError


def class_names(metadata: Mapping[str, str], path: str) -> tuple[str, ...]:
    """ultralytics writes them as Python's text of {0: name, 1: name, ...}, which is read as a literal and never run.

    Raises UserError naming `path` where they are not there, or the file is not a detector's.
    """
    task = metadata.get("task", "detect")
    if task != "detect":
        raise UserError(f'{path}: its task is "{task}"; expected a detector (detect)')
    try:
        names = ast.literal_eval(metadata["names"])
        classes = tuple(dict(names)[number] for number in range(len(names)))
    except (KeyError, ValueError, SyntaxError, TypeError, IndexError, MemoryError, RecursionError) as error:
        raise UserError(
            f"{path}: its metadata do not name the classes; expected names = {{0: 'person', ...}}, as ultralytics' "
            "export and `visionjobs export` write"
        ) from error
    if not classes or not all(isinstance(name, str) for name in classes):
        raise UserError(f"{path}: its metadata name the classes {classes!r}; expected texts")
    return classes
