"""Which trial Tune is given next: those that were begun, then new ones, and no more than the sweep is to have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from tiny import pytest_fail
from tiny_sweep import SHARE, made, start_sweep, sweep_spec, trialling

from visionjobs import patience
from visionjobs.errors import StorageError, SupersededError
from visionjobs.sweeps import Sweep, Trial
from visionjobs.tuning.board import Board
from visionjobs.tuning.suggest import Suggest, Trialling
from visionjobs.tuning.trial import TrialWork

TWO_VALUES = "sweep.space={train.lr: {choice: [1e-3, 1e-2]}}"


@pytest.fixture
def common(tmp_path: Path) -> Trialling:
    return start_sweep(tmp_path)


def suggest(
    common: Trialling, unfinished: list[Trial] | None = None, exhausted: Callable[[int], None] = pytest_fail
) -> Suggest:
    holder = common.sweep.folder.claim("attempt", {"gpus": 0, "at_once": 1})
    return Suggest(common, holder, Board(common.sweep, common.sweep.trials()), unfinished or [], exhausted)


def everything(search: Suggest) -> list[TrialWork]:
    """Until there are no more."""
    works = []
    while (config := search.suggest(f"{len(works)}")) != Searcher.FINISHED:
        assert config["number"] == config["work"].number
        works.append(config["work"])
        assert len(works) < 20
    assert search.suggest("once more") == Searcher.FINISHED
    return works


def test_as_many_new_trials_as_the_sweep_is_to_have(common: Trialling) -> None:
    works = everything(suggest(common))
    trials = common.sweep.trials()
    assert [work.number for work in works] == [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[0].parameters == {"train.lr": 1e-3}, "the job's own"
    assert len({trial.parameters["train.lr"] for trial in trials}) == 4
    for work, trial in zip(works, trials, strict=True):
        run = common.sweep.run_of(trial)
        assert (work.run, work.metric, work.share, work.on_device) == (trial.run, "val_loss", SHARE, 1)
        assert work.spec == run.spec().model_dump(mode="json")
        assert (work.spec["train"]["lr"], work.spec["sweep"]) == (trial.parameters["train.lr"], None)
        assert work.spec["data"]["version"] not in ("", "newest"), "pinned"


def test_those_that_were_begun_come_first(common: Trialling) -> None:
    begun = [made(common, number, lr=lr) for number, lr in ((0, 1e-3), (1, 2e-3), (2, 3e-3))]
    works = everything(suggest(common, [begun[0], begun[2]]))  # the second one has ended
    assert [(work.number, work.run) for work in works] == [
        (0, begun[0].run), (2, begun[2].run), (3, f"{common.sweep.id}-t003"),
    ]  # fmt: skip
    assert [trial.number for trial in common.sweep.trials()] == [0, 1, 2, 3]


def test_one_that_was_killed_before_its_run_was_made(common: Trialling) -> None:
    trial = common.sweep.add_trial(0, {"train.lr": 5e-3})
    work = everything(suggest(common, [trial]))[0]
    assert work.spec["train"]["lr"] == 5e-3
    assert common.sweep.run_of(trial).spec().train.lr == 5e-3


def test_a_continued_sweep_proposes_what_it_would_have_proposed(common: Trialling, tmp_path: Path) -> None:
    everything(suggest(common))
    other = start_sweep(tmp_path / "other")
    first = suggest(other)
    for name in ("a", "b"):
        first.suggest(name)
    everything(suggest(other))  # a new driver
    assert [trial.parameters for trial in other.sweep.trials()] == [trial.parameters for trial in common.sweep.trials()]


def test_limits_are_the_sweeps_own_now_and_all_else_is_the_runs(common: Trialling) -> None:
    trial = made(common, 0, lr=4e-3)
    other = sweep_spec("limits.attempts=7", "resources.memory=9Gi", "train.lr=0.5")
    update = {"limits": other.limits, "resources": other.resources, "train": other.train}
    now = common.spec.model_copy(update=update)
    work = suggest(trialling(common.sweep.root, now, common.sweep), [trial]).suggest("a")["work"]
    assert (work.spec["limits"]["attempts"], work.spec["resources"]["memory"]) == (7, "9Gi")
    assert work.spec["train"]["lr"] == 4e-3
    assert common.sweep.run_of(trial).spec().limits.attempts != 7


def test_closed_gives_no_more(common: Trialling) -> None:
    search = suggest(common, [made(common, 0)])
    search.closed = True
    assert search.suggest("a") == Searcher.FINISHED
    assert len(common.sweep.trials()) == 1


def test_a_space_that_holds_fewer_trials_is_told(tmp_path: Path) -> None:
    common, told = start_sweep(tmp_path, TWO_VALUES), []
    search = suggest(common, exhausted=told.append)
    assert [search.suggest(name)["number"] for name in ("a", "b")] == [0, 1]
    assert search.suggest("c") == Searcher.FINISHED
    assert told == [2]


def test_a_trial_whose_storing_was_not_answered_is_taken_as_it_is(
    common: Trialling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.01)
    add, lost = Sweep.add_trial, []

    def answer_lost(*arguments: Any) -> Trial:
        trial = add(*arguments)
        if lost:
            return trial
        lost.append(trial)
        raise StorageError("the connection was cut off")

    monkeypatch.setattr(Sweep, "add_trial", answer_lost)
    works = everything(suggest(common))
    assert [work.number for work in works] == [0, 1, 2, 3]
    assert [work.run for work in works] == [trial.run for trial in common.sweep.trials()]


def test_a_trial_that_the_driver_before_has_made_meanwhile_is_taken_as_it_is(common: Trialling) -> None:
    search = suggest(common)
    common.sweep.add_trial(0, {"train.lr": 7e-3})
    assert search.suggest("a")["work"].spec["train"]["lr"] == 7e-3


@pytest.mark.parametrize("made_by_other", [False, True])
def test_a_driver_that_was_replaced_takes_no_trial(common: Trialling, made_by_other: bool) -> None:
    """It would stop the attempt that the other driver makes of it."""
    search = suggest(common)
    newer = suggest(common)
    if made_by_other:
        newer.suggest("a")
    with pytest.raises(SupersededError):
        search.suggest("a")
    assert len(common.sweep.trials()) == made_by_other
    assert all(not common.sweep.run_of(trial).claims() for trial in common.sweep.trials())


@pytest.mark.parametrize("broken", ["add_trial", "make_run"])
def test_a_storage_that_fails_ends_the_search(common: Trialling, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failure of the trial's own: another one would fare no better."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.01)

    def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Sweep, broken, fail)
    search = suggest(common)
    with pytest.raises(StorageError, match="the disk is full"):
        search.suggest("a")
    monkeypatch.undo()
    begun = common.sweep.trials()
    assert [trial.number for trial in begun] == ([] if broken == "add_trial" else [0])
    assert [work.number for work in everything(suggest(common, begun))] == [0, 1, 2, 3], "the sweep can be continued"
