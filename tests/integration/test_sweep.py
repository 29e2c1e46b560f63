"""Sweeps under a real Ray Tune: to the end, killed and continued, interrupted, and with failing trials."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest
from cli_runs import Project, kill_9, read_json, wait_until
from sweep_lab import SEARCH_JOB, Ended, attempts_of, progress_of, results, sweep, trial_processes

from visionjobs.jobfile import load_job
from visionjobs.storage import open_store
from visionjobs.sweep_progress import COMPLETE, FAILED, INTERRUPTED, RUNNING, STOPPED
from visionjobs.sweeps import open_sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def searched(project: Project) -> Project:
    (project.folder / "jobs" / "search.yaml").write_text(SEARCH_JOB)
    return project


@pytest.fixture(scope="module")
def whole(searched: Project) -> Ended:
    """A sweep that nobody disturbed."""
    return sweep(searched, "search")


def last_complete(ended: Ended) -> int:
    """The trial that is killed: the last one that trains to the end."""
    number = [trial.number for trial in ended.progress.trials if trial.state == COMPLETE][-1]
    assert number > 0, "trial 0 alone would be a weak test: choose another seed"
    return number


def sweeps_of(project: Project) -> set[str]:
    return {path.name for path in (Path(project.storage) / "sweeps").glob("*")}


def started(project: Project, *options: str) -> tuple[str, object]:
    """A sweep in the background, once its folder is there: its id and its driver."""
    before = sweeps_of(project)
    driver = project.start("sweep", "search", *options)
    wait_until(lambda: sweeps_of(project) - before, "the sweep's folder", driver=driver)
    ((sweep_id),) = sweeps_of(project) - before
    return sweep_id, driver


def rows_of(project: Project, sweep_id: str, number: int) -> int:
    """Epochs that a trial has stored, 0 before it is there."""
    file = Path(project.storage) / "sweeps" / sweep_id / "runs" / f"{sweep_id}-t{number:03}"
    return max((len(path.read_text().splitlines()) for path in file.glob("attempts/*/metrics.jsonl")), default=0)


def test_runs_to_the_end_and_stops_some_early(searched: Project, whole: Ended) -> None:
    progress = whole.progress
    assert progress.state == COMPLETE
    assert [trial.number for trial in progress.trials] == list(range(8))
    states = [trial.state for trial in progress.trials]
    assert states.count(STOPPED) >= 1
    assert set(states) == {STOPPED, COMPLETE}
    assert progress.trials[0].parameters == {"train.lr": 1e-3, "train.batch": 8}, "the job's own"
    assert progress.trials[0].state == COMPLETE
    assert progress.best is not None
    assert progress.best.value <= progress.trials[0].value
    assert all(len(trial.curve) == 9 for trial in progress.trials if trial.state == COMPLETE)
    assert all(len(trial.curve) < 9 for trial in progress.trials if trial.state == STOPPED)
    assert searched.processes() == []


def test_ends_with_the_best_job_its_weights_and_reports(searched: Project, whole: Ended) -> None:
    folder = Path(searched.storage) / "sweeps" / whole.id
    best = whole.progress.best
    job = load_job(folder / "best" / "search_best.yaml")
    assert {"train.lr": job.train.lr, "train.batch": job.train.batch} == best.parameters
    assert job.sweep is None
    run = folder / "runs" / best.run
    assert (run / "weights" / "search.pth").is_file()
    assert (run / "report" / "report.html").is_file()
    assert (folder / "report" / "report.html").is_file()
    assert f"lr: {best.parameters['train.lr']}" in whole.told, "printed as a job file"
    found = results(searched, whole.id)
    assert found["best"]["trial"] == best.number
    assert [trial["state"] for trial in found["trials"]] == [trial.state for trial in whole.progress.trials]


def test_a_trial_is_an_ordinary_run(searched: Project, whole: Ended) -> None:
    """The best trial alone, by `visionjobs run` of its job file: the same numbers; and other verbs know the trial."""
    best = whole.progress.best
    file = Path(searched.storage) / "sweeps" / whole.id / "best" / "search_best.yaml"
    alone = searched.call("run", str(file))
    assert alone.returncode == 0, alone.stderr
    run = open_store(alone.stdout.splitlines()[-1])
    trial = open_store(best.address)
    own, its = (open_store(store.address).read("metrics.json") for store in (run, trial))
    assert json.loads(own)["metrics"] == json.loads(its)["metrics"]
    assert searched.call("report", best.run).returncode == 0
    assert searched.call("compare", best.run, alone.stdout.splitlines()[-1].rpartition("/")[2]).returncode == 0


def test_a_complete_sweep_is_not_run_again_but_may_have_more_trials(searched: Project, whole: Ended) -> None:
    again = searched.call("sweep", "search", "--sweep", whole.id)
    assert again.returncode == 2
    assert f"sweep {whole.id} is complete after 8 trials" in " ".join(again.stderr.split())
    before = attempts_of(searched, whole.id)
    more = sweep(searched, "search", "--sweep", whole.id, "--samples", "9")
    assert len(more.progress.trials) == 9
    assert {number: more.outcomes()[number] for number in range(8)} == whole.outcomes()
    assert {number: attempts_of(searched, whole.id)[number] for number in range(8)} == before


def test_a_killed_trial_is_continued_by_its_sweep(searched: Project, whole: Ended) -> None:
    sweep_id, driver = started(searched)
    killed = last_complete(whole)
    wait_until(lambda: rows_of(searched, sweep_id, killed) >= 3, "epoch 3 of the trial", driver=driver)
    kill_9(trial_processes(searched))
    told = driver.communicate(timeout=300)[1]
    assert driver.returncode == 0, told
    ended = Ended(sweep_id, told, progress_of(searched, sweep_id))
    assert ended.outcomes() == whole.outcomes()
    attempts = attempts_of(searched, sweep_id)
    assert attempts.pop(killed) == 2
    assert set(attempts.values()) == {1}
    assert searched.processes() == []


@pytest.mark.parametrize("what", ["everything", "the driver alone"])
def test_killed_and_continued(searched: Project, whole: Ended, what: str) -> None:
    sweep_id, driver = started(searched)
    killed = last_complete(whole)
    wait_until(lambda: rows_of(searched, sweep_id, killed) >= 3, "epoch 3 of the trial", driver=driver)
    kill_9(searched.processes() if what == "everything" else [psutil.Process(driver.pid)])
    assert driver.wait() == -signal.SIGKILL
    before = progress_of(searched, sweep_id)
    assert before.trials[killed].state == RUNNING, "it must be killed in the middle"
    attempts = attempts_of(searched, sweep_id)

    continued = sweep(searched, "search", "--sweep", sweep_id)
    assert continued.outcomes() == whole.outcomes()
    finished = {trial.number for trial in before.trials if trial.ended}
    assert finished
    after = attempts_of(searched, sweep_id)
    assert {number: after[number] for number in finished} == {number: attempts[number] for number in finished}
    more = after[killed] - attempts[killed]
    assert more == 1 or (what == "the driver alone" and more == 0), "its process may live on for some epochs"
    assert searched.processes() == []


def test_ctrl_c_ends_with_checkpoints_and_says_how_to_continue(searched: Project) -> None:
    sweep_id, driver = started(searched, "--set", "train.epochs=60")
    wait_until(lambda: rows_of(searched, sweep_id, 0) >= 2, "epoch 2 of trial 0", driver=driver)
    driver.send_signal(signal.SIGINT)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert f"Continue with: visionjobs sweep search --sweep {sweep_id}" in " ".join(told.split())
    assert "Traceback" not in told
    swept = progress_of(searched, sweep_id)
    assert swept.state == INTERRUPTED
    wait_until(lambda: searched.processes() == [], "the processes to end", 30)
    (running,) = (trial for trial in swept.trials if not trial.ended)
    assert running.state == INTERRUPTED, "it has stopped, with a checkpoint of its last step"
    run = Path(running.address)
    (attempt,) = read_json(run / "record.json")["attempts"]
    newest = max(
        int(path.parent.name.rpartition("-")[2]) for path in run.glob("attempts/0001/checkpoints/*/manifest.json")
    )
    assert newest == attempt["step"]


def test_asked_to_stop_it_stops(searched: Project) -> None:
    from visionjobs.runs import request_stop

    sweep_id, driver = started(searched, "--set", "train.epochs=60")
    wait_until(lambda: rows_of(searched, sweep_id, 0) >= 1, "epoch 1 of trial 0", driver=driver)
    request_stop(open_sweep(open_store(searched.storage), sweep_id).store, "it was cancelled by ann")
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "the sweep was stopped: it was cancelled by ann" in " ".join(told.split())
    swept = progress_of(searched, sweep_id)
    assert swept.state == INTERRUPTED
    assert all(trial.state in (INTERRUPTED, COMPLETE, STOPPED) for trial in swept.trials)


def test_failing_trials_are_recorded_and_the_sweep_goes_on(searched: Project) -> None:
    """A batch that is larger than the dataset."""
    options = ("--set", "sweep.space={train.batch: {choice: [8, 64, 16]}}", "--set", "train.epochs=2")
    ended = sweep(searched, "search", *options, "--samples", "3", "--set", "sweep.scheduler=none")
    states = {trial.parameters["train.batch"]: trial.state for trial in ended.progress.trials}
    assert states == {8: COMPLETE, 16: COMPLETE, 64: FAILED}
    (failed,) = (trial for trial in ended.progress.trials if trial.state == FAILED)
    assert "train.batch: 64 is more than the 48 training samples" in failed.reason
    assert failed.value is None
    assert "1 of 3 trials failed" in ended.progress.message
    assert results(searched, ended.id)["trials"][failed.number]["reason"] == failed.reason


def test_a_sweep_without_a_complete_trial_fails(searched: Project) -> None:
    """Its only trial is killed, and may not be tried again."""
    sweep_id, driver = started(searched, "--samples", "1", "--set", "limits.attempts=1")
    wait_until(lambda: rows_of(searched, sweep_id, 0) >= 1, "epoch 1 of trial 0", driver=driver)
    kill_9(trial_processes(searched))
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 3, told
    assert "no trial is complete" in told
    told = " ".join(told.split())
    assert "trial 0: " in told
    assert "has used its 1 attempts (limits.attempts); its process ended with: " in told
    assert progress_of(searched, sweep_id).trials[0].state == FAILED


def test_trials_of_two_workers_drive_ray_train(searched: Project) -> None:
    """One that trains to the end, and one that is stopped early."""
    options = ("--set", "resources.workers=2", "--samples", "2", "--set", "train.epochs=2")
    ended = sweep(searched, "search", *options, "--set", "sweep.space={train.lr: {choice: [0.001, 0.000001]}}")
    assert [trial.state for trial in ended.progress.trials] == [COMPLETE, STOPPED]
    run = open_store(ended.progress.trials[0].address)
    (attempt,) = json.loads(run.read("record.json"))["attempts"]
    assert attempt["workers"] == attempt["facts"]["world"] == 2
    assert run.exists("report/report.html")
    assert searched.processes() == []
