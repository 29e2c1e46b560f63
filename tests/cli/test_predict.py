"""`visionjobs predict`: what scripts may rely on, and what a person gets wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from s3_servers import S3Server
from tiny import finished_run, start_attempt, tiny_root, tiny_spec

from visionjobs.inference.contact_sheet import PER_SHEET, SHEETS
from visionjobs.runs import Run
from visionjobs.storage import Store, open_store


class Project(NamedTuple):
    root: Store
    photos: Path
    run: Run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("predict")
    root = tiny_root(folder, "photos")
    return Project(root, folder / "photos", finished_run(root))


@pytest.fixture
def predict(
    project: Project, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Predict with the finished run, in an empty current folder."""
    monkeypatch.setenv("VISIONJOBS_STORAGE", project.root.address)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *args: visionjobs("predict", project.run.id, *map(str, args))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]


def test_a_folder_of_classes(project: Project, predict: Callable[..., Any]) -> None:
    ended = predict(project.photos)
    assert ended.status == 0, ended.err
    (address,) = ended.out.splitlines()
    folder = Path(address)
    assert folder.parent == Path("predictions").absolute()
    assert re.fullmatch(rf"{project.run.id}-\d{{8}}-\d{{6}}-\d{{6}}", folder.name)
    assert files(folder) == ["contact-sheet-001.png", "contact-sheet-002.png", "predictions.csv", "predictions.jsonl"]
    rows = lines(folder)
    assert [row["image"] for row in rows] == sorted(map(str, project.photos.glob("*/*.png")))
    right = sum(row["predicted"] == row["label"] for row in rows)
    assert f"accuracy {right / 60:.4f}: {right} of 60 labelled images" in ended.err
    assert files(Path("predictions")) == [folder.name]


def test_options(project: Project, predict: Callable[..., Any]) -> None:
    ended = predict(project.photos / "fox", project.photos / "owl/03.png", "--out", "new/out", "--top", 2, "--batch", 3)
    assert (ended.status, ended.out) == (0, f"{Path('new/out').absolute()}\n"), ended.err
    rows = lines(Path("new/out"))
    assert len(rows) == 16
    assert {len(row["probabilities"]) for row in rows} == {2}


def test_images_without_labels_have_no_accuracy(project: Project, predict: Callable[..., Any]) -> None:
    Path("mine").mkdir()
    shutil.copy(project.photos / "fox/00.png", "mine/x.png")
    Path("mine/notes.txt").write_text("x")
    ended = predict("mine")
    assert ended.status == 0
    assert "accuracy" not in ended.err
    assert "files passed over, hidden or not named like images: 1" in ended.err
    assert lines(Path(ended.out.strip()))[0]["label"] is None
    both = predict("mine", project.photos / "fox/00.png")
    assert "of 1 labelled images; 1 without a label" in both.err


def test_an_unreadable_image_among_good_ones(project: Project, predict: Callable[..., Any]) -> None:
    Path("[b]bad.png").write_text("no image")
    ended = predict(project.photos / "fox", "[b]bad.png", "--out", "out")
    assert ended.status == 1
    assert ended.out.splitlines() == [str(Path("out").absolute())]
    assert "1 of 16 images could not be used (rejects.csv): [b]bad.png: not an image" in ended.err
    assert len(lines(Path("out"))) == 15
    assert Path("out/rejects.csv").read_text().splitlines()[1].startswith("[b]bad.png,")


def test_the_sheet_counts_what_is_predicted(project: Project, predict: Callable[..., Any]) -> None:
    Path("bad.png").write_text("no image")
    images = [project.photos / f"fox/{number:02}.png" for number in range(3)]
    assert predict("bad.png", *images, "--out", "with").status == 1
    assert predict(*images, "--out", "without").status == 0
    assert Path("with/contact-sheet-001.png").read_bytes() == Path("without/contact-sheet-001.png").read_bytes()


