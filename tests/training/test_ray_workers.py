"""What each worker gets, resolved against what Ray has."""

from __future__ import annotations

import pytest
from tiny import tiny_spec

from visionjobs.cluster.sizes import Share
from visionjobs.errors import UserError
from visionjobs.training.ray_workers import resolve_share


@pytest.mark.parametrize(
    ("sets", "cpus", "gpus", "share"),
    [
        ((), 2, 0, Share(1, 2, 0)),
        ((), 16, 1, Share(1, 16, 1)),
        (("resources.workers=2",), 2, 0, Share(2, 1, 0)),
        (("resources.workers=2",), 16, 4, Share(2, 8, 1)),
        (("resources.workers=4",), 6, 0, Share(4, 1, 0)),
        (("resources.cpus=3",), 8, 0, Share(1, 3, 0)),
        (("resources.gpus=0",), 8, 2, Share(1, 8, 0)),
        (("resources.gpus=1", "resources.workers=2"), 8, 2, Share(2, 4, 1)),
    ],
)
def test_share(sets: tuple[str, ...], cpus: int, gpus: int, share: Share) -> None:
    assert resolve_share(tiny_spec(*sets), cpus, gpus) == (share, None)


def test_too_few_gpus_for_auto_is_told() -> None:
    share, warning = resolve_share(tiny_spec("resources.workers=2"), 8, 1)
    assert share == Share(2, 4, 0)
    assert "resources.workers=1" in warning


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (("resources.gpus=1",), "resources.gpus: 1 worker"),
        (("resources.gpus=1", "resources.workers=4"), "need 4, and Ray sees 0"),
        (("resources.cpus=3",), "resources.cpus: 1 worker"),
        (("resources.workers=4",), "need 4, and Ray sees 2"),
    ],
)
def test_demands_that_cannot_be_met(sets: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match="lower resources") as caught:
        resolve_share(tiny_spec(*sets), 2, 0)
    assert said in str(caught.value)
