"""How an attempt ends is recorded, whatever that was; and what is checked before it begins."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tiny import ending, finish, start_attempt, tiny_spec, train_here, train_in_processes

from visionjobs.cluster.local import Connection, Resources
from visionjobs.cluster.sizes import Share
from visionjobs.errors import FinalError, StorageError, SupersededError, UserError, VisionjobsError
from visionjobs.storage import Store
from visionjobs.training import driver, finalise
from visionjobs.training import ending as ending_module
from visionjobs.training.checkpoint import list_checkpoints, load_newest, save_checkpoint
from visionjobs.training.driver import check_may_start
from visionjobs.training.ray_workers import check_free
from visionjobs.training.watch import Watcher
from visionjobs.training.worker_main import Outcome


@pytest.fixture
def watcher() -> Watcher:
    return Watcher(*[lambda *_: None] * 5)


def test_complete(root: Store) -> None:
    attempt = start_attempt(root, tiny_spec())
    finish(root, attempt, tiny_spec())
    record = attempt.run.record()
    assert (record["state"], record["outcome"], record["epochs"]) == ("complete", "complete", 2)
    assert [claim.kind for claim in attempt.run.claims()] == ["attempt", "finaliser"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (StorageError("the server is gone"), "interrupted"),
        (VisionjobsError("something"), "interrupted"),
        (FinalError("bad data"), "failed"),
        (ValueError("a bug"), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
@pytest.mark.parametrize("when", ["training", "finalising"])
def test_every_end_is_recorded(root: Store, watcher: Watcher, monkeypatch, error, state: str, when: str) -> None:
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(ending_module.signal, "signal", lambda *_: None)
    attempt = start_attempt(root, tiny_spec())
    spec = tiny_spec("train.epochs=1")
    driver._record_start(attempt, spec, [])
    train = fail
    if when == "finalising":
        monkeypatch.setattr(finalise, "build_report", fail)
        outcome = train_here(root, attempt, spec)
        train = lambda: outcome  # noqa: E731
    with pytest.raises(type(error)):
        driver._to_the_end(attempt, spec, train, watcher, ending(root))
    assert attempt.run.record()["state"] == state
    monkeypatch.undo()
    if state == "failed":
        with pytest.raises(FinalError, match="bad data"):
            check_may_start(attempt.run, spec)
    else:
        finish(root, attempt.run.claim("attempt", {"gpus": 0}), tiny_spec("train.epochs=1"))
        assert attempt.run.record()["state"] == "complete"


def test_superseded_attempt_leaves_the_record_alone(root: Store, watcher: Watcher) -> None:
    attempt = start_attempt(root, tiny_spec())
    driver._record_start(attempt, tiny_spec(), [])
    outcome = train_here(root, attempt, tiny_spec())
    attempt.run.claim("attempt", {})
    with pytest.raises(SupersededError):
        driver._to_the_end(attempt, tiny_spec(), lambda: outcome, watcher, ending(root))
    assert attempt.run.record()["state"] == "running"
    assert attempt.run.metrics() is None


def test_metrics_and_weights_are_of_the_same_step(root: Store, watcher: Watcher) -> None:
    attempt = start_attempt(root, tiny_spec())
    driver._record_start(attempt, tiny_spec(), [])

    def damaged() -> Outcome:
        outcome = train_here(root, attempt, tiny_spec())
        path = Path(attempt.run.store.address) / list_checkpoints(attempt.run)[-1].key / "state.pt"
        path.write_bytes(b"")
        return outcome

    with pytest.raises(VisionjobsError, match="checkpoint of its last step is damaged"):
        driver._to_the_end(attempt, tiny_spec(), damaged, watcher, ending(root))
    assert attempt.run.metrics() is None
    finish(root, attempt.run.claim("attempt", {"gpus": 0}), tiny_spec())
    assert attempt.run.record()["state"] == "complete"


def test_checkpoint_set_aside_and_saved_again_counts(root: Store, tmp_path: Path) -> None:
    attempt = start_attempt(root, tiny_spec())
    for _ in range(2):
        save_checkpoint(attempt, {"step": 20}, step=20, epoch=1, score=None, scratch=tmp_path)
        path = Path(attempt.run.store.address) / "attempts/0001/checkpoints/step-000000020/state.pt"
        whole = path.read_bytes()
        path.write_bytes(b"")
        assert load_newest(attempt.run, lambda _: None) is None
    save_checkpoint(attempt, {"step": 20}, step=20, epoch=1, score=None, scratch=tmp_path)
    assert path.read_bytes() == whole
    assert load_newest(attempt.run, pytest.fail)[0].step == 20


def test_fewer_epochs_than_begun_are_refused(root: Store, watcher: Watcher) -> None:
    attempt = start_attempt(root, tiny_spec())
    train_here(root, attempt, tiny_spec())
    with pytest.raises(UserError, match=r"train\.epochs: 1 is fewer than the 2"):
        check_may_start(attempt.run, tiny_spec("train.epochs=1"))


def test_pruned_run_is_not_trained_from_nothing(root: Store) -> None:
    attempt = start_attempt(root, tiny_spec())
    finish(root, attempt, tiny_spec())
    store = attempt.run.store
    store.delete([entry.key for entry in store.entries("attempts") if "/checkpoints/" in entry.key])
    with pytest.raises(UserError, match="checkpoints were pruned"):
        check_may_start(attempt.run, tiny_spec("train.epochs=5"))


def test_hours_are_limited(root: Store, watcher: Watcher, monkeypatch) -> None:
    """Also where the workers do not heed the request to stop."""
    monkeypatch.setattr("visionjobs.training.watch.GRACE_SECONDS", 1)
    attempt = start_attempt(root, tiny_spec())
    spec = tiny_spec("limits.hours=0.00001")
    driver._record_start(attempt, spec, [])
    with pytest.raises(VisionjobsError, match=r"limits\.hours"):
        driver._to_the_end(attempt, spec, lambda: time.sleep(5), watcher, ending(root))
    assert attempt.run.record()["state"] == "interrupted"


def test_what_another_run_holds_is_told(monkeypatch) -> None:
    monkeypatch.setattr("visionjobs.training.ray_workers.FREE_SECONDS", 1)
    monkeypatch.setattr(Connection, "free", lambda _: Resources(1, 0))
    connection = Connection(False, "", Resources(4, 0))
    check_free(Share(1, 1, 0), connection)
    with pytest.raises(UserError, match=r"needs 4 CPU\(s\).*leave 1 and 0"):
        check_free(Share(2, 2, 0), connection)


def test_a_recorder_that_cannot_start_stops_both_workers(root: Store) -> None:
    """The other one must not be left waiting in a collective."""
    spec = tiny_spec("resources.workers=2")
    attempt = start_attempt(root, spec)
    attempt.store.write("metrics.jsonl", '{"epoch": ')
    outcome = train_in_processes(root, attempt, spec, 2)
    assert outcome.exit_status == 2
    assert "metrics.jsonl is not valid JSON lines" in outcome.error


def test_sets_of_the_attempt_before_are_kept(root: Store, monkeypatch) -> None:
    from visionjobs.cli import run as cli
    from visionjobs.settings import Settings

    attempt = start_attempt(root, tiny_spec())
    driver._record_start(attempt, tiny_spec("train.epochs=15", "resources.workers=2"), [])
    seen = []
    monkeypatch.setattr(cli, "_train", lambda *args: seen.append(args[2]))
    settings = Settings.from_env({"VISIONJOBS_STORAGE": root.address, "HOME": "/root"})
    cli._continue(settings, root, "tiny", [], attempt.run.id)
    cli._continue(settings, root, "tiny", ["train.epochs=20"], attempt.run.id)
    assert [(spec.train.epochs, spec.resources.workers) for spec in seen] == [(15, 2), (20, 2)]
    assert json.loads(attempt.run.store.read("record.json"))["changes"]["train.epochs"] == [2, 15]
