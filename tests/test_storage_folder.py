"""What only folders can suffer: full and read-only disks, writers killed half-way, missing hard links."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from visionjobs.errors import MissingObjectError, ObjectExistsError, StorageError, UserError
from visionjobs.storage import TEMPORARY, open_store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_storage_error_and_leaves_nothing_half_written(small_disk: Path, tmp_path: Path):
    store = open_store(str(small_disk / "storage"))
    store.write("small", "fits")
    source = tmp_path / "source"
    source.write_bytes(bytes(2 << 20))
    with pytest.raises(StorageError, match=f"{store.address}/a/large: the disk or its quota is full"):
        store.write("a/large", source.read_bytes())
    with pytest.raises(StorageError, match=f"{store.address}/a/large: the disk or its quota is full"):
        store.upload({"a/large": source})
    assert [path for path in small_disk.rglob("*") if path.is_file()] == [small_disk / "storage" / "small"]
    store.write("small", "and still works")


def test_a_full_disk_keeps_what_was_there(small_disk: Path):
    store = open_store(str(small_disk))
    store.write("record", "before")
    with pytest.raises(StorageError):
        store.write("record", bytes(2 << 20))
    assert store.read("record") == b"before"


def test_a_download_to_a_full_disk_names_the_local_file(small_disk: Path, tmp_path: Path):
    store = open_store(str(tmp_path / "storage"))
    store.write("large", bytes(2 << 20))
    with pytest.raises(StorageError, match=f"{small_disk}/copy: the disk or its quota is full"):
        store.download({"large": small_disk / "copy"})
    assert list(small_disk.iterdir()) == []


def test_a_read_only_disk_is_the_users_to_change(small_disk: Path):
    store = open_store(str(small_disk / "storage"))
    store.write("a", "x")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for use in (store.probe, lambda: store.write("b", "y"), lambda: store.delete(["a"])):
        with pytest.raises(UserError, match="choose a folder that this user may write to") as caught:
            use()
        assert store.address in str(caught.value)
    assert store.read("a") == b"x"


def test_a_storage_below_a_file_cannot_be(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    for address in (tmp_path / "file", tmp_path / "file" / "storage"):
        store = open_store(str(address))
        with pytest.raises(UserError, match=f"{address}.*choose another folder"):
            store.probe()
        assert store.folders() == []
        store.delete(["a"])
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize("if_absent", [False, True])
def test_an_object_cannot_take_the_place_of_a_folder(tmp_path: Path, if_absent: bool):
    store = open_store(str(tmp_path))
    store.write("a/b", "x")
    with pytest.raises(UserError, match=f"{tmp_path}/a"):
        store.write("a", "y", if_absent=if_absent)
    with pytest.raises(UserError, match=f"{tmp_path}/a/b/c"):
        store.write("a/b/c", "y", if_absent=if_absent)
    assert [entry.key for entry in store.entries()] == ["a/b"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b"]


def test_where_nothing_can_be_written_nothing_is_missing(tmp_path: Path):
    (tmp_path / "source").write_text("x")
    store = open_store("/proc/x")
    for use in (store.probe, lambda: store.write("b", "y"), lambda: store.upload({"b": tmp_path / "source"})):
        with pytest.raises(UserError, match=r"/proc/x/.*: (nothing can be written here|not permitted)") as no:
            use()
        assert not isinstance(no.value, MissingObjectError)
    with pytest.raises(MissingObjectError, match="/proc/x/b: there is no such file"):
        store.read("b")


def test_too_long_a_name_is_the_users_to_change(tmp_path: Path):
    with pytest.raises(UserError, match="choose another folder or name"):
        open_store(str(tmp_path)).write("x" * 300, "y")


KILLED_HALF_WAY = """
import os, sys
from pathlib import Path
from visionjobs.storage import open_store
source = Path(sys.argv[2])
open_store(sys.argv[1]).upload({"runs/r1/weights": source}, on_bytes=lambda n: os.kill(os.getpid(), 9))
"""


def test_a_writer_killed_half_way_leaves_no_object_and_its_remains_go_with_the_folder(tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(bytes(12 << 20))
    store = open_store(str(tmp_path / "storage"))
    store.write("runs/r1/record", "x")
    killed = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, store.address, str(source)], check=False)
    assert killed.returncode == -9
    remains = list((tmp_path / "storage" / "runs" / "r1").glob(TEMPORARY + "*"))
    assert len(remains) == 1
    assert [entry.key for entry in store.entries()] == ["runs/r1/record"]
    store.delete(["runs/r1/record"])
    assert store.folders("runs") == []
    assert remains[0].exists()  # it might be a living writer's

    _age(remains[0])
    store.delete(["runs/r1/record"])
    assert not (tmp_path / "storage" / "runs").exists()
    assert (tmp_path / "storage").is_dir()


def _age(*paths: Path) -> None:
    long_ago = time.time() - 7200
    for path in paths:
        os.utime(path, (long_ago, long_ago))


def test_empty_folders_that_others_made_do_not_count(tmp_path: Path):
    store = open_store(str(tmp_path))
    store.write("runs/r1/record", "x")
    (tmp_path / "runs/r1/ray/session").mkdir(parents=True)
    (tmp_path / "runs/r2/ray").mkdir(parents=True)
    assert store.folders("runs") == ["r1"]
    store.delete(["runs/r1/record"])
    assert (tmp_path / "runs/r1/ray").exists()  # a living process may be about to write there
    _age(tmp_path / "runs/r1/ray/session", tmp_path / "runs/r1/ray")
    store.delete(["runs/r1/record"])
    assert not (tmp_path / "runs/r1").exists()


def test_linked_folders_are_part_of_the_store(tmp_path: Path):
    (tmp_path / "elsewhere/set").mkdir(parents=True)
    (tmp_path / "elsewhere/set/manifest").write_text("x")
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage/datasets").symlink_to(tmp_path / "elsewhere")
    store = open_store(str(tmp_path / "storage"))
    assert [entry.key for entry in store.entries()] == ["datasets/set/manifest"]
    assert store.folders() == ["datasets"]


def test_writers_and_deleters_of_one_folder_do_not_disturb_each_other(tmp_path: Path):
    store = open_store(str(tmp_path))
    stop = threading.Event()

    def delete() -> None:
        while not stop.is_set():
            store.delete(["a/b/other"])

    deleter = threading.Thread(target=delete)
    deleter.start()
    try:
        for n in range(60):
            store.write("a/b/mine", str(n))
            assert store.read("a/b/mine") == str(n).encode()
            store.delete(["a/b/mine"])
    finally:
        stop.set()
        deleter.join()


def test_without_hard_links_claims_are_best_effort_and_the_probe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """No file system without hard links can be had in a test: os.link answers here as it does on one."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    store = open_store(str(tmp_path))
    assert store.probe() is False
    store.write("claim", "first", if_absent=True)
    with pytest.raises(ObjectExistsError):
        store.write("claim", "second", if_absent=True)
    assert store.read("claim") == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claim"]
