"""`visionjobs attempt`, what a pod runs: how it begins, and when it does nothing. The slow tests train with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import draw_tiny
from typer.testing import CliRunner, Result

from visionjobs.cli.app import app
from visionjobs.data.wildlife import import_wildlife
from visionjobs.jobfile import parse_job
from visionjobs.runs import Run, create_run, open_run, request_stop, stop_requested
from visionjobs.storage import Store, open_store

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
    assert status(result) == 1
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
    assert status(second) == 1
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
    assert status(second) == 1
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
