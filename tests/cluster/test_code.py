"""The code that travels: the same bytes everywhere, and only plain files at the other end."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from visionjobs.cluster import code
from visionjobs.cluster.code import MARK, fetch_code, pack_code, upload_code, working_tree
from visionjobs.errors import StorageError, UserError
from visionjobs.storage import Store, open_store


def draw_tree(root: Path) -> Path:
    """A small working tree with what must not travel in it."""
    for name, text in {
        "src/visionjobs/__init__.py": "version = 1",
        "src/visionjobs/report/style.css": "body {}",
        "src/visionjobs/__pycache__/x.cpython-311.pyc": "cache",
        "src/visionjobs/stray.pyc": "cache",
        "src/visionjobs/.env": "AWS_SECRET_ACCESS_KEY=never",
        "src/visionjobs.egg-info/PKG-INFO": "made by pip",
        "jobs/tiny.yaml": "task: classification",
        "jobs/.hidden/x.yaml": "hidden",
        "storage/data.npy": "data",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "tree")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "storage"))


def store_zip(store: Store, members: dict[str, bytes], mode: int = 0o100644) -> str:
    """A zip of these members in the store, whatever they are. Returns its sha256."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            packed.writestr(info, data)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    store.write(f"code/{sha256}.zip", buffer.getvalue())
    return sha256


def test_only_code_and_jobs_travel(tree: Path) -> None:
    sha256, data = pack_code(tree)
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert names == ["jobs/tiny.yaml", "src/visionjobs/__init__.py", "src/visionjobs/report/style.css"]
    assert sha256 == hashlib.sha256(data).hexdigest()


def test_same_files_give_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    other = draw_tree(tmp_path / "other")
    for path in other.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert pack_code(tree) == pack_code(other)
    (other / "src/visionjobs/__init__.py").write_text("version = 2")
    assert pack_code(tree)[0] != pack_code(other)[0]


def test_this_working_tree_travels_and_comes_back(store: Store, tmp_path: Path) -> None:
    root = working_tree()
    sha256, data = pack_code(root)
    upload_code(store, sha256, data)
    fetch_code(store, sha256, tmp_path / "code")
    for path in (root / "src" / "visionjobs").rglob("*.py"):
        assert (tmp_path / "code" / path.relative_to(root)).read_bytes() == path.read_bytes()
    assert (tmp_path / "code/src/visionjobs/report/style.css").exists()


def test_a_tree_without_the_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--no-code"):
        pack_code(tmp_path)
    monkeypatch.setattr(code.visionjobs, "__file__", "/usr/lib/python3/site-packages/visionjobs/__init__.py")
    with pytest.raises(UserError, match="--no-code"):
        working_tree()


def test_what_does_not_belong_into_a_tree_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "jobs" / "linked").symlink_to(tree / "storage")
    with pytest.raises(UserError, match="jobs/linked is a link to a folder"):
        pack_code(tree)
    (tree / "jobs" / "linked").unlink()
    monkeypatch.setattr(code, "MAX_BYTES", 30)
    with pytest.raises(UserError, match="larger than"):
        pack_code(tree)


def test_it_is_uploaded_once(tree: Path, store: Store) -> None:
    sha256, data = pack_code(tree)
    upload_code(store, sha256, data)
    before = store.entries("code")
    upload_code(store, sha256, b"not looked at")
    assert store.entries("code") == before


def test_old_code_that_is_submitted_with_is_young_again(tree: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "storage"))
    sha256, data = pack_code(tree)
    upload_code(store, sha256, data)
    os.utime(tmp_path / "storage" / "code" / f"{sha256}.zip", (1, 1))
    upload_code(store, sha256, data)
    (entry,) = store.entries("code")
    assert entry.modified.year > 2000


def test_it_is_unpacked_once_into_a_folder_that_is_there(tree: Path, store: Store, tmp_path: Path) -> None:
    sha256, data = pack_code(tree)
    upload_code(store, sha256, data)
    target = tmp_path / "mounted"
    target.mkdir()
    fetch_code(store, sha256, target)
    assert sorted(path.name for path in target.iterdir()) == [MARK, "jobs", "src"]
    file = target / "src/visionjobs/__init__.py"
    assert stat.S_IMODE(file.stat().st_mode) & 0o133 == 0
    inode = file.stat().st_ino
    store.delete([f"code/{sha256}.zip"])
    fetch_code(store, sha256, target)
    assert file.stat().st_ino == inode


def test_newer_code_and_a_broken_off_unpacking_are_replaced(tree: Path, store: Store, tmp_path: Path) -> None:
    target = tmp_path / "code"
    for version in (1, 2):
        (tree / "src/visionjobs/__init__.py").write_text(f"version = {version}")
        sha256, data = pack_code(tree)
        upload_code(store, sha256, data)
        fetch_code(store, sha256, target)
        assert (target / "src/visionjobs/__init__.py").read_text() == f"version = {version}"
    (target / MARK).write_text("unpacking")
    (target / "jobs" / "half").write_text("")
    fetch_code(store, sha256, target)
    assert not (target / "jobs" / "half").exists()


def test_a_folder_of_somebody_is_left_alone(tree: Path, store: Store) -> None:
    sha256, data = pack_code(tree)
    upload_code(store, sha256, data)
    with pytest.raises(UserError, match="give an empty folder"):
        fetch_code(store, sha256, tree)
    assert (tree / "jobs/.hidden/x.yaml").exists()


def test_changed_and_missing_code_is_refused(tree: Path, store: Store, tmp_path: Path) -> None:
    sha256, data = pack_code(tree)
    with pytest.raises(UserError, match="submit the job again"):
        fetch_code(store, sha256, tmp_path / "code")
    store.write(f"code/{sha256}.zip", data[:-1])
    with pytest.raises(UserError, match="changed or cut off"):
        fetch_code(store, sha256, tmp_path / "code")
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        fetch_code(store, "../secret", tmp_path / "code")
    assert not (tmp_path / "code" / "src").exists()


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "src/../../x", "src/./x.py", "src//x.py", "src\\..\\x.py", "etc/x.py", "src", "src/x/", ""],
)
def test_members_that_lead_elsewhere_are_refused(store: Store, tmp_path: Path, name: str) -> None:
    sha256 = store_zip(store, {"src/visionjobs/__init__.py": b"", name: b"x"})
    with pytest.raises(UserError, match="is not a plain file below src/ or jobs/"):
        fetch_code(store, sha256, tmp_path / "in" / "code")
    assert [path.name for path in (tmp_path / "in").rglob("*")] == ["code"]


def test_links_and_bombs_are_refused(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = store_zip(store, {"src/visionjobs/link.py": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(UserError, match=r"link\.py"):
        fetch_code(store, link, tmp_path / "code")
    monkeypatch.setattr(code, "MAX_BYTES", 10)
    with pytest.raises(UserError, match="larger than"):
        fetch_code(store, store_zip(store, {"src/x.py": b"x" * 11}), tmp_path / "code")
    store.write(f"code/{hashlib.sha256(b'no zip').hexdigest()}.zip", b"no zip")
    with pytest.raises(UserError, match="is not a zip"):
        fetch_code(store, hashlib.sha256(b"no zip").hexdigest(), tmp_path / "code")


def test_a_disk_that_fails_may_be_tried_again(tree: Path, store: Store, tmp_path: Path) -> None:
    sha256, data = pack_code(tree)
    upload_code(store, sha256, data)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be unpacked there"):
        fetch_code(store, sha256, tmp_path / "file" / "code")
