"""Named arrays as one file (NumPy's .npz), without pickles."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from visionjobs.errors import UserError

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
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{source} is damaged: it holds no arrays that can be read ({error})") from error
