"""`visionjobs attempt`, what a pod runs: how it begins, and when it does nothing. The slow tests train with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import draw_tiny
from typer.testing import CliRunner, Result

from visionjobs.cli.app import app
from visionjobs.cli.attempt import _told_to_end
from visionjobs.cluster.local import Connection, Resources
from visionjobs.data.wildlife import import_wildlife
from visionjobs.errors import (
    FinalError,
    MissingObjectError,
    StorageError,
    SupersededError,
    UserError,
    VisionjobsError,
)
from visionjobs.jobfile import parse_job
from visionjobs.runs import Run, create_run, open_run, request_stop, stop_requested
from visionjobs.storage import Store, open_store
from visionjobs.sweeps import create_sweep
from visionjobs.training.watch import Watcher

ID = "tiny-20261128-120000-abcd"
JOB = (
    "name: tiny\ntask: classification\nmodel: {name: convnet}\ndata: {name: tiny, size: [32, 32]}\ntrain: {epochs: 2}\n"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("VISIONJOBS_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("VISIONJOBS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VISIONJOBS_BACKEND", "job")
    monkeypatch.delenv("VISIONJOBS_SPEC", raising=False)
    return open_store(str(tmp_path / "storage"))


@pytest.fixture
def run(root: Store) -> Run:
    return create_run(root, parse_job(JOB, "jobs/tiny.yaml", "tiny"), "{}", ID)


def attempt(*args: str) -> Result:
    """The command, in this process: what it refuses it refuses before Ray is started."""
    return CliRunner().invoke(app, ["attempt", *args], catch_exceptions=True)


def status(result: Result) -> int:
    """The exit status that `main` would end with."""
    return getattr(result.exception, "exit_status", result.exit_code)


def test_a_complete_run_is_not_trained_again(run: Run) -> None:
    run.claim("attempt", {}).update_record(state="complete", epochs=2)
    result = attempt(ID)
    assert result.exit_code == 0
    assert run.store.address in result.output
    assert len(run.claims()) == 1


def test_a_complete_run_with_more_epochs_is_continued(run: Run) -> None:
    run.claim("attempt", {}).update_record(state="complete", epochs=2)
    result = attempt(ID, "--set", "train.epochs=3")
    assert "tiny" in str(result.exception), "it looks for its dataset, which is not there"
    assert status(result) == 2


def test_a_run_that_failed_for_good_ends_with_3_at_once(run: Run) -> None:
    run.claim("attempt", {}).update_record(state="failed", message="the loss of step 7 is not finite")
    result = attempt(ID)
    assert status(result) == 3
    assert "step 7" in str(result.exception)


def test_a_run_that_was_told_to_stop_is_not_begun_again(run: Run) -> None:
    request_stop(run.store, "it was cancelled")
    result = attempt(ID)
    assert status(result) == 2, "no retry of a Job follows (podFailurePolicy)"
    assert f"because it was cancelled. Put it right, and continue with: visionjobs submit tiny --run {ID}" in str(
        result.exception
    )
    assert run.claims() == []


def test_a_mistake_is_found_once(run: Run) -> None:
    """The dataset is not there: the next pod would only find that again."""
    first = attempt(ID)
    assert status(first) == 2
    assert "dataset" in (stop_requested(run.store) or "")
    second = attempt(ID)
    assert status(second) == 2
    assert str(first.exception) in str(second.exception)


def test_a_run_is_made_of_the_manifests_own_job(root: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `kubectl apply` of what `visionjobs manifests` wrote; here its GPU is missing, so it goes no further."""
    draw_tiny(tmp_path / "raw")
    version = import_wildlife(str(tmp_path / "raw"), "tiny", root, size=(32, 32)).manifest.version
    monkeypatch.setenv("VISIONJOBS_SPEC", JOB + "limits: {attempts: 1}\n")
    monkeypatch.setattr("visionjobs.training.driver.train_run", lambda *args, **options: None)
    assert attempt(ID).exit_code == 0
    run = open_run(root, ID)
    assert run.spec().data.version == version
    assert run.dataset() is not None


