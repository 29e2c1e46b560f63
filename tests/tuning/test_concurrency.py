"""Trials at once, and what each gets: every rule, every refusal, and never more than there is."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionjobs.cluster.local import Connection, Resources
from visionjobs.cluster.sizes import Share, mebibytes
from visionjobs.errors import UserError
from visionjobs.jobfile import build_spec
from visionjobs.spec import JobSpec
from visionjobs.tuning.concurrency import resolve_trials
from visionjobs.tuning.place import PLACES

PLENTY = 2**22
"""MiB: memory for everything."""


def job(**keys: Any) -> JobSpec:
    """keys: of sweep (trials, at_once, sweep_gpus) and of resources."""
    sweep = {"metric": "val_accuracy", "space": {"train.lr": {"uniform": [0.1, 1]}}}
    sweep |= {key: keys.pop(key) for key in ("trials", "at_once") if key in keys}
    sweep |= {"gpus": keys.pop("sweep_gpus")} if "sweep_gpus" in keys else {}
    tree = {"name": "mine", "task": "classification", "model": {"name": "convnet"}, "data": {"name": "tiny"}}
    return build_spec(tree | {"train": {"batch": 6720}, "resources": keys, "sweep": sweep}, "mine")


@pytest.mark.parametrize(
    ("keys", "cpus", "gpus", "at_once", "share", "on_device"),
    [
        # CPUs only: about 2 a worker, all of them shared out
        ({}, 2, 0, 1, (1, 2, 0), 1),
        ({}, 1, 0, 1, (1, 1, 0), 1),
        ({}, 8, 0, 4, (1, 2, 0), 4),
        ({}, 7, 0, 3, (1, 2, 0), 3),
        ({"trials": 2}, 12, 0, 2, (1, 6, 0), 2),
        ({"trials": 1}, 12, 0, 1, (1, 12, 0), 1),
        ({"workers": 2}, 2, 0, 1, (2, 1, 0), 1),
        ({"workers": 2}, 9, 0, 2, (2, 2, 0), 2),
        ({"cpus": 3}, 10, 0, 3, (1, 3, 0), 3),
        ({"cpus": 1}, 3, 0, 3, (1, 1, 0), 3),
        ({"cpus": 2, "workers": 2}, 8, 0, 2, (2, 2, 0), 2),
        ({"at_once": 2}, 2, 0, 2, (1, 1, 0), 2),
        ({"at_once": 3}, 16, 0, 3, (1, 5, 0), 3),
        ({"at_once": 8, "trials": 3}, 6, 0, 3, (1, 2, 0), 3),
        ({"gpus": 0}, 8, 4, 4, (1, 2, 0), 4),
        # whole GPUs
        ({}, 16, 1, 1, (1, 16, 1), 1),
        ({}, 16, 4, 4, (1, 4, 1), 1),
        ({"gpus": 1}, 16, 4, 4, (1, 4, 1), 1),
        ({"workers": 2}, 16, 5, 2, (2, 4, 1), 1),
        ({"workers": 3}, 4, 4, 1, (3, 1, 1), 1),
        ({"trials": 3}, 16, 8, 3, (1, 5, 1), 1),
        ({}, 3, 8, 3, (1, 1, 1), 1),
        ({"cpus": 4}, 16, 8, 4, (1, 4, 1), 1),
        ({"at_once": 2}, 16, 8, 2, (1, 8, 1), 1),
        ({"sweep_gpus": 1}, 16, 2, 2, (1, 8, 1), 1),
        ({"sweep_gpus": 1, "gpus": 0}, 16, 2, 2, (1, 8, 1), 1),
        # parts of a GPU
        ({"sweep_gpus": 0.5}, 16, 1, 2, (1, 8, 0.5), 2),
        ({"sweep_gpus": 0.5, "gpus": 1}, 16, 2, 4, (1, 4, 0.5), 2),
        ({"sweep_gpus": 0.4}, 16, 1, 2, (1, 8, 0.4), 2),
        ({"sweep_gpus": 0.6}, 16, 2, 2, (1, 8, 0.6), 1),
        ({"sweep_gpus": 0.3333}, 16, 1, 3, (1, 5, 0.3333), 3),
        ({"sweep_gpus": 0.1}, 16, 1, 10, (1, 1, 0.1), 10),
        ({"sweep_gpus": 0.25, "at_once": 1}, 16, 1, 1, (1, 16, 0.25), 1),
        ({"sweep_gpus": 0.25, "trials": 3}, 16, 1, 3, (1, 5, 0.25), 3),
        ({"sweep_gpus": 0.01, "trials": 100}, 16, 1, 16, (1, 1, 0.01), 16),
    ],
)
def test_auto_and_demands(
    keys: dict[str, Any], cpus: int, gpus: int, at_once: int, share: tuple[int, int, float], on_device: int
) -> None:
    trials = resolve_trials(job(**keys), cpus, gpus, PLENTY)
    assert (trials.at_once, trials.share, trials.on_device) == (at_once, Share(*share), on_device)
    assert type(trials.share.gpus) is (float if 0 < share[2] < 1 else int)
    assert trials.warnings == ()


@pytest.mark.parametrize(
    ("keys", "gpus", "memory_gib", "at_once"),
    [
        ({"memory": "8Gi"}, 0, 31, 3),
        ({"memory": "8Gi"}, 0, 7, 1),
        ({"memory": "512Mi"}, 0, 7, 8),
        ({"memory": "8Gi", "workers": 2}, 0, 31, 1),
        ({"memory": "8Gi"}, 8, 40, 5),
        ({"memory": "8Gi", "sweep_gpus": 0.25}, 2, 40, 5),
    ],
)
def test_memory_bounds_the_trials_but_one(keys: dict[str, Any], gpus: int, memory_gib: int, at_once: int) -> None:
    assert resolve_trials(job(**keys), 16, gpus, memory_gib * 1024).at_once == at_once


def test_gpus_that_are_too_few_for_the_workers_are_told() -> None:
    trials = resolve_trials(job(workers=4), 8, 2, PLENTY)
    assert trials.share == Share(4, 2, 0)
    assert trials.warnings == (
        "2 GPU(s) for 4 workers: training on the CPU; to use them set resources.workers=2",
    )  # fmt: skip
    assert resolve_trials(job(workers=4, gpus=0), 8, 2, PLENTY).warnings == ()


@pytest.mark.parametrize(
    ("keys", "cpus", "gpus", "memory_gib", "told"),
    [
        (
            {"sweep_gpus": 0.5}, 8, 0, 64,
            "sweep.gpus: one trial needs 1 GPU(s), 0.5 for each of its 1 worker(s), and Ray sees 0; "
            "set sweep.gpus to auto",
        ),
        (
            {"gpus": 1, "workers": 3}, 8, 2, 64,
            "resources.gpus: one trial needs 3 GPU(s), 1 for each of its 3 worker(s), and Ray sees 2; "
            "lower resources.workers, or set resources.gpus to auto or 0",
        ),
        (
            {"sweep_gpus": 1, "workers": 3}, 8, 2, 64,
            "sweep.gpus: one trial needs 3 GPU(s), 1 for each of its 3 worker(s), and Ray sees 2; "
            "lower resources.workers, or set sweep.gpus to auto",
        ),
        (
            {"cpus": 9}, 8, 0, 64,
            "resources.cpus: one trial needs 9 CPU(s), 9 for each of its 1 worker(s), and Ray sees 8; "
            "lower resources.workers or resources.cpus",
        ),
        (
            {"workers": 4}, 3, 0, 64,
            "resources.workers: one trial needs 4 CPU(s), 1 for each of its 4 worker(s), and Ray sees 3; "
            "lower resources.workers",
        ),
        (
            {"at_once": 3}, 8, 2, 64,
            "sweep.at_once: 3 trials at once, and only 2 fit: there are 2 GPU(s), with 1 for each trial; "
            "lower sweep.at_once, or set it to auto",
        ),
        (
            {"at_once": 5, "sweep_gpus": 0.4}, 8, 2, 64,
            "sweep.at_once: 5 trials at once, and only 4 fit: there are 2 GPU(s), with 0.4 of one for each trial; "
            "lower sweep.at_once, or set it to auto",
        ),
        (
            {"at_once": 3, "cpus": 3}, 8, 0, 64,
            "sweep.at_once: 3 trials at once, and only 2 fit: there are 8 CPU(s), with 3 for each trial "
            "(resources.cpus); lower sweep.at_once, or set it to auto",
        ),
        (
            {"at_once": 3}, 2, 0, 64,
            "sweep.at_once: 3 trials at once, and only 2 fit: there are 2 CPU(s), with 1 for each trial "
            "(resources.cpus); lower sweep.at_once, or set it to auto",
        ),
        (
            {"at_once": 2}, 8, 0, 12,
            "sweep.at_once: 2 trials at once, and only 1 fit: there are 12288 MiB of memory, with 8192 for each trial "
            "(resources.memory); lower sweep.at_once, or set it to auto",
        ),
    ],
)  # fmt: skip
def test_more_than_there_is(keys: dict[str, Any], cpus: int, gpus: int, memory_gib: int, told: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_trials(job(**keys), cpus, gpus, memory_gib * 1024)
    assert str(caught.value) == told


keys = st.fixed_dictionaries(
    {},
    optional={
        "trials": st.integers(1, 40),
        "at_once": st.integers(1, 20),
        "sweep_gpus": st.floats(0.01, 1) | st.integers(1, 100).map(lambda parts: max(0.01, 1 / parts)),
        "gpus": st.integers(0, 1),
        "cpus": st.integers(1, 8),
        "workers": st.sampled_from([1, 1, 2, 3, 4]),
        "memory": st.sampled_from(["512Mi", "2Gi", "8Gi"]),
    },
)


@settings(max_examples=500)
@given(keys, st.integers(1, 64), st.integers(0, 9), st.integers(256, 2**18))
def test_never_more_than_there_is(keys: dict[str, Any], cpus: int, gpus: int, memory_mib: int) -> None:
    if keys.get("workers", 1) > 1 and keys.get("sweep_gpus", 1) < 1:
        keys = {**keys, "sweep_gpus": 1.0}  # else the job is refused
    spec = job(**keys)
    try:
        trials = resolve_trials(spec, cpus, gpus, memory_mib)
    except UserError:
        return
    share, at_once = trials.share, trials.at_once
    assert 1 <= at_once <= spec.sweep.trials  # type: ignore[union-attr]
    assert share.cpus >= 1
    assert at_once * share.workers * share.cpus <= cpus
    assert at_once == 1 or at_once * share.workers * mebibytes(spec.resources.memory) <= memory_mib
    if share.gpus == 0:
        assert trials.on_device == at_once
    elif share.gpus < 1:
        per_gpu = 10_000 // round(share.gpus * 10_000)  # in Ray's unit
        assert at_once <= gpus * per_gpu
        assert trials.on_device <= per_gpu
        assert math.ceil(at_once / trials.on_device) <= gpus
    else:
        assert at_once * share.workers * share.gpus <= gpus
        assert trials.on_device == 1


def ray_of(monkeypatch: pytest.MonkeyPatch, cpus: int, gpus: int) -> Connection:
    """A Ray that others use too, all of which is free."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {"memory": 2.0**42})
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": float(cpus), "GPU": float(gpus)})
    return Connection(False, "", Resources(cpus, gpus))


@pytest.mark.parametrize(
    ("keys", "cpus", "gpus", "at_once", "share", "on_device"),
    [
        ({}, 72, 4, 4, (1, 4, 1), 1),  # of five nodes, none of which has a quarter of all CPUs
        ({}, 48, 1, 1, (1, 4, 1), 1),
        ({}, 512, 32, 4, (1, 4, 1), 1),
        ({"at_once": 8}, 512, 32, 8, (1, 4, 1), 1),
        ({}, 64, 0, 4, (1, 4, 0), 4),
        ({}, 2, 0, 1, (1, 2, 0), 1),
        ({"cpus": 8}, 64, 8, 4, (1, 8, 1), 1),
        ({"sweep_gpus": 0.5}, 64, 8, 4, (1, 4, 0.5), 2),
    ],
)
def test_of_a_ray_that_others_use_it_takes_what_pods_would(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], cpus: int, gpus: int, at_once: int,
    share: tuple[int, int, float], on_device: int,
) -> None:  # fmt: skip
    found = PLACES["ray"].trials(job(**keys), ray_of(monkeypatch, cpus, gpus), print)
    assert (found.at_once, found.share, found.on_device) == (at_once, Share(*share), on_device)
