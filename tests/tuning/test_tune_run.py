"""What Tune's run of a sweep writes down, without Tune."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import made, start_sweep, trained

from visionjobs import patience
from visionjobs.errors import StorageError
from visionjobs.sweep_progress import follow_sweep
from visionjobs.sweeps import Stopped, Sweep
from visionjobs.tuning.asha import ENDED, EPOCH, NUMBER, VALUE, Asha
from visionjobs.tuning.board import Board
from visionjobs.tuning.suggest import Suggest
from visionjobs.tuning.trial import BROKEN_OFF, FAILED
from visionjobs.tuning.tune_run import TuneRun, _Events
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


@dataclass(frozen=True)
class TunesTrial:
    """What Tune hands to a callback."""

    number: int
    error_file: str | None

    @property
    def config(self) -> dict[str, Any]:
        return {"number": self.number}


DIED = """Failure # 1 (occurred at 2026-11-28_19-08-37)
The actor died unexpectedly before finishing this task.
\tclass_name: TrialActor
\tpid: 20995
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed
"""

RAISED = """Failure # 2 (occurred at 2026-11-28_19-08-39)
\x1b[36mray::TrialActor.train()\x1b[39m (pid=21376, ip=192.0.2.2)
  File "trainable.py", line 326, in train
    result = self.step()
visionjobs.errors.VisionjobsError: the worker failed with RuntimeError: a device is gone
"""
"""As Tune keeps them, one after the other."""


@dataclass
class Put:
    numbers: list[int]

    def put(self, trial: Any) -> None:
        self.numbers.append(trial.number)


def test_why_a_process_was_lost_is_told_at_once_and_in_the_trials_record(tmp_path: Path) -> None:
    common, told, ended = start_sweep(tmp_path), [], Put([])
    made(common, 0)
    holder = common.sweep.folder.claim("attempt", {"gpus": 0, "at_once": 1})
    board = Board(common.sweep, common.sweep.trials())
    watcher = SweepWatcher(NOTHING, NOTHING, told.append, NOTHING, NOTHING)
    run: Any = TuneRun(common, holder, board, ended, NOTHING, watcher)
    events = _Events(run)
    died, raised = tmp_path / "error1.txt", tmp_path / "error2.txt"
    died.write_text(DIED)
    raised.write_text(DIED + RAISED)
    why = (
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file."
    )
    events.on_trial_recover(1, [], TunesTrial(0, str(died)))
    assert told == [f"trial 0: {why}; it goes on in another process"]
    assert ended.numbers == []
    run.reported({NUMBER: 0, EPOCH: 0, VALUE: None, ENDED: FAILED, "message": "it has used its 10 attempts"})
    message = common.sweep.run_of(common.sweep.trials()[0]).record()["message"]
    assert message == f"it has used its 10 attempts; its process ended with: {why}"

    events.on_trial_error(1, [], TunesTrial(0, str(raised)))
    events.on_trial_error(1, [], TunesTrial(0, None))
    run.reported({NUMBER: 0, EPOCH: 0, VALUE: None, ENDED: BROKEN_OFF, "message": "the bucket is away"})
    assert told[1:] == [
        "trial 0: the worker failed with RuntimeError: a device is gone",
        "trial 0: its process is lost",
        "trial 0: the bucket is away",
    ]
    assert run.broken == {0: "the bucket is away"}
    assert ended.numbers == [0, 0]


@pytest.mark.parametrize(
    ("at_once", "passed"),
    [((1,), []), ((1, 1), []), ((4, 1), [1]), ((1, 4), [1])],
)
def test_what_a_rung_has_judged_is_not_judged_again_where_others_reported_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: tuple[int, ...], passed: list[int]
) -> None:
    """One that ran reports its epochs again: alone it meets the records of then; else only its last one is to judge."""
    common, remembered = start_sweep(tmp_path, "train.epochs=9"), {}
    trial = trained(common, 0, stop_after=2)
    assert len(common.sweep.run_of(trial).history()) == 2
    monkeypatch.setattr(Asha, "remember", lambda _, number, curve: remembered.update({number: curve}))
    for number in at_once:
        holder = common.sweep.folder.claim("attempt", {"gpus": 0, "at_once": number})
    TuneRun(common, holder, Board(common.sweep, common.sweep.trials()), NOTHING, NOTHING, NOTHING)._scheduler()
    assert [epoch for epoch, _ in remembered[0]] == passed
