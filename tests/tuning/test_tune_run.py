"""What Tune's run of a sweep writes down, without Tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import made, start_sweep

from visionjobs import patience
from visionjobs.errors import StorageError
from visionjobs.sweep_progress import follow_sweep
from visionjobs.sweeps import Stopped, Sweep
from visionjobs.tuning.board import Board
from visionjobs.tuning.suggest import Suggest
from visionjobs.tuning.tune_run import TuneRun
from visionjobs.tuning.watch import SweepWatcher

NOTHING: Any = None
TWO_VALUES = "sweep.space={train.lr: {choice: [0.001, 0.002]}}"


def test_a_sweep_is_to_have_no_more_trials_than_its_space_holds(tmp_path: Path) -> None:
    common, told = start_sweep(tmp_path, TWO_VALUES), []
    for number, lr in enumerate((1e-3, 2e-3)):
        made(common, number, lr)
    holder = common.sweep.folder.claim("attempt", {"gpus": 0, "at_once": 1})
    holder.update_record(state="running", trials=4, exhausted=False)
    assert follow_sweep(common.sweep).wanted == 4
    board = Board(common.sweep, common.sweep.trials())
    watcher = SweepWatcher(NOTHING, NOTHING, told.append, NOTHING, NOTHING)
    run = TuneRun(common, holder, board, NOTHING, NOTHING, watcher)
    assert Suggest(common, holder, board, [], run._exhausted).suggest("a") == Suggest.FINISHED
    assert follow_sweep(common.sweep).wanted == 2
    assert told == ["the search space gives no more than 2 different trials: sweep.trials = 4 cannot be reached"]


def test_a_storage_that_stays_away_at_an_early_stop_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune hands on only the text of a traceback."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.01)
    common = start_sweep(tmp_path)
    made(common, 0)
    holder = common.sweep.folder.claim("attempt", {"gpus": 0, "at_once": 1})
    board = Board(common.sweep, common.sweep.trials())
    run = TuneRun(common, holder, board, NOTHING, NOTHING, NOTHING)
    away = StorageError("the bucket does not answer")

    def fail(*_: object) -> None:
        raise away

    monkeypatch.setattr(Sweep, "stop_early", fail)
    with pytest.raises(StorageError):
        run._stop_early(0, Stopped(1, 0.5, 0.6))
    assert run._errors == [away]
    assert not board.observed()[0].ended
