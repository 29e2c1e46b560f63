"""One container's log, followed over broken connections: no line is lost and none comes twice.

A log that is read again begins a little before the end of what was had (`sinceTime` counts whole seconds), and what is
known of it is left out. To tell lines apart they are asked for with the times at which the kubelet took them.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from visionjobs.cluster.client import Cluster, ForbiddenError, NotFoundError
from visionjobs.errors import ClusterError, UserError

OVERLAP = timedelta(seconds=1)
"""How far the times of neighbouring lines may step back: stdout and stderr are stamped apart."""

FAILURES = 5
"""So often the log of a container that has ended may fail to be read: its node may be gone."""


class SeenLines:
    """Which lines of one log were had, as far back as reading it again goes."""

    def __init__(self) -> None:
        self._newest: datetime | None = None
        self._recent: deque[tuple[datetime, bytes]] = deque()
        self._again: Counter[tuple[datetime, bytes]] = Counter()

    def since(self) -> str | None:
        """From when on to read (RFC 3339), at the beginning of each reading; None: from the beginning."""
        self._again = Counter(self._recent)
        oldest = self._oldest()
        return None if oldest is None else oldest.strftime("%Y-%m-%dT%H:%M:%SZ")

    def new(self, stamped: bytes) -> bytes | None:
        """The line without its time, or None where it was had. A line without a time is the kubelet's own word."""
        stamp, _, line = stamped.partition(b" ")
        try:
            at = datetime.fromisoformat(stamp.decode("ascii")).astimezone(UTC)
        except ValueError:
            at, line = self._newest or datetime.fromtimestamp(0, UTC), stamped
        if self._again[at, line] > 0:
            self._again[at, line] -= 1
            return None
        self._newest = max(at, self._newest or at)
        self._recent.append((at, line))
        oldest = self._oldest()
        while oldest is not None and self._recent[0][0] < oldest:
            self._recent.popleft()
        return line

    def _oldest(self) -> datetime | None:
        return None if self._newest is None else self._newest.replace(microsecond=0) - OVERLAP


class LogReader:
    """Follows one container in a thread of its own and gives each line, with its end, to `emit`.

    complete: all that there is was read; error: what `emit` raised, or that logs may not be read; trouble: why the log
    could not be read to its end, where it could not.
    """

    def __init__(self, cluster: Cluster, pod: str, container: str, emit: Callable[[bytes], None]) -> None:
        self.complete = False
        self.error: Exception | None = None
        self.trouble: str | None = None
        self._cluster, self._pod, self._container, self._emit = cluster, pod, container, emit
        self._seen = SeenLines()
        self._failures = 0
        self._stopped = False
        self._thread: threading.Thread | None = None

    def follow(self, ended: bool) -> None:
        """Read on, unless it does or nothing more will come. Call it every few seconds; at once it returns.

        ended: whether the container has. Only a reading that began after that is the last one.
        """
        if self.complete or self._stopped or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._read, args=(ended,), name=f"log-{self._pod}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Emit nothing more."""
        self._stopped = True

    def finish(self, seconds: float) -> None:
        """Let a reading end by itself, but not wait longer than so."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _read(self, ended: bool) -> None:
        try:
            for line in self._lines():
                if self._stopped:
                    return
                self._failures = 0
                self._emit(line)
            self.complete = ended
        except NotFoundError:
            self.complete = True
        except ForbiddenError as error:
            self.error = error
        except (ClusterError, UserError) as error:  # it broke off, or the container is not there yet
            self._failures += ended
            if self._failures >= FAILURES:
                self.trouble, self.complete = str(error), True
        except OSError as error:  # whoever read our output went away
            self.error = error

    def _lines(self) -> Iterator[bytes]:
        stamped_lines = self._cluster.pod_log(
            self._pod, self._container, follow=True, since=self._seen.since(), timestamps=True
        )
        for stamped in stamped_lines:
            line = self._seen.new(stamped)
            if line is not None:
                yield line
