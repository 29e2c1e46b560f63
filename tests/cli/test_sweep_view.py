"""What `visionjobs sweep` shows: a table of the trials on a terminal, lines without one."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from made_sweeps import SWEEP, many, progress, trial, waiting
from rich.console import Console

from visionjobs.cli import console as console_module
from visionjobs.cli import sweep_view
from visionjobs.cli.sweep_view import SweepView, short_names, summary_line, trial_table
from visionjobs.cluster.local import Connection, Resources
from visionjobs.cluster.sizes import Share, Trials
from visionjobs.runs import Attempt
from visionjobs.storage import open_store
from visionjobs.sweep_progress import COMPLETE, ENDING, FAILED, INTERRUPTED, RUNNING, STOPPED, SweepProgress, TrialState
from visionjobs.sweeps import sweep_at

LR = {"train.lr": 1e-3}


def drawn(told: SweepProgress, rows: int | None = None, width: int = 200) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(trial_table(told, rows))
    return console.file.getvalue().splitlines()


def lines_of(told: SweepProgress, **options: Any) -> dict[str, list[str]]:
    """Trial number -> the cells of its line."""
    rows = (re.split(r" {2,}", line.strip()) for line in drawn(told, **options))
    return {cells[0].split()[0]: cells for cells in rows if cells[0].split()[0].isdigit()}


def running(number: int, *curve: float, eta: float | None = None, **parameters: Any) -> TrialState:
    return replace(trial(number, parameters or LR, curve, RUNNING), eta_seconds=eta)


# The table.


def test_a_line_tells_all_of_a_trial() -> None:
    trials = [
        trial(0, {"train.lr": 1e-3, "train.batch": 32, "train.schedule": "cosine"}, (0.25, 0.5), epochs=2),
        running(1, 0.125, eta=75.0, **{"train.lr": 3.651e-4, "train.batch": 16, "train.schedule": "constant"}),
    ]
    table = drawn(progress(trials))
    assert table[0].split() == [
        "trial", "lr", "batch", "schedule", "state", "epochs", "accuracy", "left",
    ]  # fmt: skip
    assert lines_of(progress(trials)) == {
        "0": ["0 own", "0.001", "32", "cosine", "complete", "2/2", "0.5000 *"],
        "1": ["1", "3.65e-4", "16", "constant", "running", "1/10", "0.1250", "1:15"],
    }


def test_the_best_one_is_marked() -> None:
    """Not the one that was stopped early with a better value."""
    trials = [trial(0, LR, (0.5,)), trial(1, LR, (0.75,)), trial(2, LR, (0.875,), STOPPED), trial(3, LR, (0.75,))]
    marked = [number for number, cells in lines_of(progress(trials)).items() if any("*" in cell for cell in cells)]
    assert marked == ["1"]
    assert "* the best of those that are complete" in drawn(progress(trials))[-1]


def test_without_a_complete_trial_nothing_is_marked() -> None:
    assert not any("*" in line for line in drawn(progress([running(0, 0.5), waiting(1)])))


def test_states_have_colours() -> None:
    states = (COMPLETE, RUNNING, STOPPED, FAILED, INTERRUPTED, ENDING, "silent for 0:12:00")
    trials = [trial(number, LR, (0.5,), state) for number, state in enumerate(states)]
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
    console.print(trial_table(progress(trials)))
    text = console.file.getvalue()
    for code, word in {32: "complete", 36: "running", 33: "stopped", 31: "failed"}.items():
        assert f"\x1b[{code}m{word}" in text
    assert "silent" in text


@pytest.mark.parametrize("rows", [1, 4, 9, 12])
def test_as_many_as_fit_the_terminal(rows: int) -> None:
    trials = many(12, stopped=False)
    trials[3] = replace(trials[3], state=RUNNING)
    told = progress(trials)
    found = lines_of(told, rows=rows)
    assert len(found) == rows
    assert list(found) == sorted(found, key=int)
    best = str(told.best.number) if told.best else ""
    assert set(found) >= ({best} if rows == 1 else {best, "3"})
    assert any(f"... and {12 - rows} more" in line for line in drawn(told, rows)) == (rows < 12)


def test_of_those_that_do_not_fit_the_worst_are_left_out() -> None:
    trials = [trial(number, LR, (value,)) for number, value in enumerate((0.1, 0.9, 0.4, 0.7))]
    assert list(lines_of(progress(trials), rows=2)) == ["1", "3"]
    losses = progress(trials, maximise=False)
    assert list(lines_of(losses, rows=2)) == ["0", "2"]


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_cuts_off_parameters_and_nothing_else(width: int) -> None:
    trials = many(12)
    table = drawn(progress(trials), width=width)
    assert max(map(len, table)) <= width
    rows = [line for line in table if re.match(r"\d+ ", line)]
    assert len(rows) == 12, "one line each"
    for row, known in zip(rows, trials, strict=True):
        assert f"{known.value:.4f}" in row
        assert f"{known.epochs_done}/10" in row
        assert known.state.split()[0] in row


def test_short_names() -> None:
    assert short_names(["train.lr", "data.copies"]) == ["lr", "copies"]
    assert short_names(["train.batch", "detect.batch", "train.lr"]) == ["train.batch", "detect.batch", "lr"]


def test_summary() -> None:
    trials = [trial(0, LR, [0.5] * 10), running(1, *[0.25] * 5)]
    assert summary_line(progress(trials, state=RUNNING, wanted=2)) == (
        "1 of 2 trials ended; best so far: trial 0, val_accuracy 0.5000; about 7:30 left"
    )
    assert summary_line(progress([waiting(0)], state=RUNNING)) == "0 of 1 trials ended"
    long = summary_line(progress(trials, state=RUNNING, wanted=12))
    assert long.endswith("about 2:37:30 left"), "105 epochs at 90 s"


# The view.


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The lines without a terminal of progress after progress, so many seconds apart."""

    def show(*told: SweepProgress, seconds: float = 1.0) -> list[str]:
        clock = itertools.count(1000.0, seconds)
        monkeypatch.setattr(sweep_view.time, "monotonic", lambda: next(clock))
        console = Console(file=io.StringIO(), width=60)
        with SweepView(console) as view:
            for one in told:
                view.watcher().changed(one)
        return [line for line in console.file.getvalue().splitlines() if "trials ended" not in line]

    return show


