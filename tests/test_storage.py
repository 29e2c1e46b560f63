"""The contract of `Store`, on every kind of storage that the project supports: a folder and two real S3 servers."""

from __future__ import annotations

import hashlib
import pickle
import string
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visionjobs.errors import MissingObjectError, ObjectExistsError, UserError
from visionjobs.storage import Store, open_store

KINDS = ["folder", pytest.param("seaweedfs", marks=pytest.mark.s3), pytest.param("rclone_s3", marks=pytest.mark.s3)]
ATOMIC = KINDS[:2]  # rclone's server ignores If-None-Match
PROPERTY = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of the kind that the test is parametrized with."""
    if request.param == "folder":
        return open_store(str(tmp_path / "storage"))
    server = request.getfixturevalue(request.param)
    server.use(monkeypatch)
    return open_store(f"{server.address}/{uuid.uuid4().hex}")


everywhere = pytest.mark.parametrize("store", KINDS, indirect=True)


@everywhere
@pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n", "text \u00e9\u6f22\n", bytes(range(256)) * 5000])
def test_what_is_written_is_read(store: Store, data: bytes | str):
    store.write("folder/object", data)
    assert store.read("folder/object") == (data.encode() if isinstance(data, str) else data)


@everywhere
def test_a_write_replaces_the_object(store: Store):
    store.write("a", "first, and longer")
    store.write("a", "second")
    assert store.read("a") == b"second"


@everywhere
def test_missing_objects(store: Store, tmp_path: Path):
    store.write("folder/object", "x")
    for key in ("nothing", "folder", "folder/nothing", "folder/object/below"):
        assert not store.exists(key)
        with pytest.raises(MissingObjectError, match=f"{store.address}/{key}"):
            store.read(key)
    with pytest.raises(MissingObjectError, match="nothing"):
        store.download({"folder/object": tmp_path / "here/x", "nothing": tmp_path / "here/y"})
    assert not (tmp_path / "here/y").exists()
    assert {path.name for path in (tmp_path / "here").iterdir()} <= {"x"}


@everywhere
def test_a_store_with_nothing_in_it(store: Store):
    assert store.entries() == []
    assert store.entries("below") == []
    assert store.folders() == []
    store.delete(["nothing", "a/b/c"])
    store.delete([])


@everywhere
def test_listing(store: Store):
    before = datetime.now(UTC) - timedelta(seconds=5)
    for key, data in {"a/b/c": "1", "a/b2": "22", "ab/c": "333", "z": "4444", "a/b/c2": ""}.items():
        store.write(key, data)
    assert [(e.key, e.size) for e in store.entries()] == [
        ("a/b/c", 1),
        ("a/b/c2", 0),
        ("a/b2", 2),
        ("ab/c", 3),
        ("z", 4),
    ]
    assert [e.key for e in store.entries("a")] == ["a/b/c", "a/b/c2", "a/b2"]
    assert [e.key for e in store.entries("a/b/")] == ["a/b/c", "a/b/c2"]
    assert store.entries("z") == []
    assert store.folders() == ["a", "ab"]
    assert store.folders("a") == ["b"]
    assert store.folders("a/b") == []
    for entry in store.entries():
        assert entry.modified.tzinfo == UTC
        assert before < entry.modified < datetime.now(UTC) + timedelta(seconds=5)


@everywhere
def test_a_store_below_a_store(store: Store):
    below = store.at("runs", "r1")
    below.write("record.json", "{}")
    assert below.address == f"{store.address}/runs/r1"
    assert store.read("runs/r1/record.json") == b"{}"
    assert store.at("runs").at("r1").read("record.json") == b"{}"
    assert [entry.key for entry in below.entries()] == ["record.json"]
    assert store.at("runs").folders() == ["r1"]
    assert store.at().entries() == store.entries()
    assert store.at("run").entries() == []


@everywhere
def test_emptied_folders_disappear(store: Store):
    for key in ("runs/r1/a/b/c", "runs/r1/d", "runs/r2/d"):
        store.write(key, "x")
    store.delete(["runs/r1/a/b/c"])
    assert store.folders("runs/r1") == []
    assert store.folders("runs") == ["r1", "r2"]
    store.delete(entry.key for entry in store.entries())
    assert store.folders() == []
    assert store.entries() == []


@everywhere
def test_more_objects_than_one_page_or_one_delete_request_holds(store: Store, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    keys = [f"many/{n:04d}" for n in range(1010)]
    store.upload(dict.fromkeys(keys, source))
    assert [entry.key for entry in store.entries()] == keys
    store.delete(keys)
    assert store.entries() == []


@everywhere
def test_large_files_survive_the_round_trip(store: Store, tmp_path: Path):
    """20 MB goes in parts; beside it an empty file and a small one, to folders that are not there yet."""
    block = hashlib.sha256(b"seed").digest()
    sources = {"large": block * 655_360, "empty": b"", "small": b"small"}
    for name, data in sources.items():
        (tmp_path / name).write_bytes(data)
    counted, lock = [0], threading.Lock()

    def count(n: int) -> None:
        with lock:
            counted[0] += n

    store.upload({f"files/{name}": tmp_path / name for name in sources}, count)
    assert counted[0] == sum(map(len, sources.values()))
    assert {entry.key: entry.size for entry in store.entries()} == {f"files/{n}": len(d) for n, d in sources.items()}

    counted[0] = 0
    target = tmp_path / "fetched" / "below"
    store.download({f"files/{name}": target / name for name in sources}, count)
    assert counted[0] == sum(map(len, sources.values()))
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in target.iterdir()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in sources.items()
    }
    assert store.read("files/large") == sources["large"]


@everywhere
def test_a_missing_local_file_is_named(store: Store, tmp_path: Path):
    with pytest.raises(UserError, match=str(tmp_path / "nothing")):
        store.upload({"a": tmp_path / "nothing"})
    assert store.entries() == []


@everywhere
def test_a_download_replaces_the_local_file_only_when_it_is_whole(store: Store, tmp_path: Path):
    target = tmp_path / "target"
    target.write_text("before")
    with pytest.raises(MissingObjectError):
        store.download({"nothing": target})
    assert target.read_text() == "before"
    store.write("something", "after")
    store.download({"something": target})
    assert target.read_text() == "after"


@everywhere
def test_if_absent_one_after_the_other(store: Store):
    store.write("claim", "first", if_absent=True)
    with pytest.raises(ObjectExistsError, match=f"{store.address}/claim"):
        store.write("claim", "second", if_absent=True)
    assert store.read("claim") == b"first"
    store.delete(["claim"])
    store.write("claim", "third", if_absent=True)
    assert store.read("claim") == b"third"


@pytest.mark.parametrize("store", ATOMIC, indirect=True)
def test_of_eight_claims_at_once_one_wins(store: Store):
    for attempt in range(3):
        barrier = threading.Barrier(8)

        def claim(writer: int, attempt: int = attempt, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            try:
                store.write(f"attempts/{attempt}/claim", f"{writer}", if_absent=True)
            except ObjectExistsError:
                return None
            return writer

        with ThreadPoolExecutor(8) as pool:
            winners = [writer for writer in pool.map(claim, range(8)) if writer is not None]
        assert len(winners) == 1
        assert store.read(f"attempts/{attempt}/claim") == f"{winners[0]}".encode()
    assert len(store.entries()) == 3


@everywhere
def test_the_probe_tells_whether_claims_are_safe_and_leaves_nothing(request: pytest.FixtureRequest, store: Store):
    assert store.probe() == ("rclone_s3" not in request.node.callspec.id)
    assert store.entries() == []


@everywhere
def test_a_pickled_store_works_and_holds_no_secret(store: Store):
    store.write("a", "x")
    pickled = pickle.dumps(store.at("below"))
    assert b"secret" not in pickled
    assert b"test-key-id" not in pickled
    copy = pickle.loads(pickled)  # noqa: S301 - our own bytes
    assert copy.address == store.address + "/below"
    copy.write("b", "y")
    assert store.read("below/b") == b"y"


@everywhere
@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/./b", ".tmp-1", "a/.tmp-1/b", "a\nb", "a\0", "a/\ud800"]
)
def test_impossible_keys_are_refused_everywhere(store: Store, key: str, tmp_path: Path):
    for use in (store.read, store.exists, lambda key: store.write(key, "x"), lambda key: store.delete([key])):
        with pytest.raises(UserError, match="cannot name an object"):
            use(key)
    if key:
        with pytest.raises(UserError, match="cannot name an object"):
            store.at(key)
    with pytest.raises(UserError, match="cannot name an object"):
        store.download({key: tmp_path / "x"})


alphabet = string.ascii_letters + string.digits + " .-_+=%&~!'()@,:;#?*[]{}\u00e9\u6f22"
names = st.text(alphabet, min_size=1, max_size=12).filter(lambda name: name.strip(".") and not name.startswith(".tmp-"))
keys = st.lists(names, min_size=1, max_size=4).map("/".join)
contents = st.dictionaries(keys, st.binary(max_size=64), min_size=1, max_size=8).filter(
    lambda objects: not any(b.startswith(a + "/") for a in objects for b in objects)  # no folder can hold those
)


@everywhere
@PROPERTY
@given(objects=contents)
def test_a_store_is_a_mapping_with_folders(store: Store, objects: dict[str, bytes]):
    store = store.at(uuid.uuid4().hex)
    for key, data in objects.items():
        store.write(key, data)
    assert [(entry.key, entry.size) for entry in store.entries()] == sorted((k, len(d)) for k, d in objects.items())
    assert all(store.read(key) == data for key, data in objects.items())
    prefixes = {"", *("/".join(key.split("/")[:n]) for key in objects for n in range(1, key.count("/") + 1))}
    for prefix in prefixes:
        start = prefix + "/" if prefix else ""
        below = [key for key in sorted(objects) if key.startswith(start)]
        assert [entry.key for entry in store.entries(prefix)] == below
        deeper = {key.removeprefix(start).split("/")[0] for key in below if key.count("/") > start.count("/")}
        assert store.folders(prefix) == sorted(deeper)
    store.delete(objects)
    assert store.entries() == []
    assert store.folders() == []


@pytest.mark.parametrize("address", ["s3://", "s3:///", "gs://bucket", "file:///tmp", "http://host/bucket"])
def test_addresses_that_are_none(address: str):
    with pytest.raises(UserError, match="expected a folder or s3://bucket/prefix"):
        open_store(address)


@pytest.mark.parametrize("address", ["s3://bucket//a", "s3://bucket/a/../b", "s3://bucket/.tmp-1"])
def test_prefixes_that_no_key_can_have(address: str):
    with pytest.raises(UserError, match="cannot name an object"):
        open_store(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("s3://bucket/", "s3://bucket"), ("s3://bucket/a/b//", "s3://bucket/a/b"), ("/data/x/", "/data/x")],
)
def test_addresses_are_normalised(address: str, expected: str):
    assert open_store(address).address == expected


def test_a_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("storage").address == str(tmp_path / "storage")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/s").address == str(tmp_path / "s")
