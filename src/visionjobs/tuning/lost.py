"""Why a trial lost its process, from the text that Tune keeps of its errors."""

from __future__ import annotations

import re
from pathlib import Path

DEAD = "The actor is dead because "
"""How Ray begins to tell what a process died of."""


def why_lost(error_file: str | None) -> str:
    """The newest error in one line: what Ray says that the process died of, or what its step raised.

    error_file: Tune's, on this machine. The error itself is to be had only once Tune has stored it, which is later.
    """
    text = Path(error_file).read_text(errors="replace") if error_file else ""
    lines = [line.strip() for line in text.rpartition("Failure # ")[2].splitlines()[1:] if line.strip()]
    if not lines:
        return "its process is lost"
    for line in lines:
        if line.startswith(DEAD):  # what follows is advice on any death
            return line.partition(" Some common causes")[0]
    return re.sub(r"^(\w+\.)*\w+: ", "", lines[-1]) if "ray::" in lines[0] else lines[0]
