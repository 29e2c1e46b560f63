"""`status --watch`, lists of runs, and clusters that do not answer or may not be asked, on a real API server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from apiserver import ApiServer
from cluster_hands import Hands, stamp
from status_cases import Ended, as_object

from visionjobs.runs import Attempt

pytest_plugins = ["status_fixtures"]
pytestmark = [pytest.mark.apiserver, pytest.mark.slow]


@pytest.mark.timeout(120)
def test_watch_until_the_end(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt]
) -> None:
    name = submit()
    pods = hands.start_rayjob(name)

    def act() -> None:
        time.sleep(3)
        for pod in (pods.head, pods.submitter):
            hands.run_pod(pod)
        hands.rayjob(name, jobDeploymentStatus="Running", jobStatus="RUNNING")
        attempt = folder(name)
        time.sleep(3)
        attempt.update_record(state="interrupted", message="a worker died")
        hands.rayjob(name, jobDeploymentStatus="Retrying", jobStatus="PENDING", failed=1)
        time.sleep(3)
        attempt.update_record(state="complete", finished=stamp(1), message=None)
        hands.rayjob(name, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime=stamp())

    with meanwhile(act):
        told = visionjobs("status", name, "--watch")
    assert told.status == 0, told.err
    marks = [
        "starting",
        "running; attempt 1; 2/4 epochs; best val mIoU 0.3750",
        "starting; attempt 1",
        "complete; attempt 1",
    ]
    places = [told.err.find(mark) for mark in marks]
    assert -1 not in places, told.err
    assert places == sorted(places)
    assert told.err.count(marks[1]) == 1, "a line only when something changed"


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """`act` beside what the block does; its failure is the test's."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(act)
        yield
        done.result()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("state", "status"), [("failed", 3), ("interrupted", 1)])
def test_watch_ends_with_how_it_ended(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt],
    state: str, status: int,
) -> None:  # fmt: skip
    name = submit()
    hands.rayjob(name, jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed", endTime=stamp())
    folder(name, state, age=0)
    assert visionjobs("status", name, "--watch").status == status
    told = visionjobs("status", name, "--watch", "--json")
    assert (told.status, as_object(told)["state"]) == (status, state)


@pytest.mark.timeout(120)
def test_watch_ends_with_1_where_a_continued_run_is_deleted_before_it_begins(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], folder: Callable[..., Attempt], apiserver: ApiServer,
    namespace: str,
) -> None:  # fmt: skip
    name = submit()
    folder(name, "complete", finished=stamp(-300))

    def act() -> None:
        time.sleep(3)
        apiserver.delete("rayjobs", namespace, name)

    with meanwhile(act):
        told = visionjobs("status", name, "--watch")
    assert told.status == 1, told.err


@pytest.mark.timeout(120)
def test_watch_goes_on_while_the_cluster_is_away(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt],
    apiserver: ApiServer,
) -> None:  # fmt: skip
    name = submit()
    folder(name, "interrupted", age=0)  # of the attempt before: the cluster begins another one
    hands.rayjob(name, jobDeploymentStatus="Retrying", failed=1)

    def act() -> None:
        time.sleep(3)
        with apiserver.away():
            time.sleep(1.5)
        hands.rayjob(name, jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed", endTime=stamp())

    with meanwhile(act):
        told = visionjobs("status", name, "--watch")
    assert told.status == 1
    assert "does not answer" in told.err
    assert told.err.rindex("interrupted") > told.err.index("does not answer")


def test_the_cluster_is_gone(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], folder: Callable[..., Attempt], apiserver: ApiServer,
    namespace: str,
) -> None:  # fmt: skip
    name = submit()
    folder(name)
    folder("here-1", backend=None)
    folder("done-1", "complete")
    with apiserver.away():
        told = visionjobs("status", name)
        assert told.status == 4
        assert "warning: the cluster https:" in told.err
        assert "progress 2/4 epochs" in told.err
        assert f"submitted to namespace {namespace} as RayJob" in told.err
        assert visionjobs("status", "here-1").status == 0, "it was not submitted: the cluster has no say in it"
        assert visionjobs("status", "done-1").status == 0
        told = visionjobs("status", "nobody-1")
        assert (told.status, "does not answer" in told.err) == (4, True)
        assert visionjobs("status").status == 4
        began = time.monotonic()
        told = visionjobs("runs")
        assert time.monotonic() - began < 5
        assert told.status == 0
        assert told.err.count("warning:") == 1
        assert name in told.err


