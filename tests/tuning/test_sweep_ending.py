"""What a sweep ends with: a job file that trains the best trial again, results.json and a report that agree."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from finished_sweep import RATES, begin, complete, end, make_sweep, stop_early, the_sweep
from page_text import PageText
from tiny_sweep import start_sweep, trained

from visionjobs.errors import FinalError, SupersededError, UserError, VisionjobsError
from visionjobs.jobfile import load_job
from visionjobs.report.formatting import moment
from visionjobs.report.sweep import build_sweep_report
from visionjobs.runs import Attempt, Run, dump_rows
from visionjobs.storage import Store
from visionjobs.sweep_progress import COMPLETE, STOPPED, follow_sweep
from visionjobs.sweeps import Sweep, trial_spec
from visionjobs.tuning import ending
from visionjobs.tuning.driver import check_may_go_on
from visionjobs.tuning.ending import finish_sweep
from visionjobs.tuning.load import load_sweep


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ended")
    make_sweep(folder)
    return folder


@pytest.fixture
def sweep(made: Path, tmp_path: Path) -> Sweep:
    shutil.copytree(made / "storage", tmp_path / "storage")
    return the_sweep(tmp_path)


def files(sweep: Sweep) -> dict[str, bytes]:
    """All that it ends with."""
    keys = [entry.key for folder in ("best", "report") for entry in sweep.store.entries(folder)]
    return {key: sweep.store.read(key) for key in (*keys, "results.json")}


def page(sweep: Sweep) -> PageText:
    return PageText(sweep.store.read("report/report.html").decode())


def test_all_agree_on_the_best_trial(sweep: Sweep) -> None:
    progress = follow_sweep(sweep)
    assert [trial.state for trial in progress.trials] == [COMPLETE, COMPLETE, STOPPED]
    last = [sweep.run_of(trial).history()[-1]["val_loss"] for trial in sweep.trials()[:2]]
    number = last.index(min(last))
    assert progress.best is not None
    assert (progress.best.number, progress.best.value) == (number, last[number])

    results = json.loads(sweep.store.read("results.json"))
    assert (results["best"]["trial"], results["best"]["value"]) == (number, last[number])
    assert [trial["state"] for trial in results["trials"]] == [COMPLETE, COMPLETE, STOPPED]
    record = sweep.folder.record()
    assert record["state"] == COMPLETE
    assert record["best"] == {"trial": number, "metric": "val_loss", "value": last[number]}
    assert load_job(Path(sweep.store.address, "best/tiny_best.yaml")).train.lr == RATES[number]
    assert f"Trial {number}" in page(sweep).text
    assert moment(record["finished"]) in page(sweep).text
    assert "best/tiny_best.yaml" in page(sweep).text


def test_its_report_leads_to_the_trials_own(sweep: Sweep) -> None:
    links = {link for link in page(sweep).links if not link.startswith("#")}
    assert {Path(link).parent.parent.name for link in links} == {f"{sweep.id}-t000", f"{sweep.id}-t001"}
    assert all(Path(sweep.store.address, "report", link).is_file() for link in links)


def test_the_job_file_is_the_best_trials_own_job(sweep: Sweep) -> None:
    """But for its name and the versions that its run has pinned."""
    best = follow_sweep(sweep).best
    assert best is not None
    job = load_job(Path(sweep.store.address, "best/tiny_best.yaml"))
    assert job.sweep is None
    wanted = trial_spec(sweep.spec(), best.parameters).model_dump(exclude={"name": True, "data": {"version"}})
    assert job.model_dump(exclude={"name": True, "data": {"version"}}) == wanted


def test_its_report_is_that_of_the_folder_which_it_leaves(made: Path) -> None:
    """So `visionjobs report` builds the same one."""
    sweep = the_sweep(made)
    report = sweep.store.at("report")
    written = {entry.key: report.read(entry.key) for entry in report.entries()}
    assert build_sweep_report(load_sweep(sweep, follow_sweep(sweep))) == written


def test_written_again_it_is_the_same(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "now", lambda: "2026-05-04T10:11:12+00:00")
    stages: list[str] = []
    progress = finish_sweep(sweep, Attempt(sweep.folder, 1), stages.append)
    assert (stages, progress.finished) == (["the sweep's report"], "2026-05-04T10:11:12+00:00")
    before = files(sweep)
    sweep.store.delete(list(before))
    finish_sweep(sweep, Attempt(sweep.folder, 1), stages.append)
    assert files(sweep) == before


def test_whoever_was_superseded_writes_nothing(sweep: Sweep) -> None:
    before = files(sweep)
    sweep.folder.claim("attempt", {})
    sweep.store.delete(list(before))
    with pytest.raises(SupersededError):
        finish_sweep(sweep, Attempt(sweep.folder, 1), lambda _: None)
    assert not [key for key in before if sweep.store.exists(key)]


def test_a_job_file_of_another_trial_is_not_named(sweep: Sweep) -> None:
    """A continued sweep has found a better one, and has not ended yet."""
    summary = load_sweep(sweep, follow_sweep(sweep))
    assert summary.job_path == f"{sweep.store.address}/best/tiny_best.yaml"
    assert summary.job_file == Path(summary.job_path).read_text()
    sweep.store.write("best/tiny_best.yaml", "task: classification\n")
    stale = load_sweep(sweep, follow_sweep(sweep))
    assert (stale.job_file, stale.job_path) == ("", "")
    assert "tiny_best.yaml" not in build_sweep_report(stale)["report.html"].decode()


@dataclass(frozen=True)
class InABucket:
    """A store with another address."""

    store: Store
    address: str = "s3://bucket/sweeps/sweep-tiny"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def test_one_that_was_submitted_is_read_and_continued_from_anywhere(sweep: Sweep) -> None:
    sweep.store.write("submission.json", json.dumps({"backend": "job", "namespace": "vision"}))
    there = Sweep(Run(sweep.id, InABucket(sweep.store)), sweep.root)
    summary = load_sweep(there, follow_sweep(sweep))
    assert summary.job_path == "tiny_best.yaml"
    assert summary.job_file == sweep.store.read("best/tiny_best.yaml").decode()
    assert summary.continued_by == f"visionjobs submit tiny --run {sweep.id} --backend job"
    assert "s3://" not in build_sweep_report(summary)["report.html"].decode()


def test_one_of_this_machine_is_continued_here(sweep: Sweep) -> None:
    progress = replace(follow_sweep(sweep), wanted=9, state="interrupted")
    shown = PageText(build_sweep_report(load_sweep(sweep, progress))["report.html"].decode())
    assert f"may be continued by visionjobs sweep tiny --sweep {sweep.id}" in shown.text


def test_with_other_resources_its_trials_must_be_able_to_go_on(tmp_path: Path) -> None:
    """Fifteen images a batch between two workers."""
    space = "sweep={metric: val_loss, trials: 4, space: {train.batch: {choice: [15, 16]}}}"
    common = start_sweep(tmp_path, space)
    sweep, spec = common.sweep, common.spec
    begun = sweep.add_trial(0, {"train.batch": 15})
    sweep.folder.claim("attempt", {"at_once": 1}).update_record(state="interrupted", trials=4)
    check_may_go_on(sweep, spec)
    two = spec.model_copy(update={"resources": spec.resources.model_copy(update={"workers": 2})})
    with pytest.raises(UserError, match=r"train\.batch = 15.*not a multiple of resources\.workers = 2"):
        check_may_go_on(sweep, two)
    sweep.make_run(begun, trial_spec(spec, begun.parameters), "{}")
    sweep.fail(begun, "out of memory", {})
    check_may_go_on(sweep, two)


def test_a_better_trial_of_a_continued_sweep_takes_the_place_of_the_best(tmp_path: Path) -> None:
    common = start_sweep(tmp_path, "train.epochs=1", "sweep.trials=1")
    holder = begin(common)
    complete(common, trained(common, 0, lr=1e-4))
    assert end(common, holder).best == follow_sweep(common.sweep).trials[0]
    before = files(common.sweep)
    holder = begin(common)
    holder.update_record(changes={"sweep.trials": [1, 2]})
    complete(common, trained(common, 1, lr=5e-3))
    best = end(common, holder).best
    assert best is not None
    assert best.number == 1
    after = files(common.sweep)
    assert after["best/tiny_best.yaml"] != before["best/tiny_best.yaml"]
    assert load_job(Path(common.sweep.store.address, "best/tiny_best.yaml")).train.lr == 5e-3
    assert json.loads(after["results.json"])["best"]["trial"] == 1
    assert len(json.loads(after["results.json"])["trials"]) == 2
    assert f"{common.sweep.id}-t001" in after["report/report.html"].decode()
    assert common.sweep.folder.record()["best"]["trial"] == 1


def test_without_a_complete_trial_there_is_no_best_one(tmp_path: Path) -> None:
    common = start_sweep(tmp_path, "train.epochs=1")
    holder = begin(common)
    trial = trained(common, 0)
    stop_early(common, trial)
    progress = finish_sweep(common.sweep, holder, lambda _: None)
    assert progress.best is None
    results = json.loads(common.sweep.store.read("results.json"))
    assert results["best"] is None
    assert "No trial is complete" in page(common.sweep).text
    assert common.sweep.store.entries("best") == []
    with pytest.raises(FinalError, match="no trial is complete"):
        end(common, holder)
    assert common.sweep.folder.record()["state"] == "failed"


def test_a_sweep_that_failed_for_good_takes_no_more_attempts_but_more_trials(tmp_path: Path) -> None:
    common = start_sweep(tmp_path, "train.epochs=1", "sweep.trials=1")
    holder = begin(common)
    holder.update_record(trials=1)
    stop_early(common, trained(common, 0))
    with pytest.raises(FinalError):
        end(common, holder)
    told = "failed for good after 1 trials and is not tried again: no trial is complete"
    with pytest.raises(FinalError, match=f"{told}.*; for more of them: --samples 9"):
        check_may_go_on(common.sweep, common.spec)
    assert common.spec.sweep is not None
    more = common.spec.model_copy(update={"sweep": common.spec.sweep.model_copy(update={"trials": 2})})
    check_may_go_on(common.sweep, more)
    holder.update_record(exhausted=True)
    with pytest.raises(FinalError, match="its search space gave no others"):
        check_may_go_on(common.sweep, more)


def test_complete_trials_without_a_finite_value_are_told_as_such(tmp_path: Path) -> None:
    common = start_sweep(tmp_path, "train.epochs=1")
    holder = begin(common)
    trial = trained(common, 0)
    complete(common, trial)
    run = common.sweep.run_of(trial)
    rows = [row | {"val_loss": None} for row in run.history()]
    run.store.write("attempts/0001/metrics.jsonl", dump_rows(rows))
    with pytest.raises(FinalError, match=r"val_loss of the 1 complete trial\(s\) is no finite number"):
        end(common, holder)


def test_one_that_did_not_end_leaves_the_sweep_to_be_continued(tmp_path: Path) -> None:
    common = start_sweep(tmp_path, "train.epochs=1")
    holder = begin(common)
    complete(common, trained(common, 0))
    common.sweep.add_trial(1, {"train.lr": 5e-3})
    with pytest.raises(VisionjobsError, match="1 of 2 trials did not end: trial 1 is waiting"):
        end(common, holder)
    record = common.sweep.folder.record()
    assert (record["state"], record.get("best")) == ("interrupted", None)
    assert common.sweep.store.exists("best/tiny_best.yaml"), "the best one so far"