def going(*trials: TrialState) -> SweepProgress:
    return progress(trials, state=RUNNING, wanted=4)


def test_without_a_terminal_a_line_when_a_trial_begins_and_ends(lines: Callable[..., list[str]]) -> None:
    other = {"train.lr": 0.0125, "train.batch": 16}
    told = lines(
        going(running(0)), going(running(0, 0.25)),
        going(replace(running(0, 0.25, 0.5), state=ENDING), running(1, **other)),
        going(trial(0, LR, (0.25, 0.5), epochs=2), running(1, 0.125, **other)),
        going(
            trial(0, LR, (0.25, 0.5), epochs=2),
            replace(  # it went on for an epoch until it heard of it
                trial(1, other, (0.125,), STOPPED, reason="after epoch 1: 0.125 did not reach 0.25"), epochs_done=2
            ),
        ),
    )  # fmt: skip
    assert told == [
        "trial 0 begins: lr 0.001",
        "trial 1 begins: lr 0.0125, batch 16",
        "trial 0 is complete with val_accuracy 0.5000 after 2 of 2 epochs; best so far: trial 0, 0.5000",
        "trial 1 is stopped early with val_accuracy 0.1250 (after epoch 1: 0.125 did not reach 0.25); "
        "best so far: trial 0, 0.5000",
    ]


def test_a_failure_is_told_as_it_is(lines: Callable[..., list[str]]) -> None:
    """What stands in brackets would be markup to rich."""
    reason = "the loss is not finite [/red] in [batch 3]"
    told = lines(going(running(0)), going(trial(0, LR, (), FAILED, reason=reason)))
    assert told[-1] == f"trial 0 is failed with no val_accuracy after 0 of 10 epochs ({reason})"


def test_what_ended_in_an_earlier_attempt_is_not_told_again(lines: Callable[..., list[str]]) -> None:
    before = trial(0, LR, (0.5,))
    told = lines(going(before, running(1)), going(before, trial(1, LR, (0.75,))))
    assert [line.split(":")[0] for line in told] == [
        "trial 1 begins", "trial 1 is complete with val_accuracy 0.7500 after 1 of 10 epochs; best so far",
    ]  # fmt: skip


def test_one_that_is_killed_and_tried_again_begins_again(lines: Callable[..., list[str]]) -> None:
    killed = trial(0, LR, (0.5,), INTERRUPTED, reason="its process was killed")
    told = lines(going(running(0, 0.5)), going(killed), going(running(0, 0.5, 0.6)))
    assert [" ".join(line.split()[:3]) for line in told] == ["trial 0 begins:", "trial 0 is", "trial 0 begins:"]
    assert "(its process was killed)" in told[1]


def test_without_a_terminal_progress_every_15_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1000.0, 2.5)
    monkeypatch.setattr(sweep_view.time, "monotonic", lambda: next(clock))
    console = Console(file=io.StringIO(), width=200)
    with SweepView(console) as view:
        for done in range(1, 21):
            view.watcher().changed(going(running(0, *[0.5] * done)))
    told = [line for line in console.file.getvalue().splitlines() if "trials ended" in line]
    assert 2 <= len(told) <= 4


