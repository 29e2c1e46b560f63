"""`visionjobs runs` of sweeps: a table and JSON objects of their own, their trials not among the runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import sweep_spec

from visionjobs.runs import Attempt
from visionjobs.storage import open_store
from visionjobs.sweep_progress import follow_sweep
from visionjobs.sweeps import Sweep, create_sweep


def record(sweep: Sweep, **changes: Any) -> None:
    """Change the sweep's record."""
    Attempt(sweep.folder, 1).update_record(**changes)


def rows(visionjobs: Callable[..., Any], *arguments: str) -> list[dict[str, Any]]:
    """What `visionjobs runs --json` prints."""
    ended = visionjobs("runs", "--json", *arguments)
    assert ended.status == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def line(err: str, sweep_id: str) -> list[str]:
    """The words of a sweep's line, from its id on."""
    return err[err.index(sweep_id) :].split()


def test_a_sweep_has_a_line_without_its_trials(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    best = follow_sweep(swept).best
    assert best is not None
    ended = visionjobs("runs")
    assert (ended.status, ended.out) == (0, "")
    wanted = ["complete", "3/3", "val_loss", f"{best.value:.4f},", "trial", str(best.number)]
    assert line(ended.err, swept.id)[1:7] == wanted
    assert "-t00" not in ended.err
    assert " epochs " not in ended.err, "there are no runs, and no table of them"


def test_the_id_is_whole_in_80_columns(
    visionjobs: Callable[..., Any], swept: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    longest = create_sweep(swept.root, sweep_spec().model_copy(update={"name": "j" * 25}), "{}")
    told = visionjobs("runs").err
    assert line(told, longest.id)[1:4] == ["not", "started", "0/4"]
    assert line(told, swept.id)[1:3] == ["complete", "3/3"]


def test_json_tells_its_kind_and_its_best(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    best = follow_sweep(swept).best
    assert best is not None
    (row,) = rows(visionjobs)
    told = {key: row[key] for key in ("kind", "run", "job", "task", "state", "metric", "trials_ended", "trials_wanted")}
    assert told == {
        "kind": "sweep", "run": swept.id, "job": "tiny", "task": "classification", "state": "complete",
        "metric": "val_loss", "trials_ended": 3, "trials_wanted": 3,
    }  # fmt: skip
    assert row["best"] == {"trial": best.number, "metric": "val_loss", "value": best.value}
    assert (row["attempts"], row["address"]) == (1, swept.store.address)


def test_one_whose_space_is_exhausted_wants_no_more(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    Attempt(swept.folder, 1).update_record(trials=2, exhausted=True)
    assert [row["trials_wanted"] for row in rows(visionjobs)] == [2]


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_one_that_has_not_ended_is_told_from_its_trials(
    visionjobs: Callable[..., Any], swept: Sweep, state: str
) -> None:
    """The record tells the best one only at the end."""
    (ended,) = rows(visionjobs)
    swept.add_trial(3, {"train.lr": 3e-3})
    record(swept, state=state, best=None, trials_done=None)
    (row,) = rows(visionjobs)
    assert (row["state"], row["trials_ended"], row["best"]) == (state, 3, ended["best"])


def test_one_that_has_not_begun(visionjobs: Callable[..., Any], tmp_path: Path) -> None:
    sweep = create_sweep(open_store(str(tmp_path / "storage")), sweep_spec(), "{}")
    (row,) = rows(visionjobs)
    assert (row["state"], row["trials_ended"], row["trials_wanted"], row["best"]) == ("not started", 0, 4, None)
    assert line(visionjobs("runs").err, sweep.id)[1:] == ["not", "started", "0/4"]


def test_runs_stand_first_each_kind_by_itself(visionjobs: Callable[..., Any], project: Any, swept: Sweep) -> None:
    told = visionjobs("runs").err
    assert told.index(project.second.id) < told.index(swept.id)
    kinds = [row["kind"] for row in rows(visionjobs)]
    assert kinds == ["run", "run", "run", "sweep"]
    by_metric = rows(visionjobs, "--sort", "accuracy")
    assert [row["kind"] for row in by_metric] == kinds, "a metric sorts the runs alone"
    assert "metrics" not in by_metric[-1]


def test_only_those_of_a_job_or_since_a_date(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    day = swept.folder.record()["created"][:10]
    assert [row["run"] for row in rows(visionjobs, "--job", "tiny", "--since", day)] == [swept.id]
    assert rows(visionjobs, "--job", "other") == []
    assert rows(visionjobs, "--since", "2999-01-01") == []
    assert "There are no such runs" in visionjobs("runs", "--job", "other").err


@pytest.mark.parametrize("key", ["spec.yaml", "record.json", "trials/0001.json", "trials/0002.stopped.json"])
def test_a_damaged_sweep_is_a_warning(visionjobs: Callable[..., Any], swept: Sweep, key: str) -> None:
    whole = create_sweep(swept.root, sweep_spec(), "{}")
    record(swept, state="interrupted")  # so that its trials are looked at
    swept.store.write(key, '{"number": ')
    ended = visionjobs("runs")
    assert ended.status == 0, ended.err
    assert f"{swept.store.address}/{key}" in ended.err
    assert line(ended.err, whole.id)[1:4] == ["not", "started", "0/4"]
