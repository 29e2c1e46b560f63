"""A store in a bucket of any S3 server, through boto3. Credentials come from the environment alone (AWS_*)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError, S3ValidationError
from s3transfer.subscribers import BaseSubscriber

from visionjobs.errors import MissingObjectError, ObjectExistsError
from visionjobs.storage import TEMPORARY, THREADS, Entry, OnBytes, Store, checked_key, explain_os_error
from visionjobs.storage_s3_client import S3Connection
from visionjobs.storage_s3_errors import explain_s3_error, is_conflict, is_unsupported

TRANSFER = TransferConfig(
    multipart_threshold=8 << 20,  # bytes; parts of the same size, so that a slow server still answers for each in time
    multipart_chunksize=8 << 20,
    max_concurrency=THREADS,
    num_download_attempts=3,
    preferred_transfer_client="classic",  # the same code path everywhere, AWS's own machines included
)

READ_ATTEMPTS = 3
"""boto3 retries a request, but not the reading of its answer's body."""

DELETE_BATCH = 1000
"""The most keys that one DeleteObjects request may name (Amazon S3 API reference)."""


@dataclass(frozen=True)
class S3Store(Store):
    """Objects below `s3://bucket[/prefix]`."""

    address: str
    connection: S3Connection

    def at(self, *parts: str) -> S3Store:
        return S3Store("/".join([self.address, checked_key("/".join(parts))]), self.connection) if parts else self

    def exists(self, key: str) -> bool:
        try:
            self._head(key)
        except MissingObjectError:
            return False
        return True

    def read(self, key: str) -> bytes:
        with self._explained(key):
            for attempt in range(1, READ_ATTEMPTS + 1):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
                try:
                    return bytes(answer["Body"].read())
                except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                    if attempt == READ_ATTEMPTS:
                        raise
        raise AssertionError("unreachable")

    def write(self, key: str, data: bytes | str, *, if_absent: bool = False) -> None:
        body = data.encode() if isinstance(data, str) else data
        if if_absent and self.exists(key):  # all that a server without conditional writes can do
            raise ObjectExistsError(f"{self._address(key)}: is there already")
        with self._explained(key):
            if not if_absent or not self._put_if_absent(key, body):
                self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=body)

    def entries(self, prefix: str = "") -> list[Entry]:
        return sorted(self._listed(prefix), key=lambda entry: entry.key)

    def folders(self, prefix: str = "") -> list[str]:
        pages = self._pages(prefix, Delimiter="/")
        below = [item["Prefix"].removeprefix(self._prefix) for page in pages for item in page.get("CommonPrefixes", [])]
        with ThreadPoolExecutor(THREADS) as pool:  # some servers go on listing folders that have been emptied
            filled = pool.map(lambda folder: any(True for _ in self._listed(folder)), below)
            return sorted(folder.split("/")[-2] for folder, has_object in zip(below, filled, strict=True) if has_object)

    def delete(self, keys: Iterable[str]) -> None:
        full_keys = [self._full(key) for key in keys]
        for start in range(0, len(full_keys), DELETE_BATCH):
            objects = [{"Key": key} for key in full_keys[start : start + DELETE_BATCH]]
            with self._explained():
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            for failure in answer.get("Errors", []):
                with self._explained(failure["Key"].removeprefix(self._prefix)):
                    raise ClientError({"Error": failure}, "DeleteObjects")
        with self._explained():
            self._delete_emptied({key.rpartition("/")[0] for key in full_keys})

    def upload(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        with self._transfers() as manager:
            futures = {
                key: manager.upload(str(path), self._bucket, self._full(key), subscribers=_progress(on_bytes))
                for key, path in files.items()
            }
            for key, future in futures.items():
                with self._explained(key, files[key]):
                    future.result()

    def download(self, files: Mapping[str, Path], on_bytes: OnBytes | None = None) -> None:
        with ExitStack() as cleanup:
            temporaries = {key: cleanup.enter_context(_temporary_beside(path)) for key, path in files.items()}
            with self._transfers() as manager:
                futures = {
                    key: manager.download(self._bucket, self._full(key), str(path), subscribers=_progress(on_bytes))
                    for key, path in temporaries.items()
                }
                for key, future in futures.items():
                    with self._explained(key, files[key]):
                        future.result()
                        temporaries[key].replace(files[key])

    def probe(self) -> bool:
        with self._explained():
            self._client.head_bucket(Bucket=self._bucket)  # some servers make the bucket of a mistyped address
        return super().probe()

    def refuses_overwrite(self, key: str) -> bool:
        with self._explained(key):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._full(key), Body=b"", IfNoneMatch="*")
            except ClientError as error:
                if not (is_conflict(error) or is_unsupported(error)):
                    raise
                return is_conflict(error)
        return False

    @property
    def _client(self) -> Any:
        return self.connection.client

    @property
    def _bucket(self) -> str:
        return self.address.removeprefix("s3://").partition("/")[0]

    @property
    def _prefix(self) -> str:
        """What every key in the bucket begins with: '' or 'folder/'."""
        folder = self.address.removeprefix("s3://").partition("/")[2]
        return folder + "/" if folder else ""

    def _full(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _address(self, key: str) -> str:
        return f"{self.address}/{key}" if key else self.address

    def _head(self, key: str) -> Any:
        with self._explained(key):
            return self._client.head_object(Bucket=self._bucket, Key=self._full(key))

    def _pages(self, prefix: str, **arguments: str) -> Iterator[Any]:
        folder = prefix.rstrip("/")
        below = self._full(folder) + "/" if folder else self._prefix
        with self._explained(folder):
            paginator = self._client.get_paginator("list_objects_v2")
            yield from paginator.paginate(Bucket=self._bucket, Prefix=below, **arguments)

    def _listed(self, prefix: str) -> Iterator[Entry]:
        for page in self._pages(prefix):
            for item in page.get("Contents", []):
                name = item["Key"].rpartition("/")[2]
                if name and not name.startswith(TEMPORARY):  # no name: a folder's marker, such as pyarrow makes
                    key = item["Key"].removeprefix(self._prefix)
                    yield Entry(key, item["Size"], item["LastModified"].astimezone(UTC))

    def _put_if_absent(self, key: str, body: bytes) -> bool:
        """Whether it was put; False where the server has no conditional writes. Raises ObjectExistsError."""
        writer = uuid.uuid4().hex
        put = {"Bucket": self._bucket, "Key": self._full(key), "Body": body, "Metadata": {"writer": writer}}
        try:
            self._client.put_object(**put, IfNoneMatch="*")
        except ClientError as error:
            if is_unsupported(error):
                return False
            if not is_conflict(error):
                raise
            retried = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
            if retried and self._head(key)["Metadata"].get("writer") == writer:
                return True  # our own first try had arrived, only its answer was lost
            raise ObjectExistsError(f"{self._address(key)}: is there already") from error
        return True

    def _delete_emptied(self, folders: set[str]) -> None:
        """Delete the markers that pyarrow makes of folders, where nothing else is left below, and so upwards."""
        for start in folders:
            folder = start
            while (folder + "/").startswith(self._prefix) and folder + "/" != self._prefix and folder:
                answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=folder + "/")
                left = [item["Key"] for item in answer.get("Contents", [])]
                if answer["IsTruncated"] or not all(key.endswith("/") for key in left):
                    break
                for marker in sorted(left, reverse=True):
                    self._client.delete_object(Bucket=self._bucket, Key=marker)
                folder = folder.rpartition("/")[0]

    @contextmanager
    def _transfers(self) -> Iterator[Any]:
        """A pool of transfers; an error inside the block cancels them all, and aborts what was sent in parts."""
        with self._explained():
            manager = create_transfer_manager(self._client, TRANSFER)
        with manager:
            yield manager

    @contextmanager
    def _explained(self, key: str = "", local: Path | None = None) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, RetriesExceededError, S3DownloadFailedError, S3ValidationError) as error:
            raise explain_s3_error(error, self._address(key), self.connection.endpoint) from error
        except OSError as error:
            raise explain_os_error(error, str(local or self._address(key))) from error


class _Progress(BaseSubscriber):  # type: ignore[misc]
    def __init__(self, on_bytes: OnBytes) -> None:
        self._on_bytes = on_bytes

    def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:
        self._on_bytes(bytes_transferred)


def _progress(on_bytes: OnBytes | None) -> list[_Progress]:
    return [_Progress(on_bytes)] if on_bytes else []


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """A name in `path`'s folder, which is made, for a file that is gone when the block ends."""
    temporary = path.with_name(TEMPORARY + uuid.uuid4().hex)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, str(path)) from error
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
