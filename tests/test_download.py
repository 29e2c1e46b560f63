"""Large downloads from a server that breaks off, lies, forgets ranges or has another file: whole or not at all."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from file_server import Behaviour, serving

from visionjobs.download import ATTEMPTS, WebFile, fetch_web_file
from visionjobs.errors import StorageError

DATA = np.random.default_rng(1).integers(0, 256, 200_000, np.uint8).tobytes()
OTHER = DATA[:-1] + bytes([DATA[-1] ^ 1])


class Counter:
    """Counts what is reported, as a progress bar does."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.bytes = 0
        self.name = ""

    def __call__(self, name: str, total: int | None) -> Callable[[int], None]:
        self.name, self.total = name, total
        return self.advance

    def advance(self, count: int) -> None:
        self.bytes += count


def fetched(behaviour: Behaviour, folder: Path, counter: Counter | None = None, size: int = len(DATA)) -> Path:
    with serving(behaviour) as address:
        file = WebFile(f"{address}/zips/a.zip", size, hashlib.sha256(DATA).hexdigest())
        return fetch_web_file(file, folder, counter or Counter(), pause_s=0)


def server(**how: object) -> Behaviour:
    return Behaviour({"/zips/a.zip": DATA}, **how)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file(tmp_path: Path) -> None:
    counter, behaviour = Counter(), server()
    path = fetched(behaviour, tmp_path, counter)
    assert (path, path.read_bytes()) == (tmp_path / "a.zip", DATA)
    assert (names(tmp_path), behaviour.ranges_asked) == (["a.zip"], [""])
    assert (counter.name, counter.total, counter.bytes) == ("download a.zip", len(DATA), len(DATA))


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    behaviour = server()
    fetched(behaviour, tmp_path)
    fetched(behaviour, tmp_path)
    assert len(behaviour.ranges_asked) == 1


@pytest.mark.parametrize("etag", ["", '"one"', 'W/"weak"'])
def test_a_server_that_breaks_off_is_asked_for_the_rest(tmp_path: Path, etag: str) -> None:
    counter = Counter()
    behaviour = server(break_after=[70_000, 0, 50_000], etags={"/zips/a.zip": etag})
    assert fetched(behaviour, tmp_path, counter).read_bytes() == DATA
    assert behaviour.ranges_asked == ["", "bytes=70000-", "bytes=70000-", "bytes=120000-"]
    assert (counter.bytes, names(tmp_path)) == (len(DATA), ["a.zip"])


def test_a_later_call_goes_on(tmp_path: Path) -> None:
    """As after Ctrl-C or a server that was away."""
    with pytest.raises(StorageError, match=r"failed after 60,000 of 200,000 bytes.* goes on from there"):
        fetched(server(break_after=[60_000, *[0] * ATTEMPTS]), tmp_path)
    assert names(tmp_path) == ["a.zip.part"]
    counter, behaviour = Counter(), server()
    assert fetched(behaviour, tmp_path, counter).read_bytes() == DATA
    assert behaviour.ranges_asked == ["bytes=60000-"]
    assert counter.bytes == len(DATA)


def test_a_server_that_ignores_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    counter = Counter()
    assert fetched(server(break_after=[70_000], ranges=False), tmp_path, counter).read_bytes() == DATA
    assert counter.bytes == len(DATA)


def test_a_server_that_always_breaks_off_at_the_same_place(tmp_path: Path) -> None:
    behaviour = server(break_after=[70_000] * 50, ranges=False)
    with pytest.raises(StorageError, match=r"failed after 70,000 of 200,000 bytes: the server broke off"):
        fetched(behaviour, tmp_path)
    assert len(behaviour.ranges_asked) == 1 + ATTEMPTS


@pytest.mark.parametrize("length", [100_000, 300_000, 0])
def test_a_server_that_lies_about_the_length(tmp_path: Path, length: int) -> None:
    with pytest.raises(StorageError, match=f"the server has {length} bytes for it, from 0 on, and 200000 are expected"):
        fetched(server(length=length), tmp_path)
    assert not (tmp_path / "a.zip").exists()


def test_a_body_shorter_than_its_length(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"failed after 150,000 of 200,000 bytes"):
        fetched(Behaviour({"/zips/a.zip": DATA[:150_000]}, length=len(DATA), ranges=False), tmp_path)


def test_another_file_of_the_same_length_is_deleted(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"its sha256 is [0-9a-f]{64}, not [0-9a-f]{64}. It was deleted"):
        fetched(Behaviour({"/zips/a.zip": OTHER}), tmp_path)
    assert names(tmp_path) == []


def test_a_file_that_changes_between_two_connections_is_read_from_the_start(tmp_path: Path) -> None:
    """The server's ETag tells: the first part is not kept."""
    changed = Behaviour({"/zips/a.zip": bytes(len(DATA))}, [70_000, *[0] * ATTEMPTS], etags={"/zips/a.zip": '"one"'})
    with pytest.raises(StorageError, match="failed after"):
        fetched(changed, tmp_path)
    behaviour = server(etags={"/zips/a.zip": '"two"'})
    assert fetched(behaviour, tmp_path).read_bytes() == DATA
    assert behaviour.ranges_asked == ["bytes=70000-"]


def test_a_wrong_first_part_is_found_without_an_etag(tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(bytes(5000))
    with pytest.raises(StorageError, match="It was deleted"):
        fetched(server(), tmp_path)
    assert fetched(server(), tmp_path).read_bytes() == DATA


def test_a_first_part_that_is_longer_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(bytes(len(DATA) + 1))
    assert fetched(server(), tmp_path).read_bytes() == DATA


def test_a_server_with_less_than_there_is_here(tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(bytes(5000))
    with pytest.raises(StorageError, match="the server has 4000 bytes"):
        fetched(Behaviour({"/zips/a.zip": DATA[:4000]}), tmp_path)


def test_a_whole_part_needs_no_server(tmp_path: Path) -> None:
    """As when the process was killed before the file got its name."""
    (tmp_path / "a.zip.part").write_bytes(DATA)
    behaviour = server()
    assert fetched(behaviour, tmp_path).read_bytes() == DATA
    assert behaviour.ranges_asked == []


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (503, ATTEMPTS), (429, ATTEMPTS)])
def test_a_server_that_refuses(tmp_path: Path, status: int, asked: int) -> None:
    behaviour = server(status=status)
    with pytest.raises(StorageError, match=f"zips/a.zip: the download failed after 0 .*the server answered {status}"):
        fetched(behaviour, tmp_path)
    assert len(behaviour.ranges_asked) == asked


def test_no_server(tmp_path: Path) -> None:
    with serving(server()) as address:
        pass
    file = WebFile(f"{address}/zips/a.zip", 5, "0" * 64)
    with pytest.raises(StorageError, match="refused"):
        fetch_web_file(file, tmp_path, Counter(), pause_s=0)


def test_several_files_at_once(tmp_path: Path) -> None:
    """Into one folder: each has its own part."""
    behaviour = Behaviour({f"/{n}.zip": DATA[n:] for n in range(4)}, [1000] * 4)
    with serving(behaviour) as address:
        files = [WebFile(f"{address}/{n}.zip", len(DATA) - n, hashlib.sha256(DATA[n:]).hexdigest()) for n in range(4)]
        threads = [
            threading.Thread(target=fetch_web_file, args=(file, tmp_path, Counter()), kwargs={"pause_s": 0})
            for file in files
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert names(tmp_path) == ["0.zip", "1.zip", "2.zip", "3.zip"]
