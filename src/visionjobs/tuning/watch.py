"""What is told to the person who waits for a sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from visionjobs.cluster.local import Connection
from visionjobs.cluster.sizes import Trials
from visionjobs.runs import Attempt
from visionjobs.storage import OnBytes
from visionjobs.sweep_progress import SweepProgress
from visionjobs.sweeps import Sweep


@dataclass(frozen=True)
class SweepWatcher:
    """started: the attempt has claimed the sweep; changed: how far it is, about once a second."""

    started: Callable[[Sweep, Attempt, Connection, Trials], None]
    changed: Callable[[SweepProgress], None]
    warn: Callable[[str], None]
    stage: Callable[[str], None]
    transfer: Callable[[str, int], OnBytes]
