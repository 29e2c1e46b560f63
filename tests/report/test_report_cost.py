"""The tiles that tell what a run cost."""

from __future__ import annotations

from collections.abc import Callable

from visionjobs.report.cost import cost
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]


def values(run: RunSummary) -> dict[str, str]:
    return {tile.label: tile.value for tile in cost(run).tiles}


def test_the_mean_throughput_is_images_over_time(make_run: MakeRun) -> None:
    history = [
        {"epoch": 0, "images_per_second": 100.0, "seconds": 10.0, "peak_memory_bytes": 3 * 2**30},
        {"epoch": 1, "images_per_second": 400.0, "seconds": 5.0, "peak_memory_bytes": 2**30},
        {"epoch": 2, "images_per_second": None, "seconds": 5.0},
    ]
    record = {"attempts": [{"seconds": 30.0}, {"seconds": 60.0}], "gpu_hours": 0.025}
    assert values(make_run(history=history, record=record)) == {
        "Images per second": "200", "Training time": "20.0 s", "Total time": "1 min 30 s", "GPU-hours": "0.025",
        "Peak memory": "3.0 GiB",
    }  # fmt: skip


def test_what_was_not_measured_is_not_available(make_run: MakeRun) -> None:
    assert set(values(make_run(history=[], record={})).values()) == {"n/a"}


def test_one_is_not_many(make_run: MakeRun) -> None:
    details = [tile.detail for tile in cost(make_run(epochs=1, record={"attempts": [{"seconds": 1.0}]})).tiles]
    assert details[1:3] == ["1 epoch", "1 attempt"]
