"""Checks of the storage: that it can be written to from here, and be found from the cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from visionjobs.cluster.check import Check, look
from visionjobs.settings import Settings
from visionjobs.storage import Store

LOOPBACK = ("localhost", "::1", "0.0.0.0")  # noqa: S104 (compared with, not listened on)

SKEW_SECONDS, MOST_SKEW_SECONDS = 60, 900
"""A difference of clocks to be told of, and the one from which S3 refuses all requests (RequestTimeTooSkewed)."""


def check_storage(root: Store) -> Check:
    """Written to and read back; whether of two attempts at once only one can write (conditional writes)."""

    def find() -> Check | str:
        if root.probe():
            return f"{root.address} can be written to"
        return Check(
            "storage", None, f"{root.address} ignores conditional writes: two attempts at once might both write",
            "do not submit a run that is still running somewhere",
        )  # fmt: skip

    return look("storage", find)


def check_seen_from_cluster(settings: Settings) -> Check:
    """Pods have no folder of this machine, and their loopback is their own."""
    name, address, endpoint = "storage address", settings.storage_from_cluster, settings.endpoint_from_cluster
    if "://" not in address and address == settings.storage:
        return Check(
            name, False, f"{address} is a folder of this machine, which no pod sees",
            "set VISIONJOBS_STORAGE=s3://BUCKET/PREFIX, or VISIONJOBS_STORAGE_FROM_CLUSTER to its address there",
        )  # fmt: skip
    host = urlsplit(endpoint).hostname if endpoint and "://" in address else None
    if is_loopback(host):
        return Check(
            name, False, f"{endpoint} is this machine's own loopback, which no pod reaches",
            "set VISIONJOBS_ENDPOINT_FROM_CLUSTER to the S3 server's address there",
        )  # fmt: skip
    return Check(name, True, f"pods find it at {address}" + (f" on {endpoint}" if host else ""))


def is_loopback(host: str | None) -> bool:
    """Whether that is the machine itself."""
    return host is not None and (host in LOOPBACK or host.startswith("127."))


def check_clock(root: Store) -> Check:
    """This machine's clock against the S3 server's, which refuses requests that are far off."""
    from visionjobs.storage_s3 import S3Store

    def find() -> Check | str:
        if not isinstance(root, S3Store):
            return "a folder asks for none"
        root.exists(".clock")
        answer = root.connection.client.list_objects_v2(Bucket=root.address.split("/")[2], MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date is None:
            return Check("clock", None, "the S3 server does not tell its time")
        skew = abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
        told = f"{skew:.0f} s apart from the S3 server's"
        if skew <= SKEW_SECONDS:
            return told
        return Check("clock", None if skew < MOST_SKEW_SECONDS else False, told, "set this machine's clock (NTP)")

    return look("clock", find)
