"""Real S3 servers for tests: SeaweedFS (honours conditional writes) and rclone (ignores them), on free loopback ports.

    def test_x(seaweedfs, monkeypatch):
        seaweedfs.use(monkeypatch)                      # this process finds it; `seaweedfs.env` is for a child's
        store = open_store(f"{seaweedfs.address}/my-test")

`seaweedfs` and `rclone_s3` are shared by the whole session; `private_seaweedfs` is one a test may kill and restart.
"""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

READY_S = 60
LEAST_FREE = 3 << 30
"""Bytes. SeaweedFS makes no volume of 1 GiB where less than two of them are free, and then every write hangs."""


@dataclass
class S3Server:
    """A server program, its data folder and the one key pair that it knows."""

    kind: str
    folder: Path
    bucket: str = "visionjobs-test"
    key: str = "test-key-id"
    secret: str = "test-secret-never-in-a-pickle"
    ports: list[int] = field(default_factory=lambda: _free_ports(5))
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def address(self) -> str:
        return f"s3://{self.bucket}"

    @property
    def env(self) -> dict[str, str]:
        """What a process needs in its environment to find this server through boto3 or pyarrow."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put `env` into this process's environment until the test ends."""
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)

    def client(self) -> Any:
        """A plain boto3 client, for looking behind the code under test."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=2,
                read_timeout=10,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def start(self) -> None:
        """Start it (again), on the same ports and the same data, and wait until it answers with its bucket there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                env={"HOME": str(self.folder), "RCLONE_AUTH_KEY": f'"{self.key},{self.secret}"', **self.env},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + READY_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.kind} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        client = self.client()
        try:
            if self.bucket not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=self.bucket)
        except (BotoCoreError, ClientError):
            return False
        return True

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End it: SIGTERM as a shutdown would, SIGKILL as a crash would."""
        if self.process is None:
            return
        self.process.send_signal(with_signal)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    @property
    def _log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    def _command(self) -> list[str]:
        s3, master, volume, filer, admin = map(str, self.ports)
        if self.kind == "rclone":
            return [_program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{s3}", "--config", "", str(self.folder)]
        return [_program("weed"), "-logdir", str(self.folder.parent), "mini", "-dir", str(self.folder),
                "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1",
                "-s3.port", s3, "-master.port", master, "-volume.port", volume, "-filer.port", filer,
                "-admin.port", admin, "-admin.ui=false", "-webdav=false", "-s3.port.iceberg", "0",
                "-s3.port.lance", "0", "-s3.autoCreateBucket=false", "-master.telemetry=false"]  # fmt: skip


def _program(name: str) -> str:
    """Where the wheel put it: beside this interpreter, or on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.fail(f"{name} is not installed; expected it from the dev extra (pip install -e '.[dev]')")
    return found


def _free_ports(count: int) -> list[int]:
    """So many different ones."""
    ports: dict[int, None] = {}
    while len(ports) < count:
        ports[_free_port()] = None
    return list(ports)


def _free_port() -> int:
    """A free port whose twin 10,000 above, SeaweedFS's gRPC port, is free too; both below the ephemeral range."""
    while True:
        port = random.randint(12_000, 22_000)
        try:
            for candidate in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        return port


def _serve(kind: str, folder: Path) -> Iterator[S3Server]:
    if (free := shutil.disk_usage(folder.parent).free) < LEAST_FREE:
        pytest.fail(f"{folder}: {free >> 20} MiB are free on its disk; expected {LEAST_FREE >> 20}. Free some")
    server = S3Server(kind, folder / kind)
    server.start()
    yield server
    server.stop(signal.SIGKILL)  # nobody reads its data again


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS, shared: use a prefix of your own, and leave it running."""
    yield from _serve("seaweedfs", tmp_path_factory.mktemp("s3"))


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """rclone serve s3, shared: use a prefix of your own, and leave it running."""
    yield from _serve("rclone", tmp_path_factory.mktemp("s3"))


@pytest.fixture
def private_seaweedfs(tmp_path: Path) -> Iterator[S3Server]:
    """SeaweedFS for one test alone, which may stop and start it."""
    yield from _serve("seaweedfs", tmp_path / "s3")
