"""What Tune's run of a sweep writes down, without Tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_sweep import made, start_sweep

from visionjobs.sweep_progress import follow_sweep
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
    assert Suggest(common, board, [], run._exhausted).suggest("a") == Suggest.FINISHED
    assert follow_sweep(common.sweep).wanted == 2
    assert told == ["the search space gives no more than 2 different trials: sweep.trials = 4 cannot be reached"]
