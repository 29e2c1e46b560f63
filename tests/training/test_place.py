"""What `auto` means where an attempt runs, and the wait for pods that have not joined yet."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tiny import tiny_spec

from visionjobs.cluster.inside import connect_inside
from visionjobs.cluster.local import Connection, Resources
from visionjobs.cluster.sizes import Share
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.settings import Settings
from visionjobs.training import place
from visionjobs.training.place import COMMON_RAY, ONE_POD, PLACES, RAY_JOB


@dataclass(frozen=True)
class Ray(Connection):
    """A Ray whose free resources are `coming`, one look after the other."""

    coming: list[Resources] = field(default_factory=list)

    def free(self) -> Resources:
        return self.coming.pop(0) if len(self.coming) > 1 else self.coming[0]


def ray(*coming: tuple[int, int]) -> Ray:
    looks = [Resources(*one) for one in coming]
    return Ray(False, "http://127.0.0.1:8265", looks[-1], looks)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place.time, "sleep", lambda _: None)


@pytest.mark.parametrize("where", [ONE_POD, RAY_JOB])
def test_on_a_cluster_auto_is_what_was_rendered(where: place.Place) -> None:
    """Not what the machine happens to have."""
    spec = tiny_spec("resources.workers=2", "resources.gpus=auto", "resources.cpus=auto")
    assert where.share(spec, ray((64, 8)), print) == (Share(2, 4, 1), None)


def test_it_waits_for_the_workers_pods() -> None:
    connection, said = ray((2, 0), (2, 0), (6, 1), (10, 2)), []
    spec = tiny_spec("resources.workers=2", "resources.gpus=1", "resources.cpus=4")
    assert RAY_JOB.share(spec, connection, said.append)[0] == Share(2, 4, 1)
    assert len(connection.coming) == 1, "the last look was needed"
    assert said == [
        "waiting for 8 CPU(s) and 2 GPU(s): Ray has 2 and 0", "waiting for 8 CPU(s) and 2 GPU(s): Ray has 6 and 1"
    ], "each once"  # fmt: skip


def test_a_pod_that_does_not_see_its_gpu_does_not_train_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "POD_SECONDS", -1.0)
    with pytest.raises(VisionjobsError, match=r"1 GPU\(s\) each need 4 and 1.* Ray has 8 and 0") as told:
        ONE_POD.share(tiny_spec("resources.gpus=auto", "resources.cpus=auto"), ray((8, 0)), print)
    assert told.value.exit_status == 1, "another pod may fare better"


@pytest.mark.parametrize(
    ("sets", "total", "share"),
    [
        (("resources.gpus=auto", "resources.cpus=auto"), (512, 64), Share(1, 4, 1)),  # not all of a shared machine
        (("resources.gpus=auto", "resources.cpus=auto"), (2, 0), Share(1, 2, 0)),
        (("resources.gpus=0", "resources.cpus=auto", "resources.workers=2"), (6, 0), Share(2, 3, 0)),
        (("resources.gpus=0", "resources.cpus=6"), (8, 4), Share(1, 6, 0)),
    ],
)
def test_of_a_ray_that_others_use_it_takes_its_part(
    sets: tuple[str, ...], total: tuple[int, int], share: Share
) -> None:
    assert COMMON_RAY.share(tiny_spec(*sets), ray(total), print)[0] == share


def test_a_demand_that_a_shared_ray_can_never_meet_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"resources\.gpus"):
        COMMON_RAY.share(tiny_spec("resources.gpus=1", "resources.cpus=1"), ray((8, 0)), print)


def test_outside_of_a_ray_job_there_is_none_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="RAY_ADDRESS is not set"), connect_inside(Settings.from_env({})):
        raise AssertionError("it was joined")


def test_every_backend_has_its_place_and_only_a_ray_of_ours_gives_its_logs() -> None:
    """Those of a Ray that was there before are of others too."""
    assert {name: where.keeps_logs for name, where in PLACES.items()} == {"job": True, "ray": False, "rayjob": True}
