"""A sweep's id where a command takes a run: its report is built again; elsewhere the answer is which trial to give."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from page_text import PageText
from s3_servers import S3Server

from visionjobs.runs import Attempt
from visionjobs.storage import open_store
from visionjobs.sweep_progress import COMPLETE, follow_sweep
from visionjobs.sweeps import Sweep


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trial_links(page: str) -> list[str]:
    """What a page leads to outside itself."""
    return sorted(link for link in PageText(page).links if not link.startswith("#"))


def best_run(sweep: Sweep) -> str:
    best = follow_sweep(sweep).best
    assert best is not None
    return best.run


def test_the_same_report_again(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    folder = Path(swept.store.address, "report")
    assert visionjobs("report", swept.id).status == 0, "in place of the one that was copied here with its address"
    written = files_of(folder)
    assert len(written) > 1
    shutil.rmtree(folder)
    ended = visionjobs("report", swept.id)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [f"{folder}/report.html"]
    assert files_of(folder) == written
    links = trial_links(written["report.html"].decode())
    assert links == [f"../runs/{swept.id}-t00{number}/report/report.html" for number in (0, 1)]
    assert all((folder / link).resolve().is_file() for link in links)


def test_its_copy_leads_to_the_trials_reports_too(visionjobs: Callable[..., Any], swept: Sweep, tmp_path: Path) -> None:
    before = files_of(Path(swept.store.address))
    out = tmp_path / "my pages"
    ended = visionjobs("report", swept.id, "--out", str(out))
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [f"{out}/{swept.id}.html"]
    assert sorted(files_of(out)) == [f"{swept.id}.html"]
    links = [urlsplit(link) for link in trial_links((out / f"{swept.id}.html").read_text())]
    assert [link.scheme for link in links] == ["file", "file"]
    assert all(Path(unquote(link.path)).is_file() for link in links)
    assert files_of(Path(swept.store.address)) == before


@pytest.mark.s3
def test_the_copy_of_one_in_a_bucket_has_no_dead_links(
    visionjobs: Callable[..., Any], swept: Sweep, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    seaweedfs.use(monkeypatch)
    root = open_store(f"{seaweedfs.address}/swept")
    for entry in swept.store.entries():
        if "/checkpoints/" not in entry.key:
            root.write(f"sweeps/{swept.id}/{entry.key}", swept.store.read(entry.key))
    monkeypatch.setenv("VISIONJOBS_STORAGE", root.address)
    ended = visionjobs("report", swept.id)
    assert ended.out.splitlines() == [f"{root.address}/sweeps/{swept.id}/report/report.html"]
    assert f"visionjobs report {swept.id} --out FOLDER" in ended.err
    there = visionjobs("report", swept.id, "--out", str(tmp_path / "pages"))
    assert (there.status, there.err) == (0, "")
    page = Path(there.out.strip()).read_text()
    assert trial_links(page) == []
    assert "leads to its own report" not in PageText(page).text
    trial = visionjobs("report", best_run(swept), "--out", str(tmp_path / "pages"))
    assert trial.status == 0, trial.err


def test_one_that_is_not_complete_gets_what_there_is(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    Attempt(swept.folder, 1).update_record(state="interrupted", message="it was killed")
    swept.add_trial(3, {"train.lr": 3e-3})
    ended = visionjobs("report", swept.id)
    assert ended.status == 0
    assert f"sweep {swept.id} is not complete (state: interrupted): its report shows what there is" in ended.err
    assert "The sweep: it was killed" in PageText(Path(ended.out.strip()).read_text()).text


def test_unknown_and_damaged_ones(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    unknown = visionjobs("report", swept.id + "0")
    assert (unknown.status, unknown.out) == (2, "")
    assert f'There is no sweep "{swept.id}0"' in unknown.err
    assert f'Did you mean "{swept.id}"?' in unknown.err
    swept.store.write("trials/0001.json", "{")
    damaged = visionjobs("report", swept.id)
    assert (damaged.status, damaged.out) == (2, "")
    assert f"{swept.store.address}/trials/0001.json is not valid JSON" in damaged.err


def test_a_trials_own_report(visionjobs: Callable[..., Any], swept: Sweep) -> None:
    ended = visionjobs("report", f"{swept.id}-t000")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.strip() == f"{swept.store.address}/runs/{swept.id}-t000/report/report.html"


def test_compare_takes_its_trials(visionjobs: Callable[..., Any], swept: Sweep, tmp_path: Path) -> None:
    trials = [f"{swept.id}-t00{number}" for number in (0, 1)]
    for given in ([swept.id], [trials[0], swept.id]):
        refused = visionjobs("compare", *given)
        assert (refused.status, refused.out) == (2, "")
        assert f"{swept.id} is a sweep: give one of its trials, which are runs, such as {trials[0]}" in refused.err
    ended = visionjobs("compare", *trials, "--out", str(tmp_path / "side"))
    assert ended.status == 0, ended.err
    page = PageText((tmp_path / "side" / "compare.html").read_text())
    assert all(trial in page.text for trial in trials)


COMMANDS = [("evaluate",), ("export", "--format", "onnx"), ("submit", "--evaluate"), ("predict",)]
"""What comes before the run's id; of predict alone there is more behind it."""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_where_weights_are_asked_for_its_best_trial_is_named(
    visionjobs: Callable[..., Any], swept: Sweep, command: tuple[str, ...]
) -> None:
    best = follow_sweep(swept).best
    assert best is not None
    given = [*command, swept.id, *(["photos"] if command == ("predict",) else [])]
    refused = visionjobs(*given)
    assert (refused.status, refused.out) == (2, "")
    assert f"Its best one, with val_loss {best.value:.4f}, is {best.run}" in refused.err
    Attempt(swept.folder, 1).update_record(state="interrupted")
    assert "Its best one so far, with" in visionjobs(*given).err
    for trial in swept.trials():
        run = swept.run_of(trial)
        if run.record().get("state") == COMPLETE:
            Attempt(run, run.claims()[-1].number).update_record(state="interrupted")
    assert "no trial of it is complete: there are no weights yet" in visionjobs(*given).err
