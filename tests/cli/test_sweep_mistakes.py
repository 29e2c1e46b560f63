"""`visionjobs sweep` where something is typed wrong: one message, status 2, no sweep begun and no Ray started."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from finished_runs import Project

from visionjobs.settings import Settings
from visionjobs.sweeps import Sweep, create_sweep, sweep_ids
from visionjobs.tuning.driver import pin_sweep

SECTION = "\nsweep: {metric: val_accuracy, trials: 8, space: {train.lr: {loguniform: [1e-4, 1e-2]}}}\n"


@pytest.fixture(autouse=True)
def searched(project: Project) -> None:
    """The job "searched" is the tiny one with a sweep section."""
    (project.jobs / "searched.yaml").write_text((project.jobs / "tiny.yaml").read_text() + SECTION)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("ray.init", start)


@pytest.fixture
def begun(project: Project) -> Sweep:
    """A sweep of "searched" with one attempt, which was interrupted."""
    from visionjobs.jobfile import load_job

    spec = pin_sweep(project.root, load_job(project.jobs / "searched.yaml"), Settings.from_env().cache)
    sweep = create_sweep(project.root, spec, "{}")
    sweep.folder.claim("attempt", {"at_once": 1}).update_record(state="interrupted", trials=8, job="searched")
    return sweep


def check_refused(ended: Any, told: str) -> None:
    assert (ended.status, ended.out) == (2, ""), ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("serched",), 'There is no job "serched"'),
        (("tiny",), "tiny has no sweep: section, which says what to search"),
        (("tiny", "--samples", "4"), "tiny has no sweep: section, which says what to search"),
        (("tiny", "--samples", "4", "--set", "train.lr=0.1"), "tiny has no sweep: section, which says what to search"),
        (("tiny", "--set", "sweep.at_once=2"), "tiny has no sweep: section, which says what to search"),
        (("searched", "--set", "sweep.space={train.lrr: {choice: [1]}}"), 'Did you mean "train.lr"?'),
        (("searched", "--set", "sweep.metric=val_acc"), 'Did you mean "val_accuracy"?'),
        (("searched", "--set", "sweep.space={train.freeze: {choice: [backbone]}}"), "the job takes none of these"),
        (("searched", "--sweep", "sweep-serched-1"), 'There is no sweep "sweep-serched-1"'),
        (("searched", "--set", "sweep.space={lr: {choice: [1]}}"), 'Did you mean "train.lr"?'),
        (("searched", "--set", "sweep.space={train.dropout: {choice: [0]}}"), 'Did you mean "model.dropout"?'),
        (("searched", "--set", "sweep="), "searched has no sweep: section"),
        (("searched", "--set", "sweep=", "--samples", "3"), "sweep.metric: this key is needed, and missing"),
        (("searched", "--set", "model.weights=./typo.pth"), "typo.pth"),
        (
            ("searched", "--set", "sweep.space={model.weights: {choice: [random, ./typo.pth]}}"),
            "To supply it: visionjobs weights pull",
        ),
        (("searched", "--set", "data.name=tinny"), 'There is no dataset "tinny"'),
        (("searched", "--set", "train.epochs=0"), "expected 1 or more"),
    ],
)
def test_of_a_new_sweep(
    project: Project, visionjobs: Callable[..., Any], arguments: tuple[str, ...], told: str
) -> None:
    check_refused(visionjobs("sweep", *arguments), told)
    assert sweep_ids(project.root) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("searched", "--sample"), "--sample and --sweep do not go together"),
        (("tiny",), 'is of job "searched", not of "tiny"'),
        (("searched", "--set", "sweep.space={train.lr: {choice: [1]}}"), "would not be comparable"),
        (("searched", "--set", "train.epochs=9"), "train.epochs"),
        (("searched", "--samples", "0"), "--samples"),
    ],
)
def test_of_one_that_is_continued(
    begun: Sweep, visionjobs: Callable[..., Any], arguments: tuple[str, ...], told: str
) -> None:
    before = begun.folder.record()
    check_refused(visionjobs("sweep", *arguments, "--sweep", begun.id), told)
    assert (begun.folder.record(), len(begun.folder.claims())) == (before, 1)


def test_one_that_is_complete(begun: Sweep, visionjobs: Callable[..., Any]) -> None:
    begun.store.write("record.json", json.dumps({"state": "complete", "trials": 8}))
    ended = visionjobs("sweep", "searched", "--sweep", begun.id)
    assert (ended.status, "is complete after 8 trials; for more of them: --samples 16" in ended.err) == (2, True)
