"""Folders and archives as sources."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from import_helpers import write_files

from visionjobs.data.source import open_source
from visionjobs.errors import UserError

FILES = {
    "ape/1.jpg": b"one",
    "ape/2.jpg": b"two",
    "bear/1.jpg": b"three",
    "bear/deep/er/4.jpg": b"four",
    "top.txt": b"x",
}


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def pack(path: Path, files: dict[str, bytes]) -> Path:
    return as_zip(path, files) if path.suffix == ".zip" else as_tar(path, files)


ARCHIVES = ["raw.zip", "raw.tar", "raw.tar.gz", "raw.tgz", "RAW.ZIP".lower()]


@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
@pytest.mark.parametrize("wrapper", ["", "outer/", "outer/inner/"])
def test_every_kind_lists_and_opens_the_same(tmp_path: Path, kind: str, wrapper: str) -> None:
    if kind == "folder":
        source = write_files(tmp_path / "raw", FILES)
    else:
        source = pack(tmp_path / kind, {wrapper + name: data for name, data in FILES.items()})
    with open_source(str(source)) as raw:
        listing = raw.listing()
        assert listing.files == sorted(FILES)
        assert listing.folders == ["ape", "bear"]
        assert listing.rejects == []
        for path, data in FILES.items():
            with raw.open(path) as file:
                assert file.read() == data


def test_macos_archives_have_a_folder_beside_the_data(tmp_path: Path) -> None:
    files = {"outer/ape/1.jpg": b"1", "outer/bear/1.jpg": b"2", "__MACOSX/outer/ape/._1.jpg": b"3"}
    with open_source(str(as_zip(tmp_path / "raw.zip", files))) as raw:
        assert raw.listing().folders == ["ape", "bear"]


def test_the_temporary_folder_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with open_source(str(as_zip(tmp_path / "raw.zip", FILES))):
        assert list(temporary.iterdir())
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("kind", ["raw.zip", "raw.tar", "raw.tar.gz"])
@pytest.mark.parametrize("name", ["../evil.jpg", "ape/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "C:\\evil.jpg"])
def test_path_traversal_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    archive = pack(inside / kind, {"ape/1.jpg": b"1", name: b"evil"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"evil\.jpg") as caught, open_source(str(archive)):
        pass
    assert str(archive) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/evil.jpg").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc/passwd"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_out_of_a_tar_are_refused(tmp_path: Path, target: str, kind: bytes) -> None:
    with tarfile.open(tmp_path / "raw.tar", "w") as archive:
        member = tarfile.TarInfo("ape/link.jpg")
        member.type, member.linkname = kind, target
        archive.addfile(member)
    with pytest.raises(UserError, match=r"ape/link\.jpg"), open_source(str(tmp_path / "raw.tar")):
        pass


def test_a_device_in_a_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "raw.tar", "w") as archive:
        member = tarfile.TarInfo("ape/pipe.jpg")
        member.type = tarfile.FIFOTYPE
        archive.addfile(member)
    with pytest.raises(UserError, match=r"ape/pipe\.jpg"), open_source(str(tmp_path / "raw.tar")):
        pass


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        member = zipfile.ZipInfo("ape/link.jpg")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match=r"ape/link\.jpg"), open_source(str(tmp_path / "raw.zip")):
        pass


@pytest.mark.parametrize("kind", ["raw.zip", "raw.tar", "raw.tar.gz"])
@pytest.mark.parametrize("keep", [0, 30, 0.5])
def test_a_damaged_archive_is_one_message(tmp_path: Path, kind: str, keep: float) -> None:
    whole = pack(tmp_path / f"whole-{kind}", {f"ape/{i}.jpg": os.urandom(3000) for i in range(9)}).read_bytes()
    path = tmp_path / kind
    path.write_bytes(whole[: int(keep * len(whole)) if keep == 0.5 else int(keep)])
    with pytest.raises(UserError, match="not a whole archive"), open_source(str(path)):
        pass


@pytest.mark.parametrize("source", ["/no/such/folder", "/no/such.zip", "gs://bucket/x", "http://host/x.zip", "s3://"])
def test_nothing_of_a_known_kind(source: str) -> None:
    with pytest.raises(UserError, match=source.split(":", maxsplit=1)[0]), open_source(source):
        pass


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "raw.rar").write_bytes(b"x")
    with pytest.raises(UserError, match=r"\.zip, \.tar"), open_source(str(tmp_path / "raw.rar")):
        pass


def test_what_is_no_plain_file_is_told(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "raw", FILES)
    os.mkfifo(folder / "ape" / "pipe.jpg")  # opening it would wait for ever
    (folder / "ape" / "broken.jpg").symlink_to("nowhere")
    (folder / "ape" / "loop").symlink_to(folder)
    (folder / "ape" / "good.jpg").symlink_to(folder / "ape" / "1.jpg")
    (folder / "linked").symlink_to(folder / "bear")
    (folder / os.fsdecode(b"ape/bad\xff.jpg")).write_bytes(b"x")
    with open_source(str(folder)) as raw:
        listing = raw.listing()
    assert [reject.path for reject in listing.rejects] == [
        r"ape/bad\udcff.jpg", "ape/broken.jpg", "ape/loop", "ape/pipe.jpg",
    ]  # fmt: skip
    assert "ape/good.jpg" in listing.files
    assert listing.folders == ["ape", "bear", "linked"]
    assert "linked/1.jpg" in listing.files
