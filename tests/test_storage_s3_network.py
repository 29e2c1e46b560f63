"""What the network between a store and its S3 server may do: lose answers, break off reads, add what nobody wrote."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from s3_proxy import proxy
from s3_servers import S3Server

from visionjobs.errors import ObjectExistsError, StorageError, UserError
from visionjobs.storage import Store, open_store

pytestmark = pytest.mark.s3


@pytest.fixture
def store(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store on the shared SeaweedFS."""
    seaweedfs.use(monkeypatch)
    return open_store(f"{seaweedfs.address}/{uuid.uuid4().hex}")


def test_a_claim_whose_answer_was_lost_is_still_ours(store: Store, seaweedfs: S3Server):
    """The retry of a conditional put meets the object that its own first try has made."""
    with proxy(seaweedfs.endpoint, lose_answers_to_puts=1) as network:
        open_store(store.address, network.endpoint).write("claim", "ours", if_absent=True)
        assert network.requests.count("PUT") == 2
    assert store.read("claim") == b"ours"


def test_a_claim_of_another_is_not_ours_though_an_answer_was_lost(store: Store, seaweedfs: S3Server):
    """Another writer with the same bytes was a moment faster, and the refusal of our first try got lost."""
    rivals = iter([store])

    def rival_writes() -> None:
        for rival in rivals:
            rival.write("claim", "same", if_absent=True)

    with proxy(seaweedfs.endpoint, lose_answers_to_puts=1, before_put=rival_writes) as network:
        with pytest.raises(ObjectExistsError):
            open_store(store.address, network.endpoint).write("claim", "same", if_absent=True)
        assert network.requests.count("PUT") == 2


def test_a_read_that_breaks_off_is_tried_again(store: Store, seaweedfs: S3Server, tmp_path: Path):
    data = os.urandom(20 << 20)
    store.write("large", data)
    with proxy(seaweedfs.endpoint, break_off_reads=1) as network:
        assert open_store(store.address, network.endpoint).read("large") == data
    with proxy(seaweedfs.endpoint, break_off_reads=1) as network:
        open_store(store.address, network.endpoint).download({"large": tmp_path / "target"})
    assert (tmp_path / "target").read_bytes() == data


def test_reads_that_always_break_off_are_a_storage_error(store: Store, seaweedfs: S3Server, tmp_path: Path):
    store.write("large", bytes(1 << 20))
    with proxy(seaweedfs.endpoint, break_off_reads=1000) as network:
        broken = open_store(store.address, network.endpoint)
        for use in (lambda: broken.read("large"), lambda: broken.download({"large": tmp_path / "here" / "target"})):
            with pytest.raises(StorageError, match=f"{store.address}/large"):
                use()
    assert list((tmp_path / "here").iterdir()) == []


def test_the_probe_sees_a_server_that_stores_the_framing_of_chunks(store: Store, seaweedfs: S3Server):
    with proxy(seaweedfs.endpoint, framing=b"1000;chunk-signature=0\r\n") as network:
        with pytest.raises(UserError, match=f"{store.address}: what was read back is not what was written"):
            open_store(store.address, network.endpoint).probe()
    assert store.entries() == []
