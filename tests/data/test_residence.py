"""Whether images are kept on the device."""

from __future__ import annotations

import psutil
import pytest
import torch

from visionjobs.data import residence
from visionjobs.data.residence import decide_residence, device_memory
from visionjobs.errors import UserError

GIB = 2**30


@pytest.mark.parametrize(
    ("needed", "resident", "fraction", "processes", "expected"),
    [
        (4 * GIB, "auto", 0.5, 1, True),
        (8 * GIB, "auto", 0.5, 1, True),
        (8 * GIB + 1, "auto", 0.5, 1, False),
        (4 * GIB, "auto", 0.5, 2, True),
        (4 * GIB + 1, "auto", 0.5, 2, False),
        (4 * GIB, "never", 0.5, 1, False),
        (8 * GIB, "always", 0.5, 1, True),
        (0, "auto", 0.5, 1, True),
    ],
)
def test_images_are_resident_where_they_fit_in_the_share(needed, resident, fraction, processes, expected):
    decided = decide_residence(needed, 16 * GIB, resident, fraction, processes)
    assert decided.resident is expected
    assert decided.bytes == needed
    assert decided.budget == int(fraction * 16 * GIB / processes)
    assert decided.reason.startswith("resident" if expected else "prefetched")


def test_always_that_does_not_fit_is_the_users_mistake_with_the_numbers():
    with pytest.raises(UserError, match=r'data\.resident: "always" needs 9,216 MiB') as caught:
        decide_residence(9 * GIB, 16 * GIB, "always", 0.5, 2)
    assert "4,096 MiB (0.5 of 16,384 MiB, 2 processes on the device)" in str(caught.value)
    assert "data.resident_fraction" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "1073741824\n", GIB),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "2147483648\n", 2 * GIB),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("other", "1", None),
    ],
)
def test_a_containers_memory_limit_counts_on_the_cpu(file, text, limit, tmp_path, monkeypatch):
    monkeypatch.setattr(residence, "CGROUP", tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert device_memory(torch.device("cpu")) == (limit or psutil.virtual_memory().total)
