"""`visionjobs report`: the same bytes again, from the run folder alone, and never a half page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finished_runs import Project
from s3_servers import S3Server

from visionjobs.cli.report import output_store, replace_page
from visionjobs.errors import StorageError, UserError
from visionjobs.storage import open_store
from visionjobs.storage_folder import FolderStore


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_bytes_as_the_finaliser_wrote(project: Project, visionjobs: Callable[..., Any]) -> None:
    folder = project.path(project.first, "report")
    written = files_of(folder)
    assert "report.html" in written
    shutil.rmtree(folder)
    ended = visionjobs("report", project.first.id)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [f"{folder}/report.html"]
    assert files_of(folder) == written


def test_a_copy_in_a_folder_of_this_machine(project: Project, visionjobs: Callable[..., Any], tmp_path: Path) -> None:
    written = files_of(project.path(project.first, ""))
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for run in (project.first, project.second):
        ended = visionjobs("report", run.id, "--out", str(folder))
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.splitlines() == [f"{folder}/{run.id}.html"]
    pages = files_of(folder)
    assert sorted(pages) == sorted([f"{project.first.id}.html", f"{project.second.id}.html", "thesis.txt"])
    assert pages[f"{project.first.id}.html"] == written["report/report.html"]
    assert files_of(project.path(project.first, "")) == written
    assert visionjobs("report", project.first.id, "--out", str(folder / "thesis.txt")).status == 2
    refused = visionjobs("report", project.first.id, "--out", "s3://bucket/pages")
    assert (refused.status, refused.out) == (2, "")
    assert "--out s3://bucket/pages: expected a folder of this machine" in refused.err


@pytest.mark.s3
def test_of_a_run_in_a_bucket_it_says_how_to_open_the_page(
    project: Project, visionjobs: Callable[..., Any], seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    seaweedfs.use(monkeypatch)
    root = open_store(f"{seaweedfs.address}/reports")
    for entry in project.first.store.entries():
        root.write(f"runs/{project.first.id}/{entry.key}", project.first.store.read(entry.key))
    monkeypatch.setenv("VISIONJOBS_STORAGE", root.address)
    ended = visionjobs("report", project.first.id)
    assert ended.out.splitlines() == [f"{root.address}/runs/{project.first.id}/report/report.html"]
    assert f"visionjobs report {project.first.id} --out FOLDER" in ended.err
    there = visionjobs("report", project.first.id, "--out", str(tmp_path / "new"))
    assert (there.status, there.err) == (0, "")
    assert Path(there.out.strip()).read_bytes() == root.read(f"runs/{project.first.id}/report/report.html")


def test_it_needs_neither_dataset_nor_torch(project: Project) -> None:
    shutil.rmtree(project.folder / "storage" / "datasets")
    code = f"""
import sys
sys.argv = ["visionjobs", "report", "{project.first.id}"]
from visionjobs.cli.app import main
try:
    main()
except SystemExit as ended:
    print(ended.code, [name for name in ("torch", "ray") if name in sys.modules])
"""
    places = {"VISIONJOBS_STORAGE": str(project.folder / "storage")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | places, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_a_run_that_is_not_complete_gets_what_there_is(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("report", project.begun.id)
    assert ended.status == 0
    assert f"run {project.begun.id} is not complete (state: not started): its report shows what there is" in ended.err
    page = Path(ended.out.strip()).read_text()
    assert "No epoch was completed." in page
    assert "not evaluated yet" in page


def test_an_interrupted_run_is_told(project: Project, visionjobs: Callable[..., Any]) -> None:
    project.begun.store.write("record.json", '{"state": "interrupted", "message": "the disk is full"}')
    history = project.path(project.first, "attempts/0001/metrics.jsonl").read_text().splitlines()[0]
    project.begun.store.write("attempts/0001/metrics.jsonl", history + "\n")
    ended = visionjobs("report", project.begun.id)
    assert "(state: interrupted)" in ended.err
    page = Path(ended.out.strip()).read_text()
    assert "The run stopped: the disk is full" in page
    assert "Loss by epoch" in page


def test_old_figures_go_once_the_page_is_there(project: Project, visionjobs: Callable[..., Any]) -> None:
    written = files_of(project.path(project.first, "report"))
    project.first.store.write("report/figures/of_an_older_version.png", b"old")
    project.first.store.write("report/report.html", b"old")
    assert visionjobs("report", project.first.id).status == 0
    assert files_of(project.path(project.first, "report")) == written


def test_a_storage_that_fails_leaves_the_old_page(tmp_path: Path, monkeypatch) -> None:
    store = open_store(str(tmp_path / "report"))
    replace_page(store, {"page.html": b"old", "figures/a.png": b"a"}, "page.html")
    written = FolderStore.write

    def full(self: FolderStore, key: str, data: bytes | str, *, if_absent: bool = False) -> None:
        if key == "figures/c.png":
            raise StorageError("the disk is full")
        written(self, key, data, if_absent=if_absent)

    monkeypatch.setattr(FolderStore, "write", full)
    new = {"page.html": b"new", "figures/b.png": b"b", "figures/c.png": b"c"}
    with pytest.raises(StorageError):
        replace_page(store, new, "page.html")
    assert store.read("page.html") == b"old"
    assert store.read("figures/a.png") == b"a"
    monkeypatch.undo()
    replace_page(store, new, "page.html")
    assert files_of(tmp_path / "report") == new


def test_unknown_run(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("report", project.first.id + "0")
    assert (ended.status, ended.out) == (2, "")
    assert f'There is no run "{project.first.id}0"' in ended.err
    assert f'Did you mean "{project.first.id}"?' in ended.err


def test_damaged_predictions_are_named(project: Project, visionjobs: Callable[..., Any]) -> None:
    project.first.store.write("predictions/val.parquet", b"PAR1")
    ended = visionjobs("report", project.first.id)
    assert (ended.status, ended.out) == (2, "")
    assert f"{project.first.store.address}/predictions/val.parquet holds no predictions, or is damaged" in ended.err


def test_a_folder_of_other_things_is_not_written_into(tmp_path: Path) -> None:
    root = open_store(str(tmp_path / "storage"))
    assert output_store(root, "compare/x", None, "compare.html").address == f"{root.address}/compare/x"
    folder = tmp_path / "mine"
    assert output_store(root, "compare/x", str(folder), "compare.html").address == str(folder)
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"--out .*mine: there are other files in it; give a new folder"):
        output_store(root, "compare/x", str(folder), "compare.html")
    (folder / "compare.html").write_text("an older one")
    assert output_store(root, "compare/x", str(folder), "compare.html").address == str(folder)