def test_outside_a_terminal_there_is_no_bar(project: Project, predict: Callable[..., Any]) -> None:
    assert predict(project.photos / "fox/00.png").err.startswith("accuracy")
    Path("bad.png").write_text("no image")
    assert predict("bad.png").err.startswith("error: no image can be used")


def test_more_images_than_the_sheets_show(project: Project, predict: Callable[..., Any]) -> None:
    Path("many").mkdir()
    for number in range(SHEETS * PER_SHEET + 1):
        Path(f"many/{number:03}.png").symlink_to(project.photos / "fox/00.png")
    ended = predict("many", "--out", "out")
    assert ended.status == 0
    assert "the contact sheets show the first 240 of 241 images" in ended.err
    assert len(files(Path("out"))) == SHEETS + 2


@pytest.mark.s3
def test_a_bucket(
    project: Project, predict: Callable[..., Any], seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seaweedfs.use(monkeypatch)
    bucket = open_store(f"{seaweedfs.address}/{tmp_path.name}")
    for path in project.photos.glob("*/0*.png"):
        bucket.write(f"photos/{path.parent.name}/{path.name}", path.read_bytes())
    bucket.write("photos/fox/bad.jpg", b"no image")
    ended = predict(f"{bucket.address}/photos", "--out", "there")
    assert ended.status == 1
    assert f"{bucket.address}/photos/fox/bad.jpg: not an image" in ended.err
    assert predict(project.photos, "--out", "here").status == 0
    here = {"/".join(row["image"].split("/")[-2:]): row for row in lines(Path("here"))}
    there = lines(Path("there"))
    assert len(there) == 40
    for row in there:
        assert row["image"].startswith(f"{bucket.address}/photos/")
        same = here["/".join(row["image"].split("/")[-2:])]
        assert (row["label"], row["predicted"]) == (same["label"], same["predicted"])
        assert row["probabilities"] == pytest.approx(same["probabilities"], abs=1e-5)
    assert predict(f"{bucket.address}/photos/owl/03.png").status == 0


def refused(ended: Any, *words: str) -> None:
    assert (ended.status, ended.out) == (2, ""), ended.err
    for word in words:
        assert word in ended.err
    assert "Traceback" not in ended.err
    assert not Path("predictions").exists()


def test_mistakes_with_images(project: Project, predict: Callable[..., Any]) -> None:
    refused(predict("gone.jpg", project.photos), "gone.jpg: there is no such file or folder")
    refused(predict("ftp://host/x.jpg"), "expected a file, a folder or an s3:// address")
    Path("empty").mkdir()
    refused(predict("empty"), "there is no image in empty; expected names that end with")
    Path("bad.png").write_text("no image")
    refused(predict("bad.png"), "no image can be used, of 1; nothing was written", "bad.png: not an image")
    assert files(Path()) == ["bad.png", "empty"]


def test_mistakes_with_the_output_folder(project: Project, predict: Callable[..., Any]) -> None:
    image = project.photos / "fox/00.png"
    Path("full").mkdir()
    Path("full/x").write_text("x")
    refused(predict(image, "--out", "full"), "full: is there already, and not empty")
    refused(predict(image, "--out", "full/x/out"), "full/x/out", "choose another folder")
    refused(predict(image, "--out", "s3://bucket/out"), "--out s3://bucket/out: expected a local folder")
    assert files(Path()) == ["full"]
    refused(predict(image, "--top", 0))
    refused(predict(image, "--batch", 0))


def test_mistakes_with_the_run(project: Project, visionjobs: Callable[..., Any], predict: Callable[..., Any]) -> None:
    image = str(project.photos / "fox/00.png")
    nearly = project.run.id[:-1]
    refused(visionjobs("predict", nearly, image), f'There is no run "{nearly}"', f'Did you mean "{project.run.id}"?')
    begun = start_attempt(project.root, tiny_spec()).run
    refused(visionjobs("predict", begun.id, image), f"run {begun.id} has no weights", f"--run {begun.id}")
    assert files(Path()) == []
