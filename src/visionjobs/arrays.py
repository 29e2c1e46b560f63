"""Named arrays as one file (NumPy's .npz), without pickles."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from visionjobs.errors import UserError

DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, ValueError, OSError, EOFError, NotImplementedError, RuntimeError,
    AttributeError, KeyError,
)  # fmt: skip
"""What zipfile and numpy raise over a file that is none of theirs, or is not whole."""

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

Arrays = dict[str, npt.NDArray[Any]]


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Compressed; names may have '/' in them."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def unpack_arrays(data: bytes, source: str) -> Arrays:
    """What `pack_arrays` made. Raises UserError naming `source` for anything else (each array has a checksum)."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except DAMAGED as error:
        raise UserError(f"{source} is damaged: it holds no arrays that can be read ({error})") from error


def pack_fields(value: Any) -> bytes:
    """A dataclass whose fields are all arrays, one array a field."""
    return pack_arrays({field.name: getattr(value, field.name) for field in fields(value)})


def unpack_fields(kind: type[T], data: bytes, source: str, what: str) -> T:
    """What `pack_fields` made of a `kind`. Raises UserError naming `source`, and `what` it does not hold."""
    arrays = unpack_arrays(data, source)
    names = {field.name for field in fields(kind)}
    if missing := names - arrays.keys():
        raise UserError(f"{source} holds no {what}: {', '.join(sorted(missing))} are missing")
    return kind(**{name: arrays[name] for name in names})
