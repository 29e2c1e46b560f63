"""One import in a process of its own: `python -m benchmarks.import_process SOURCE STORAGE` prints a line of JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from visionjobs.data.wildlife import import_wildlife
from visionjobs.storage import open_store

SAMPLE_SECONDS = 0.02


class PeakMemory:
    """Peak of this process's memory, in bytes, from /proc/self/status (proc(5)).

    Resident: the kernel's own high-water mark, VmHWM; getrusage's ru_maxrss would do but for starting at the peak of
    the process that started this one. Anonymous (without mapped files): sampled every 20 ms, there is no mark for it.
    """

    def __init__(self) -> None:
        self.anonymous = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling."""
        self._done.set()
        self._thread.join()

    @property
    def resident(self) -> int:
        """Up to now."""
        return _status("VmHWM")

    def _sample(self) -> None:
        while True:
            self.anonymous = max(self.anonymous, _status("RssAnon"))
            if self._done.wait(SAMPLE_SECONDS):
                return


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(value) * 1024


def main() -> None:
    """Import and tell seconds, peaks and the number of images."""
    source, storage = sys.argv[1:]
    import sklearn.model_selection  # noqa: F401 (imported late by the import: a start does not grow with the images)

    memory = PeakMemory()
    started = time.perf_counter()
    result = import_wildlife(source, "drawn", open_store(storage))
    seconds = time.perf_counter() - started
    memory.stop()
    told = {
        "images": result.manifest.images,
        "seconds": seconds,
        "peak_bytes": memory.resident,
        "peak_anonymous_bytes": memory.anonymous,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
