"""One process's connection to an S3 server: how long it waits, how often it asks again, and what it may carry along."""

from __future__ import annotations

import os
import threading
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from visionjobs.errors import UserError
from visionjobs.storage import THREADS

CONFIG = Config(
    # Five tries with waits of up to 1, 2, 4 and 8 s between them ("standard" mode waits less than 1 s in all): a server
    # that restarts is waited for, one that refuses connections is told within 15 s, one that takes them and never
    # answers within 80 s.
    retries={"mode": "legacy", "total_max_attempts": 5},
    connect_timeout=5,  # seconds
    read_timeout=15,  # seconds without a byte
    max_pool_connections=2 * THREADS,
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


class S3Connection:
    """A server and this process's client of it, made at first use. Pickles as its endpoint alone."""

    def __init__(self, endpoint: str | None) -> None:
        if endpoint and "@" in urlsplit(endpoint).netloc:
            raise UserError(
                "AWS_ENDPOINT_URL holds a name or password; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
            )
        self.endpoint = endpoint
        self._client: Any = None
        self._client_process = 0
        self._lock = threading.Lock()
        ask_for_plain_uploads()

    def __reduce__(self) -> tuple[type[S3Connection], tuple[str | None]]:
        return S3Connection, (self.endpoint,)

    @property
    def client(self) -> Any:
        """The boto3 client. Raises UserError for a malformed endpoint."""
        with self._lock:
            if self._client is None or self._client_process != os.getpid():  # sockets do not survive a fork
                session = boto3.session.Session()
                try:
                    self._client = session.client(
                        "s3",
                        endpoint_url=self.endpoint,
                        region_name=session.region_name or "us-east-1",  # other servers do not care, but boto3 asks
                        config=CONFIG,
                    )
                except ValueError as error:
                    raise UserError(f"AWS_ENDPOINT_URL: {error}; expected http[s]://host[:port]") from error
                self._client_process = os.getpid()
            return self._client


def ask_for_plain_uploads() -> None:
    """Keep pyarrow, through which Ray writes, from sending uploads in checksummed chunks (a default since 2025).

    Servers other than AWS answer them with HTTP 411, or store the chunks' framing inside the object.
    """
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