def start(view: SweepView, folder: str, private: bool = True) -> None:
    sweep = sweep_at(open_store(folder), SWEEP)
    connection = Connection(private, "http://127.0.0.1:8265", Resources(2, 1))
    view.watcher().started(sweep, Attempt(sweep.folder, 1), connection, Trials(2, Share(1, 1, 0.5), 2))


def test_what_is_told_at_the_start(tmp_path: Any) -> None:
    console = Console(file=io.StringIO(), width=40)
    with SweepView(console) as view:
        assert view.sweep_id is None
        start(view, str(tmp_path))
        view.watcher().transfer("dataset [tiny]", 3_000_000)(1_000_000)
        view.watcher().stage("the sweep's report")
    assert view.sweep_id == SWEEP
    assert console.file.getvalue().splitlines() == [
        f"sweep {SWEEP} on a private Ray, dashboard http://127.0.0.1:8265",
        f"sweep folder {tmp_path}/sweeps/{SWEEP}",
        "2 trial(s) at once, each with 1 worker(s) of 1 CPU(s) and 0.5 GPU(s)",
        "starting the first trial",
        "checking and fetching dataset [tiny] (3 MB)",
        "the sweep's report",
    ]


def test_a_warning_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(console_module, "err", err)
    view = SweepView(Console(file=io.StringIO()))
    for text in ("one [x]", "another", "one [x]"):
        view.watcher().warn(text)
    assert err.file.getvalue().splitlines() == ["warning: one [x]", "warning: another"]


def test_on_a_terminal_the_table_is_drawn_anew(tmp_path: Any) -> None:
    console = Console(file=io.StringIO(), width=100, height=14, force_terminal=True, color_system=None)
    trials = many(12)
    with SweepView(console) as view:
        start(view, str(tmp_path))
        view.watcher().transfer("the dataset", 2_000_000)(1_000_000)
        view._live.refresh()
        assert "fetching the dataset: 1 of 2 MB" in console.file.getvalue()
        view.watcher().stage("completing trial 0")
        view._live.refresh()
        assert "completing trial 0" in console.file.getvalue()
        view.watcher().changed(progress(trials, state=RUNNING, wanted=16))
    last = console.file.getvalue().rpartition("trial ")[0].rpartition("trial  lr")[2]
    assert "... and 6 more" in last, "of 12, on 14 lines"
    assert "trials ended" in console.file.getvalue()
    assert "begins" not in console.file.getvalue(), "the table tells"


def test_30_trials_stay_within_a_terminal_of_80_times_24() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    trials = [replace(one, number=number) for number, one in enumerate(many(30))]
    trials[28] = replace(trials[28], state=RUNNING, eta_seconds=4000.0)
    view = SweepView(console)
    view.watcher().changed(progress(trials, state=RUNNING, wanted=40))
    view.watcher().stage("completing trial 27")
    lines = console.render_lines(view._draw(), pad=False)
    text = ["".join(segment.text for segment in line) for line in lines]
    assert len(text) <= 24
    assert max(map(len, text)) <= 80
    assert len([line for line in text if re.match(r"\d+ ", line)]) >= 14
    for known in trials:  # half a number tells something else
        line = next((line for line in text if re.match(rf"{known.number} ", line)), None)
        assert line is None or line.replace(" own", "").split()[1] == sweep_view._value(known.parameters["train.lr"])
    assert any(line.startswith("28 ") and "running" in line and "1:06:40" in line for line in text)
    assert any(" * " in line for line in text), "the best one"
    told = " ".join(text)
    for shown in ("... and 1", "of 40 trials ended", "best so far: trial", "left", "completing trial 27"):
        assert shown in told


def test_values_in_brackets_are_no_markup() -> None:
    trials = [trial(0, {"model.weights": "[red]mine[/red].pt", "data.size": [64, 96]}, (0.5,))]
    told = drawn(progress(trials))
    assert any("[red]mine[/red].pt" in line and "[64, 96]" in line for line in told)
    console = Console(file=io.StringIO(), width=200)
    with SweepView(console) as view:
        view.watcher().changed(progress([replace(trials[0], state=RUNNING)], state=RUNNING))
    assert "trial 0 begins: weights [red]mine[/red].pt, size [64, 96]" in console.file.getvalue()


def test_values_that_do_not_exist() -> None:
    """Of a trial that has not begun, and of one that another attempt made with other keys."""
    found = lines_of(progress([trial(0, {"train.lr": 1e-3, "train.batch": 8}, (float("nan"),)), waiting(1)]))
    assert found["0"][-1] == "nan"
    assert found["1"] == ["1", "waiting", "0/10", "n/a"]
