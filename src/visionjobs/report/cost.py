"""What a run cost, as a row of tiles."""

from __future__ import annotations

from visionjobs.report.formatting import count, duration, memory, plain
from visionjobs.report.page import Tile, Tiles
from visionjobs.report.summary import RunSummary, as_number


def cost(run: RunSummary) -> Tiles:
    """Throughput, times, GPU-hours and memory of the whole run; times and GPU-hours alone where nothing was trained."""
    rows = [(as_number(row.get("images_per_second")), as_number(row.get("seconds"))) for row in run.history]
    timed = [(rate, seconds) for rate, seconds in rows if rate is not None and seconds]
    training = [seconds for _, seconds in rows if seconds is not None]
    total = [value for attempt in run.attempts if (value := as_number(attempt.get("seconds"))) is not None]
    peaks = [peak for row in run.history if (peak := as_number(row.get("peak_memory_bytes"))) is not None]
    images = sum(rate * seconds for rate, seconds in timed)
    mean = images / sum(seconds for _, seconds in timed) if timed else None
    whole = (
        Tile("Total time", duration(sum(total) if total else None), _counted(len(run.attempts), "attempt")),
        Tile("GPU-hours", plain(run.record.get("gpu_hours")), "all attempts"),
    )
    if not run.trains:
        return Tiles(whole)
    return Tiles(
        (
            Tile("Images per second", count(mean) if mean is None or mean >= 100 else f"{mean:.1f}", "training, mean"),
            Tile("Training time", duration(sum(training) if training else None), _counted(len(run.history), "epoch")),
            *whole,
            Tile("Peak memory", memory(max(peaks, default=None)), "of the device or the process"),
        )
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
