"""Sweeps and their trials by their ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_sweep import made, start_sweep, sweep_spec

from visionjobs.errors import ObjectExistsError, UserError
from visionjobs.runs import RUN_ID, TRIAL_ID, open_run, run_ids
from visionjobs.sweeps import create_sweep, names_sweep, new_sweep_id, open_sweep, sweep_ids
from visionjobs.tuning.suggest import Trialling


@pytest.fixture
def common(tmp_path: Path) -> Trialling:
    return start_sweep(tmp_path)


@pytest.mark.parametrize(
    "job", ["convnet", "resnet_aug", "a", "a" * 25, "birds_of_the_north_s_best", "a" * 19 + "_bcde"]
)
def test_any_jobs_sweep_has_an_id_that_names_it(job: str) -> None:
    """A RayJob's name: at most 47 characters, a DNS label; so has each of its trials one, by which a run is found."""
    sweep_id = new_sweep_id(job)
    assert len(sweep_id) <= 47
    assert RUN_ID.match(sweep_id)
    assert "--" not in sweep_id
    assert names_sweep(sweep_id)
    assert not TRIAL_ID.match(sweep_id)
    for number in ("000", "999", "1000"):
        assert TRIAL_ID.match(f"{sweep_id}-t{number}").groups() == (sweep_id, number)
        assert not names_sweep(f"{sweep_id}-t{number}")


@pytest.mark.parametrize("name", ["convnet-20260101-120000-abcd", "sweeper-1", "sweep", "sweep-", "sweep-A", "swept-1"])
def test_other_names_are_no_sweeps(name: str) -> None:
    assert not names_sweep(name)


def test_an_id_is_given_once(common: Trialling) -> None:
    with pytest.raises(ObjectExistsError, match="is there already"):
        create_sweep(common.sweep.root, sweep_spec(), "{}", common.sweep.id)
    common.sweep.add_trial(0, {"train.lr": 1e-3})
    with pytest.raises(ObjectExistsError):
        common.sweep.add_trial(0, {"train.lr": 2e-3})
    assert [trial.parameters for trial in common.sweep.trials()] == [{"train.lr": 1e-3}]


def test_trials_are_in_the_order_of_their_numbers(common: Trialling) -> None:
    for number in (10, 2, 1000, 0):
        common.sweep.add_trial(number, {"train.lr": 1e-3})
    assert [trial.number for trial in common.sweep.trials()] == [0, 2, 10, 1000]


def test_a_trial_is_found_by_its_id_and_no_run_of_the_storage(common: Trialling) -> None:
    trial = made(common, 12)
    assert trial.run == f"{common.sweep.id}-t012"
    found = open_run(common.sweep.root, trial.run)
    assert found.store.address == common.sweep.run_of(trial).store.address
    assert found.store.address == f"{common.sweep.store.address}/runs/{trial.run}"
    assert run_ids(common.sweep.root) == []
    with pytest.raises(UserError, match=f'There is no run "{common.sweep.id}-t013"'):
        open_run(common.sweep.root, f"{common.sweep.id}-t013")


def test_a_sweep_is_no_run(common: Trialling) -> None:
    with pytest.raises(UserError, match=f"{common.sweep.id} is a sweep: give one of its trials, which are runs"):
        open_run(common.sweep.root, common.sweep.id)


def test_a_sweep_that_is_not_there(common: Trialling) -> None:
    root, known = common.sweep.root, common.sweep.id
    assert sweep_ids(root) == [known]
    assert open_sweep(root, known) == common.sweep
    with pytest.raises(UserError, match=f'There is no sweep "{known[:-1]}x" in .*. Did you mean "{known}"'):
        open_sweep(root, f"{known[:-1]}x")
    with pytest.raises(UserError, match="`visionjobs runs` lists them"):
        open_sweep(root, "other")
    with pytest.raises(UserError, match="There are no sweeps there"):
        open_sweep(root.at("elsewhere"), known)


def test_what_was_not_made_whole_is_no_sweep(common: Trialling) -> None:
    common.sweep.root.write("sweeps/sweep-other-1/dataset.json", "{}")
    assert sweep_ids(common.sweep.root) == [common.sweep.id]
    create_sweep(common.sweep.root, sweep_spec(), "{}", "sweep-other-1")
    assert sweep_ids(common.sweep.root) == ["sweep-other-1", common.sweep.id]
