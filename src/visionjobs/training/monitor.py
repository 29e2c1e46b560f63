"""How fast an epoch was and what held it back: images/s, time waiting for data, GPU utilisation, memory."""

from __future__ import annotations

import resource
import threading
import time
from dataclasses import dataclass
from typing import Any

import torch
from pynvml import NVMLError

from visionjobs.data.residence import device_memory

DATA_BOUND = 0.2
"""Share of an epoch's time spent waiting for data, above which the epoch is called data-bound."""
MEMORY_BOUND = 0.92
"""Share of the device's memory in use at the peak, above which the epoch is called memory-bound."""
IDLE_GPU = 0.5
"""Mean GPU utilisation, below which the GPU is called idle."""


@dataclass(frozen=True)
class EpochSpeed:
    """seconds: wall clock of training; images_per_second: over all workers; data_wait_share, gpu_utilisation: 0..1 on
    the main worker; peak_memory_bytes: of the device (CPU: the main worker's, since its start); diagnosis: one line."""

    seconds: float
    images_per_second: float
    data_wait_share: float
    gpu_utilisation: float | None
    peak_memory_bytes: int
    diagnosis: str | None

    def to_row(self) -> dict[str, Any]:
        """The columns of a history row."""
        return dict(self.__dict__)


class EpochMonitor:
    """Measures between construction and `finish()`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sampler = _UtilisationSampler(device) if device.type == "cuda" else None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._start = time.perf_counter()

    def finish(self, images: int, wait_seconds: float) -> EpochSpeed:
        """images: trained on by all workers since the start; wait_seconds: host time spent waiting for data."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - self._start
        utilisation = self._sampler.stop() if self._sampler else None
        peak, total = _memory(self._device)
        wait = min(wait_seconds / seconds, 1.0) if seconds else 0.0
        return EpochSpeed(
            seconds=round(seconds, 3),
            images_per_second=round(images / seconds, 2) if seconds else 0.0,
            data_wait_share=round(wait, 4),
            gpu_utilisation=utilisation,
            peak_memory_bytes=peak,
            diagnosis=diagnose(wait, utilisation, peak / total),
        )


def diagnose(wait: float, utilisation: float | None, memory: float) -> str | None:
    """One line on what is off and what to change, or None. All arguments are shares, 0..1."""
    if wait > DATA_BOUND:
        return (
            f"data-bound: {wait:.0%} of the time was spent waiting for data; keep the dataset in device memory "
            "(data.resident, data.resident_fraction) or give each worker more CPUs (resources.cpus)"
        )
    if memory > MEMORY_BOUND:
        return (
            f"memory-bound: {memory:.0%} of the device memory was in use at the peak; lower train.batch or "
            "data.resident_fraction before it runs out"
        )
    if utilisation is not None and utilisation < IDLE_GPU:
        return f"the GPU was busy only {utilisation:.0%} of the time; raise train.batch or set train.compile"
    return None


def _memory(device: torch.device) -> tuple[int, int]:
    """Peak use and total, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, device_memory(device)


class _UtilisationSampler:
    """Mean GPU utilisation, sampled each second beside the training (NVML: no wait for the device)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._samples: list[int] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="gpu-utilisation", daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(1.0):
            try:
                self._samples.append(torch.cuda.utilization(self._device))
            except (RuntimeError, ModuleNotFoundError, NVMLError):  # NVML does not tell here: the column stays n/a
                return

    def stop(self) -> float | None:
        """Mean of the samples, 0..1; None for an epoch of less than a second."""
        self._done.set()
        self._thread.join()
        return round(sum(self._samples) / len(self._samples) / 100, 3) if self._samples else None