def test_a_mistake_in_the_manifests_job_is_found_once(root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONJOBS_SPEC", JOB)
    assert status(attempt(ID)) == 2
    second = attempt(ID)
    assert status(second) == 2
    assert "delete" in str(second.exception)
    assert not root.exists(f"runs/{ID}/spec.yaml")


@pytest.mark.parametrize("name", ["../x", "Tiny", "x" * 48, ""])
def test_an_id_that_is_none(root: Store, name: str) -> None:
    assert status(attempt(name)) == 2


def test_nothing_to_make_a_run_of(root: Store) -> None:
    result = attempt(ID)
    assert status(result) == 2
    assert "VISIONJOBS_SPEC" in str(result.exception)


def test_an_unknown_backend(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONJOBS_BACKEND", "slurm")
    result = attempt(ID)
    assert status(result) == 2
    assert "rayjob, job, ray" in str(result.exception)


def test_a_key_that_may_not_change(run: Run) -> None:
    result = attempt(ID, "--set", "train.lr=1")
    assert status(result) == 2
    assert "train.lr" in str(result.exception)


def test_who_continues_a_cancelled_run_here_takes_the_request_back(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its workers would stop again at their first step."""
    request_stop(run.store, "it was cancelled")
    seen = []

    def train(settings: object, root: object, spec: object, existing: Run, *rest: object) -> Run:
        seen.append(stop_requested(existing.store))
        return existing

    monkeypatch.setattr("visionjobs.training.driver.train_run", train)
    assert CliRunner().invoke(app, ["run", "tiny", "--run", ID]).exit_code == 0
    assert seen == [None]


class Train:
    """Stands for `train_run` up to where it matters here: it claims an attempt, tells it, and ends with `error`."""

    def __init__(self, error: BaseException | None, record: dict[str, object]) -> None:
        self.error, self.record = error, record

    def __call__(self, settings: object, root: object, spec: object, run: Run, watcher: Watcher, **_: object) -> Run:
        attempt = run.claim("attempt", {"gpus": 0})
        watcher.started(attempt, Connection(True, "http://127.0.0.1:8265", Resources(2, 0)))
        attempt.update_record(**self.record)
        if self.error is not None:
            raise self.error
        return run


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of what was notified."""
    texts: list[str] = []
    monkeypatch.setattr(
        "visionjobs.notify.notify", lambda run, reason=None: texts.append(reason or run.record()["state"])
    )
    return texts


def ends(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, **record: object) -> None:
    monkeypatch.setattr("visionjobs.training.driver.train_run", Train(error, record))


def test_a_failure_is_notified_once_and_not_by_the_retries(
    run: Run, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, FinalError("not finite"), state="failed")
    assert status(attempt(ID)) == 3
    monkeypatch.undo()
    monkeypatch.setenv("VISIONJOBS_STORAGE", run.store.address.removesuffix(f"/runs/{ID}"))
    monkeypatch.setattr("visionjobs.notify.notify", lambda *_: told.append("again"))
    assert status(attempt(ID)) == 3
    assert told == ["failed"]


def test_an_interruption_is_notified_when_no_attempt_is_left(
    run: Run, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, VisionjobsError("the workers died"), state="interrupted")
    for _ in range(run.spec().limits.attempts):
        assert told == []
        assert status(attempt(ID)) == 1
    assert told == ["interrupted"]


def test_on_a_ray_that_was_there_every_end_is_the_last(
    run: Run, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_BACKEND", "ray")
    ends(monkeypatch, VisionjobsError("the workers died"), state="interrupted")
    assert status(attempt(ID)) == 1
    assert told == ["interrupted"]


def test_a_mistake_is_notified_with_its_reason(root: Store, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONJOBS_SPEC", JOB)
    for _ in range(3):
        assert status(attempt(ID)) == 2
    (reason,) = told
    assert "dataset" in reason


def test_a_mistake_in_a_set_is_found_once(run: Run, told: list[str]) -> None:
    assert "train.lr" in str(attempt(ID, "--set", "train.lr=1").exception)
    assert "of a mistake" in str(attempt(ID, "--set", "train.lr=1").exception)
    assert len(told) == 1


def test_a_superseded_attempt_stops_and_tells_nobody_else(
    run: Run, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it missed was thinned out by the newer one, which goes on."""

    class Superseded(Train):
        def __call__(self, *args: object, **options: object) -> Run:
            try:
                return super().__call__(*args, **options)
            finally:
                run.claim("attempt", {})

    for error in (UserError("there is no such object"), MissingObjectError("gone"), SupersededError("superseded")):
        monkeypatch.setattr("visionjobs.training.driver.train_run", Superseded(error, {"state": "running"}))
        assert attempt(ID).exception is error
    assert stop_requested(run.store) is None
    assert told == []


def test_a_second_pod_that_fails_to_begin_does_not_stop_the_first(run: Run, told: list[str]) -> None:
    run.claim("attempt", {}).update_record(state="running")
    assert status(attempt(ID)) == 2, "its dataset is not there"
    assert stop_requested(run.store) is None


def test_a_storage_that_breaks_at_the_end_does_not_hide_the_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a failure for good (3) would be tried again (4)."""
    ends(monkeypatch, FinalError("not finite"), state="failed")

    def away(*_: object) -> None:
        raise StorageError("away")

    monkeypatch.setattr("visionjobs.cli.attempt._is_over", away)
    assert status(attempt(ID)) == 3
    ends(monkeypatch, UserError("a mistake"), state="running")
    monkeypatch.setattr("visionjobs.cli.attempt.request_stop", away)
    assert status(attempt(ID)) == 2


def test_a_pod_that_was_told_to_go_begins_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pod").mkdir()
    (tmp_path / "pod" / "stop").touch()
    monkeypatch.setenv("VISIONJOBS_STOP_DIR", str(tmp_path / "pod"))
    result = attempt(ID)
    assert status(result) == 1
    assert "told to go" in str(result.exception)
    assert run.claims() == []


def test_sigterm_asks_once_and_then_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONJOBS_STOP_DIR", str(tmp_path))
    _told_to_end(15, None)
    assert (tmp_path / "stop").exists()
    with pytest.raises(KeyboardInterrupt):
        _told_to_end(15, None)
    monkeypatch.delenv("VISIONJOBS_STOP_DIR")
    with pytest.raises(KeyboardInterrupt):
        _told_to_end(15, None)


def test_a_pod_waits_for_a_storage_that_is_away_for_a_while(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.claim("attempt", {}).update_record(state="complete", epochs=2)
    answers = [StorageError("away"), StorageError("away")]

    def ask(store: Store) -> str | None:
        if answers:
            raise answers.pop()
        return None

    monkeypatch.setattr("visionjobs.cli.attempt.stop_requested", ask)
    monkeypatch.setattr("visionjobs.patience.time.sleep", lambda _: None)
    assert attempt(ID).exit_code == 0
    answers += [StorageError("away")] * 2
    monkeypatch.setattr("visionjobs.patience.PATIENCE_SECONDS", -1.0)
    assert status(attempt(ID)) == 4


@pytest.mark.parametrize(
    ("record", "sets", "goes_on"),
    [
        ({"trials": 4}, (), False),
        ({"trials": 4}, ("sweep.trials=5",), True),
        ({"trials": 2, "exhausted": True}, (), False),
        ({"trials": 2, "exhausted": True}, ("sweep.trials=5",), False),
        ({"trials": 2, "exhausted": True}, ("resources.workers=2", "sweep.trials=5"), True),
    ],
)
def test_a_complete_sweep_is_not_searched_again(
    root: Store, record: dict[str, Any], sets: tuple[str, ...], goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = "sweep: {metric: val_loss, trials: 4, space: {train.batch: {choice: [8, 3]}}}\n"
    sweep = create_sweep(root, parse_job(JOB + section, "jobs/tiny.yaml", "tiny"), "{}")
    sweep.folder.claim("attempt", {}).update_record(state="complete", **record)
    begun: list[Any] = []
    monkeypatch.setattr("visionjobs.tuning.driver.run_sweep", lambda *args: begun.append(args))
    result = attempt(sweep.id, *(word for item in sets for word in ("--set", item)))
    assert result.exit_code == 0, result.output
    assert bool(begun) == goes_on
    assert ("there is nothing to do" in result.output) != goes_on
    assert stop_requested(sweep.store) is None
