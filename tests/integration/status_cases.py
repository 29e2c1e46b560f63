"""How a command ended, for the tests of status, runs and watching."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def as_object(ended: Ended) -> dict[str, Any]:
    (line,) = ended.out.splitlines()
    return json.loads(line)
