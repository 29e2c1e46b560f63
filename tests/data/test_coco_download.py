"""Downloading COCO into a folder: each archive's folder whole or absent, nothing fetched twice, then imported."""

from __future__ import annotations

import hashlib
from pathlib import Path

import filelock
import pytest
from coco_files import coco, run
from file_server import Behaviour, serving
from test_source import as_zip

from visionjobs.data.coco_download import ANNOTATIONS, DOWNLOADS, IMAGES, Archive, download_coco
from visionjobs.download import OnStart, WebFile
from visionjobs.errors import StorageError, UserError
from visionjobs.storage import OnBytes, open_store


@pytest.fixture
def zips(tmp_path: Path) -> dict[str, bytes]:
    """Path on the server -> bytes, as COCO publishes them."""
    parts = {"/annotations.zip": "annotations/", "/val2017.zip": "val2017/", "/train2017.zip": "train2017/"}
    made = {}
    for path, folder in parts.items():
        inside = {name: data for name, data in coco().items() if name.startswith(folder)}
        if folder == "annotations/":
            inside["annotations/captions_val2017.json"] = b"{}"
        made[path] = as_zip(tmp_path / path.strip("/"), inside).read_bytes()
    return made


class Bars:
    """The names of the transfers that were begun."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, _total: int | None) -> OnBytes:
        self.names.append(name)
        return lambda _count: None


def download(
    behaviour: Behaviour, zips: dict[str, bytes], folder: Path, splits: tuple[str, ...], on_start: OnStart
) -> dict[str, str]:
    """zips: what is expected."""
    with serving(behaviour) as address:

        def archive(path: str, name: str) -> Archive:
            data = zips[path]
            return Archive(WebFile(f"{address}{path}", len(data), hashlib.sha256(data).hexdigest()), name)

        images = {split: archive(f"/{split}2017.zip", f"{split}2017") for split in ("train", "val")}
        annotations = archive("/annotations.zip", "annotations")
        return download_coco(folder, splits, on_start, images=images, annotations=annotations)


def test_a_download_is_imported_and_not_fetched_again(tmp_path: Path, zips: dict[str, bytes]) -> None:
    bars, folder = Bars(), tmp_path / "new" / "coco"
    found = download(Behaviour(zips), zips, folder, ("val",), bars)
    assert found == {name: hashlib.sha256(zips[f"/{name}"]).hexdigest() for name in ("annotations.zip", "val2017.zip")}
    assert bars.names == ["download annotations.zip", "download val2017.zip"]
    assert sorted(path.name for path in folder.iterdir()) == [DOWNLOADS, "annotations", "val2017"]
    assert sorted(path.name for path in (folder / DOWNLOADS).iterdir()) == [
        "annotations.zip.sha256", "lock", "val2017.zip.sha256",
    ]  # fmt: skip
    result = run(folder, open_store(str(tmp_path / "storage")), archives=found)
    assert (result.rejects, result.manifest.sizes) == ([], {"val": 3})
    assert result.manifest.parameters["val2017.zip"] == found["val2017.zip"]

    again = Behaviour(zips)
    assert download(again, zips, folder, ("val",), bars) == found
    assert again.ranges_asked == []
    assert not run(folder, open_store(str(tmp_path / "storage")), archives=found).new

    download(again, zips, folder, ("train", "val"), bars)
    assert bars.names[2:] == ["download train2017.zip"]
    assert run(folder, open_store(str(tmp_path / "storage"))).manifest.sizes == {"train": 4, "val": 3}


def test_the_same_dataset_as_from_a_folder(tmp_path: Path, zips: dict[str, bytes]) -> None:
    """How the files came has no part in the version."""
    found = download(Behaviour(zips), zips, tmp_path / "coco", ("val",), Bars())
    first = run(tmp_path / "coco", open_store(str(tmp_path / "a")), archives=found)
    second = run(tmp_path / "coco", open_store(str(tmp_path / "b")))
    assert first.manifest.version == second.manifest.version


def test_a_broken_download_goes_on(tmp_path: Path, zips: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionjobs.download.time.sleep", lambda _seconds: None)
    whole = len(zips["/annotations.zip"])
    with pytest.raises(StorageError, match=r"val2017.zip: the download failed after 500 of"):
        download(Behaviour(zips, [whole, 500, *[0] * 9]), zips, tmp_path / "coco", ("val",), Bars())
    assert not (tmp_path / "coco" / "val2017").exists()
    again = Behaviour(zips)
    download(again, zips, tmp_path / "coco", ("val",), Bars())
    assert len(again.ranges_asked) == 1
    assert len(list((tmp_path / "coco" / "val2017").iterdir())) == 3


def test_interrupted_unpacking_is_made_anew(
    tmp_path: Path, zips: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_archive: Path, folder: Path, _display: str) -> None:
        (folder / "val2017").mkdir(parents=True)
        (folder / "val2017" / "half.jpg").write_bytes(b"x")
        raise KeyboardInterrupt

    monkeypatch.setattr("visionjobs.data.coco_download.extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download(Behaviour(zips), zips, tmp_path / "coco", ("val",), Bars())
    monkeypatch.undo()
    assert not (tmp_path / "coco" / "val2017").exists()
    again = Behaviour(zips)
    download(again, zips, tmp_path / "coco", ("val",), Bars())
    assert len(again.ranges_asked) == 1, "the annotations are fetched already"
    assert not list((tmp_path / "coco").rglob("half.jpg"))


def test_another_file_than_is_expected(tmp_path: Path, zips: dict[str, bytes]) -> None:
    changed = {path: data[:-1] + b"x" for path, data in zips.items()}
    with pytest.raises(StorageError, match=r"annotations.zip: what came is not the file that is expected"):
        download(Behaviour(changed), zips, tmp_path / "coco", ("val",), Bars())
    assert sorted(path.name for path in (tmp_path / "coco").rglob("*")) == [DOWNLOADS, "lock"]


def test_a_folder_that_did_not_come_from_a_download(tmp_path: Path, zips: dict[str, bytes]) -> None:
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    with pytest.raises(UserError, match=r"annotations is there already, and not from this download.*--download"):
        download(Behaviour(zips), zips, tmp_path / "coco", ("val",), Bars())


def test_an_archive_without_its_folder(tmp_path: Path, zips: dict[str, bytes]) -> None:
    other = zips | {"/annotations.zip": zips["/val2017.zip"]}
    with pytest.raises(UserError, match="has no folder annotations/ at its top"):
        download(Behaviour(other), other, tmp_path / "coco", ("val",), Bars())


def test_two_downloads_into_one_folder(tmp_path: Path, zips: dict[str, bytes]) -> None:
    (tmp_path / "coco" / DOWNLOADS).mkdir(parents=True)
    with filelock.FileLock(tmp_path / "coco" / DOWNLOADS / "lock"), pytest.raises(UserError, match="another download"):
        download(Behaviour(zips), zips, tmp_path / "coco", ("val",), Bars())


def test_a_folder_that_cannot_be_made(tmp_path: Path, zips: dict[str, bytes]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=f"{tmp_path}/file"):
        download(Behaviour(zips), zips, tmp_path / "file" / "coco", ("val",), Bars())


def test_the_official_addresses() -> None:
    for archive in (ANNOTATIONS, *IMAGES.values()):
        assert archive.file.url.startswith("http://images.cocodataset.org/")
        assert archive.file.name.endswith("2017.zip")
        assert len(bytes.fromhex(archive.file.sha256)) == 32
