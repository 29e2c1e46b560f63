"""What only S3 can suffer: wrong credentials, missing buckets, servers that are down, full, slow or lose an answer."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from botocore.config import Config
from s3_servers import S3Server

from visionjobs import storage_s3_client
from visionjobs.errors import StorageError, UserError
from visionjobs.storage import Store, open_store

pytestmark = pytest.mark.s3


@pytest.fixture
def store(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store on the shared SeaweedFS."""
    seaweedfs.use(monkeypatch)
    return open_store(f"{seaweedfs.address}/{uuid.uuid4().hex}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries instead of five, where a test is about what follows them."""
    hurry = Config(retries={"mode": "legacy", "total_max_attempts": 2})
    monkeypatch.setattr(storage_s3_client, "CONFIG", storage_s3_client.CONFIG.merge(hurry))


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def everything(store: Store, tmp_path: Path) -> list:
    """Each way of asking the server for something."""
    source = tmp_path / "source"
    source.write_bytes(b"x")
    return [
        store.probe,
        store.entries,
        store.folders,
        lambda: store.read("a"),
        lambda: store.write("a", "x"),
        lambda: store.write("a", "x", if_absent=True),
        lambda: store.delete(["a"]),
        lambda: store.upload({"a": source}),
        lambda: store.download({"a": tmp_path / "target"}),
    ]


@pytest.mark.parametrize("server_name", ["seaweedfs", "rclone_s3"])
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(
    server_name: str,
    variable: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    server = request.getfixturevalue(server_name)
    server.use(monkeypatch)
    monkeypatch.setenv(variable, "wrong-value")
    store = open_store(f"{server.address}/p")
    for use in everything(store, tmp_path):
        with pytest.raises(
            UserError, match=f"{store.address}.*refused the credentials.*set AWS_ACCESS_KEY_ID"
        ) as caught:
            use()
        assert "wrong-value" not in str(caught.value)
        assert server.secret not in str(caught.value)
        assert server.key not in str(caught.value)
    assert not (tmp_path / "target").exists()


def test_no_credentials(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seaweedfs.use(monkeypatch)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"no usable credentials.*set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store(seaweedfs.address).probe()


@pytest.mark.parametrize("server_name", ["seaweedfs", "rclone_s3"])
def test_a_missing_bucket(server_name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    server = request.getfixturevalue(server_name)
    server.use(monkeypatch)
    store = open_store("s3://no-such-bucket/p")
    for use in (store.probe, store.entries, lambda: store.read("a"), lambda: store.write("a", "x")):
        with pytest.raises(UserError, match=r's3://no-such-bucket/p.*has no bucket "no-such-bucket"; make it'):
            use()
    assert "no-such-bucket" not in [bucket["Name"] for bucket in server.client().list_buckets()["Buckets"]]


@pytest.mark.parametrize("bucket", ["Not_A_Bucket_Name", "a", "with space", "x" * 64])
def test_an_impossible_bucket_name(bucket: str, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch):
    seaweedfs.use(monkeypatch)
    store = open_store(f"s3://{bucket}/p")
    for use in (store.probe, store.entries, lambda: store.write("a", "x")):
        with pytest.raises(UserError, match=f"s3://{bucket}/p.*correct the address"):
            use()


def test_a_server_that_is_not_there(free_port: int, monkeypatch: pytest.MonkeyPatch, seaweedfs: S3Server):
    seaweedfs.use(monkeypatch)
    store = open_store("s3://bucket/p", f"http://127.0.0.1:{free_port}")
    with pytest.raises(StorageError, match=f"s3://bucket/p: .*127.0.0.1:{free_port} did not answer.*AWS_ENDPOINT_URL"):
        store.probe()


@pytest.mark.usefixtures("impatient")
def test_every_request_to_a_server_that_is_not_there(store: Store, free_port: int, tmp_path: Path):
    store = open_store(store.address, f"http://127.0.0.1:{free_port}")
    for use in everything(store, tmp_path):
        with pytest.raises(StorageError, match=f"{store.address}.*did not answer"):
            use()
    assert not (tmp_path / "target").exists()


def test_a_server_that_hangs(private_seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch):
    hurry = Config(retries={"mode": "legacy", "total_max_attempts": 2}, read_timeout=2)
    monkeypatch.setattr(storage_s3_client, "CONFIG", storage_s3_client.CONFIG.merge(hurry))
    private_seaweedfs.use(monkeypatch)
    store = open_store(private_seaweedfs.address)
    store.write("a", "x")
    assert private_seaweedfs.process is not None
    private_seaweedfs.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StorageError, match=r"did not answer, or broke off .ReadTimeoutError."):
            store.read("a")
    finally:
        private_seaweedfs.process.send_signal(signal.SIGCONT)
    assert store.read("a") == b"x"


@pytest.mark.parametrize("endpoint", ["not a url", "127.0.0.1:80", "http://", "ftp//x"])
def test_a_malformed_endpoint(store: Store, endpoint: str):
    with pytest.raises(UserError, match="AWS_ENDPOINT_URL"):
        open_store(store.address, endpoint).probe()


def test_an_endpoint_with_a_password_is_refused(store: Store):
    with pytest.raises(UserError, match="AWS_ENDPOINT_URL holds a name or password") as caught:
        open_store(store.address, "http://user:hunter2@127.0.0.1:1")
    assert "hunter2" not in str(caught.value)


def test_a_server_killed_in_the_middle_of_an_upload(
    private_seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, impatient: None, tmp_path: Path
):
    private_seaweedfs.use(monkeypatch)
    store = open_store(f"{private_seaweedfs.address}/p")
    store.write("before", "x")
    source = tmp_path / "source"
    source.write_bytes(os.urandom(96 << 20))
    sent, lock = [0], threading.Lock()

    def kill_half_way(n: int) -> None:
        with lock:
            sent[0] += n
            if sent[0] > 48 << 20:
                private_seaweedfs.stop(signal.SIGKILL)

    with pytest.raises(StorageError, match=f"{store.address}/large.*did not answer, or broke off"):
        store.upload({"large": source}, kill_half_way)
    private_seaweedfs.start()
    assert [entry.key for entry in store.entries()] == ["before"]
    assert not store.exists("large")

    store.upload({"large": source})  # parts of the broken upload do not disturb a second one
    assert store.read("large") == source.read_bytes()


def test_a_restart_of_the_server_is_waited_for(
    private_seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("random.random", lambda: 1.0)  # boto3 tries again after up to 1, 2, 4 and 8 s: not after none
    private_seaweedfs.use(monkeypatch)
    store = open_store(private_seaweedfs.address)
    store.write("a", "x")
    private_seaweedfs.stop(signal.SIGKILL)
    restart = threading.Timer(0.5, private_seaweedfs.start)
    restart.start()
    assert store.read("a") == b"x"
    restart.join()


def test_an_interrupted_upload_leaves_neither_object_nor_parts(store: Store, seaweedfs: S3Server, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(bytes(192 << 20))
    interrupts = iter([signal.SIGINT])

    def interrupt_once(n: int) -> None:
        for number in interrupts:
            signal.pthread_kill(threading.main_thread().ident, number)  # it waits, and must be woken
        time.sleep(0.5)  # else a fast machine has sent everything before it hears of the interrupt

    with pytest.raises(KeyboardInterrupt):
        store.upload({"large": source}, interrupt_once)
    assert store.entries() == []
    assert not seaweedfs.client().list_multipart_uploads(Bucket=seaweedfs.bucket).get("Uploads")


@pytest.mark.usefixtures("impatient")
def test_a_full_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    server = S3Server("rclone", disk)
    source = tmp_path / "source"
    source.write_bytes(bytes(2 << 20))
    try:
        server.start()
        server.use(monkeypatch)
        store = open_store(server.address)
        store.write("small", "x")
        for use in (lambda: store.write("large", bytes(2 << 20)), lambda: store.upload({"large": source})):
            with pytest.raises(StorageError, match=f"{store.address}/large"):
                use()
        assert [entry.key for entry in store.entries()] == ["small"]
    finally:
        server.stop()
        subprocess.run(["umount", str(disk)], check=True)


def _write_in_child(store: Store) -> None:
    store.write("child", "y")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_works_in_a_child_process(store: Store, method: str):
    store.write("parent", "x")
    child = multiprocessing.get_context(method).Process(target=_write_in_child, args=(store,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert [entry.key for entry in store.entries()] == ["child", "parent"]


def with_pyarrow(address: str, code: str) -> None:
    """Run `code`, which has a `filesystem` and a `path`, in a process of its own: pyarrow's threads for S3 live as long
    as theirs does, and may crash it at its end."""
    begin = "import os, sys, pyarrow.fs\nfilesystem, path = pyarrow.fs.FileSystem.from_uri(sys.argv[1])\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{begin}{code}\nos._exit(0)", address], capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr


def test_markers_that_pyarrow_makes_are_neither_listed_nor_left_behind(store: Store, seaweedfs: S3Server):
    address = f"{store.address}/runs/r1/attempts/1"
    with_pyarrow(address, "filesystem.create_dir(path)\nfilesystem.create_dir(path.replace('attempts/1', 'empty'))")
    prefix = store.address.partition(seaweedfs.bucket + "/")[2]
    made = seaweedfs.client().list_objects_v2(Bucket=seaweedfs.bucket, Prefix=prefix)
    assert f"{prefix}/runs/r1/empty/" in {item["Key"] for item in made["Contents"]}
    assert store.folders() == []
    assert store.entries() == []
    with_pyarrow(address, "with filesystem.open_output_stream(path + '/weights') as stream:\n    stream.write(b'x')")
    assert [entry.key for entry in store.entries()] == ["runs/r1/attempts/1/weights"]
    assert store.folders("runs/r1") == ["attempts"]
    store.delete(["runs/r1/attempts/1/weights"])
    answer = seaweedfs.client().list_objects_v2(Bucket=seaweedfs.bucket, Prefix=prefix)
    assert {item["Key"] for item in answer.get("Contents", [])} <= {prefix + "/"}


PYARROW = """
import os, pyarrow.fs, sys
from visionjobs.storage import open_store
store = open_store(sys.argv[1])
filesystem, path = pyarrow.fs.FileSystem.from_uri(sys.argv[1])
with filesystem.open_output_stream(path + "/from-pyarrow") as stream:
    stream.write(b"exactly this")
print(store.read("from-pyarrow"), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("server_name", ["seaweedfs", "rclone_s3"])
def test_pyarrow_beside_a_store_writes_plain_objects(server_name: str, request: pytest.FixtureRequest):
    """Only the endpoint and the key pair are set: opening a store settles the rest for Ray's writes too."""
    server = request.getfixturevalue(server_name)
    kept = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"}
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env |= {k: v for k, v in server.env.items() if k in kept}
    address = f"{server.address}/{uuid.uuid4().hex}"
    done = subprocess.run(
        [sys.executable, "-c", PYARROW, address], env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("b'exactly this'", 0), done.stderr
