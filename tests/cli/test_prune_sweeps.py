"""`visionjobs prune` of sweeps: of an ended one the trials' checkpoints go, one that may be continued keeps all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visionjobs.runs import OUTPUTS, Attempt
from visionjobs.sweep_progress import COMPLETE, FAILED, INTERRUPTED, STOPPED, follow_sweep
from visionjobs.sweeps import Sweep

DAY = 86400


def keys(sweep: Sweep) -> set[str]:
    """Of all files of the sweep."""
    return {entry.key for entry in sweep.store.entries()}


def checkpoints(sweep: Sweep, number: int) -> set[str]:
    """Of a trial."""
    return {key for key in keys(sweep) if f"-t00{number}/attempts/0001/checkpoints/" in key}


def leave(sweep: Sweep, number: int) -> set[str]:
    """What an attempt that was cut off leaves, in a trial's folder."""
    folder = f"runs/{sweep.id}-t00{number}/attempts/0001"
    left = {f"{folder}/{name}" for name in ("ray/state.json", "predictions/part-0.parquet", OUTPUTS)}
    for key in left:
        sweep.store.write(key, b"left")
    return left


def fail(sweep: Sweep, number: int) -> None:
    """As a trial that is not tried again."""
    run = sweep.run_of(sweep.trials()[number])
    Attempt(run, run.claims()[-1].number).update_record(state="failed", message="the loss is not finite")


def record(sweep: Sweep, **changes: Any) -> None:
    """Change the sweep's record."""
    Attempt(sweep.folder, 1).update_record(**changes)


def test_of_an_ended_sweep_only_what_continues_its_trials_goes(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    fail(swept, 1)
    assert [trial.state for trial in follow_sweep(swept).trials] == [COMPLETE, FAILED, STOPPED]
    may_go = {key for number in range(3) for key in leave(swept, number) | checkpoints(swept, number)}
    assert all(checkpoints(swept, number) for number in range(3))
    before, progress = keys(swept), follow_sweep(swept)

    shown = visionjobs("prune")
    assert shown.status == 0, shown.err
    assert "Nothing was deleted" in shown.err
    assert f"{swept.id}-t000/attempts/0001/checkpoints its sweep is complete" in shown.err.replace("│ ", "")
    assert keys(swept) == before

    assert visionjobs("prune", "--yes").status == 0
    assert before - keys(swept) == may_go
    assert follow_sweep(swept) == progress
    assert "nothing to prune" in visionjobs("prune").err


def test_of_a_failed_sweep_a_trial_that_did_not_end_keeps_all(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    record(swept, state="failed", message="no trial is complete")
    run = swept.run_of(swept.trials()[0])
    Attempt(run, run.claims()[-1].number).update_record(state=INTERRUPTED)
    kept = checkpoints(swept, 0)
    assert visionjobs("prune", "--yes").status == 0
    assert kept
    assert checkpoints(swept, 0) == kept
    assert not checkpoints(swept, 1) | checkpoints(swept, 2)


@pytest.mark.parametrize("state", ["running", "interrupted", None])
def test_one_that_may_be_continued_keeps_all(visionjobs: Callable[..., Any], swept: Sweep, state: str | None) -> None:
    leave(swept, 2)
    if state is None:  # no attempt has written its record yet
        swept.store.delete(["record.json"])
    else:
        record(swept, state=state)
    before = keys(swept)
    assert "nothing to prune" in visionjobs("prune", "--yes").err
    assert keys(swept) == before


@pytest.mark.parametrize("key", ["record.json", "trials/0001.json", "trials/0002.stopped.json"])
def test_a_damaged_one_is_left_alone(visionjobs: Callable[..., Any], project: Any, swept: Sweep, key: str) -> None:
    """And the rest is pruned."""
    swept.store.write(key, "{")
    before = keys(swept)
    ended = visionjobs("prune", "--yes")
    assert ended.status == 0, ended.err
    assert f"{swept.store.address}/{key} is not valid JSON" in ended.err
    assert "It is left alone" in ended.err
    assert keys(swept) == before
    assert not [entry for entry in project.first.store.entries("attempts") if "/checkpoints/" in entry.key]


def test_code_that_a_sweep_was_submitted_with_stays(
    visionjobs: Callable[..., Any], swept: Sweep, tmp_path: Path
) -> None:
    """Also of one that has not begun: its folder holds no more than the note."""
    ended, waiting, unused = "a" * 64, "b" * 64, "c" * 64
    for sha256 in (ended, waiting, unused):
        swept.root.write(f"code/{sha256}.zip", b"zip")
        at = time.time() - 30 * DAY
        os.utime(tmp_path / "storage" / "code" / f"{sha256}.zip", (at, at))
    swept.store.write("submission.json", json.dumps({"backend": "rayjob", "code": ended}))
    swept.root.write("sweeps/sweep-tiny-waiting/submission.json", json.dumps({"backend": "rayjob", "code": waiting}))
    assert visionjobs("prune", "--yes").status == 0
    assert {entry.key for entry in swept.root.entries("code")} == {f"code/{ended}.zip", f"code/{waiting}.zip"}
