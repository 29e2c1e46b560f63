"""A folder that is whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from visionjobs.errors import UserError
from visionjobs.inference.output import new_folder


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a/b/out"
    with new_folder(target) as folder:
        (folder / "x.txt").write_text("x")
        assert not target.exists()
        assert folder.parent == target.parent
    assert everything(tmp_path) == ["a", "a/b", "a/b/out", "a/b/out/x.txt"]
    assert target.stat().st_mode & 0o777 == (tmp_path / "a").stat().st_mode & 0o777


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError, RuntimeError])
def test_it_disappears_when_the_block_fails_and_the_folders_above_with_it(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(error), new_folder(tmp_path / "a/b/c/out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub/x.txt").write_text("x")
        raise error("stopped")
    assert everything(tmp_path) == ["a"]


def test_what_others_wrote_beside_it_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "a/out"):
        (tmp_path / "a/theirs").write_text("x")
        raise KeyboardInterrupt
    assert everything(tmp_path) == ["a", "a/theirs"]


def test_an_empty_folder_is_filled_and_a_linked_one_too(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with new_folder(tmp_path / "link") as folder:
        (folder / "x.txt").write_text("x")
    assert everything(tmp_path) == ["empty", "empty/x.txt", "link"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("full", "full: is there already, and not empty; name a new folder"),
        ("file", "file: is there already, and no folder"),
        ("file/out", "file/out: cannot be a file here"),
        ("/proc/out", "/proc/out: (nothing can be written here|not permitted)"),
        ("n" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_made_is_refused_before_the_block(tmp_path: Path, target: str, message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=message), new_folder(tmp_path / target):
        pytest.fail("the block was begun")
    assert everything(tmp_path) == ["file", "full", "full/x.txt"]


def test_a_mount_point_is_refused() -> None:
    mounts = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    empty = [path for path in mounts if path.is_dir() and os.access(path, os.R_OK) and not any(path.iterdir())]
    if not empty:
        pytest.skip("nothing is mounted here on an empty folder")
    with pytest.raises(UserError, match="is a mount point, which cannot be replaced"), new_folder(empty[0]):
        pytest.fail("the block was begun")


def test_a_folder_that_was_filled_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="out"), new_folder(tmp_path / "out") as folder:
        (folder / "x.txt").write_text("x")
        (tmp_path / "out").mkdir()
        (tmp_path / "out/theirs").write_text("x")
    assert everything(tmp_path) == ["out", "out/theirs"]


def test_a_failed_write_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing can be written here"), new_folder(tmp_path / "out") as folder:
        (folder / "missing/x.txt").write_text("x")
    assert everything(tmp_path) == []