def test_who_may_not_look(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], folder: Callable[..., Attempt], apiserver: ApiServer,
    namespace: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name = submit()
    apiserver.use(monkeypatch, apiserver.user(namespace, "jane"))
    told = visionjobs("status", name)
    assert told.status == 2
    assert "not permitted" in told.err
    assert "visionjobs-submitter" in told.err
    folder(name)
    told = visionjobs("status", name)
    assert (told.status, "progress 2/4 epochs" in told.err) == (2, True)
    assert "not permitted" in visionjobs("runs").err
    assert visionjobs("status").status == 2


def test_all_that_is_on_the_cluster(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt]
) -> None:
    assert "Nothing runs in namespace" in visionjobs("status").err
    names = [submit(name=f"deeplab-{letter}") for letter in "abcd"]
    hands.start_rayjob("deeplab-a")
    hands.start_rayjob("deeplab-b")
    hands.rayjob("deeplab-b", jobDeploymentStatus="Running", jobStatus="RUNNING")
    folder("deeplab-b")
    hands.rayjob("deeplab-c", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime=stamp(-60))
    hands.rayjob("deeplab-d", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime=stamp(-100_000))
    told = visionjobs("status")
    assert told.status == 0
    assert "deeplab-a starting" in told.err
    assert "deeplab-b running 2/4 0:15" in told.err
    assert "deeplab-c complete" in told.err
    assert "deeplab-d" not in told.err, "it ended over a day ago"
    lines = visionjobs("status", "--json").out.splitlines()
    assert [json.loads(line)["run"] for line in lines] == names[:3]
    assert visionjobs("status", "--watch").status == 2


def test_runs_lists_what_only_the_cluster_knows(
    visionjobs: Callable[..., Ended], submit: Callable[..., str], hands: Hands, folder: Callable[..., Attempt]
) -> None:
    for letter in "abc":
        submit(name=f"deeplab-{letter}")
    hands.rayjob("deeplab-a", jobDeploymentStatus="Suspended")
    folder("deeplab-b", "interrupted")
    hands.start_rayjob("deeplab-b")
    hands.rayjob("deeplab-b", jobDeploymentStatus="Retrying", failed=1)
    folder("deeplab-c", "complete", finished=stamp(1))
    folder("here-1", "interrupted", backend=None)
    told = visionjobs("runs")
    assert told.status == 0
    for line in ("deeplab-a queued", "deeplab-b starting 4", "deeplab-c complete 4", "here-1 interrupted 4"):
        assert line in told.err
    rows = {
        row["run"]: row for row in map(json.loads, visionjobs("runs", "--json", "--job", "deeplab").out.splitlines())
    }
    assert set(rows) == {"deeplab-a", "deeplab-b", "deeplab-c", "here-1"}
    assert (rows["deeplab-a"]["state"], rows["deeplab-a"]["epochs"], rows["deeplab-a"]["metrics"]) == (
        "queued",
        None,
        {},
    )
    assert datetime.fromisoformat(rows["deeplab-a"]["created"]) <= datetime.now(UTC)


def test_nothing_of_that_name(visionjobs: Callable[..., Ended], submit: Callable[..., str]) -> None:
    name = submit()
    told = visionjobs("status", name.replace("deeplab", "deplab"))
    assert told.status == 2
    assert f'Did you mean "{name}"?' in told.err
    assert visionjobs("status", "no/such name").status == 2
