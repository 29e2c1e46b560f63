"""What a person gets wrong with `visionjobs submit` before any cluster is asked: one message, and nothing made."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from finished_runs import Project

from visionjobs.cli.submit_inputs import check_inputs
from visionjobs.cli.submit_plans import Code, Plan, plan_new_run, plan_next_attempt
from visionjobs.cli.submit_steps import run_folder
from visionjobs.cluster import code
from visionjobs.cluster.apply import PerhapsAppliedError
from visionjobs.cluster.code import pack_code, upload_code, working_tree
from visionjobs.errors import ObjectExistsError, StorageError, UserError, VisionjobsError
from visionjobs.jobfile import find_job, load_job
from visionjobs.runs import Run, request_stop, run_ids
from visionjobs.settings import Settings
from visionjobs.storage_folder import FolderStore


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setenv("VISIONJOBS_IMAGE", "registry.example/visionjobs:0.1.0")
    monkeypatch.setenv("VISIONJOBS_STORAGE_FROM_CLUSTER", "s3://bucket/prefix")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a JOB"),
        (("tinny",), 'Did you mean "tiny"?'),
        (("tiny", "--set", "train.lrr=1"), 'Did you mean "lr"?'),
        (("tiny", "--backend", "rayjb"), 'Did you mean "rayjob"?'),
        (("tiny", "--backend", "ray"), "--address http://HOST:8265"),
        (("tiny", "--address", "http://127.0.0.1:8265"), "go together"),
        (("tiny", "--run", "tiny-1", "--sample"), "--sample: not with --run"),
        (("tiny", "--split", "test"), "--split: not with a JOB"),
        (("--evaluate", "tiny-1", "--set", "train.epochs=3"), "--set: not with --evaluate"),
        (("tiny", "--evaluate", "tiny-1"), "do not go together"),
        (("--evaluate", "tiny-1", "--run", "tiny-1"), "do not go together"),
        (("--evaluate", "tiny-1"), "There is no run"),
        (("tiny", "--run", "tiny-20200101-000000-0000"), "There is no run"),
        (("--import", "wildlive", "s3://b/raw"), 'Did you mean "wildlife"?'),
        (("--import", "wildlife", "./raw"), "s3://bucket/prefix"),
        (("--import", "wildlife"), "s3://bucket/prefix"),
        (("--import", "wildlife", "s3://b/raw", "--name", "My Animals"), "--name My Animals"),
        (("--import", "wildlife", "s3://b/raw", "--backend", "ray", "--address", "http://h:1"), "is for training"),
    ],
)
def test_mistakes_end_with_2_and_one_message(
    project: Project, visionjobs: Callable[..., Any], arguments: tuple[str, ...], said: str
) -> None:
    before = run_ids(project.root)
    ended = visionjobs("submit", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert run_ids(project.root) == before
    assert not project.root.exists("code")


def test_without_a_cluster_and_with_a_folder_everything_is_told(
    project: Project, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISIONJOBS_STORAGE_FROM_CLUSTER")
    ended = visionjobs("submit", "tiny")
    assert ended.status == 2
    assert "2 things stand in the way" in ended.err
    assert "no pod sees" in ended.err
    assert "no usable cluster" in ended.err


def test_an_installed_package_needs_no_code(
    project: Project, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed() -> Path:
        raise UserError("no code can travel. Give --no-code to use the image's own")

    monkeypatch.setattr(code, "working_tree", installed)
    assert "--no-code" in visionjobs("submit", "tiny").err
    assert "no usable cluster" in visionjobs("submit", "tiny", "--no-code").err


def test_runs_that_may_not_go_on(project: Project, visionjobs: Callable[..., Any]) -> None:
    finished = visionjobs("submit", "tiny", "--run", project.first.id)
    assert (finished.status, "is complete after 2 epochs" in finished.err) == (2, True)
    other = visionjobs("submit", "deeplab", "--run", project.first.id)
    assert (other.status, 'is of job "tiny"' in other.err) == (2, True)
    changed = visionjobs("submit", "--run", project.begun.id, "--set", "train.lr=0.5")
    assert (changed.status, "cannot be continued with other values" in changed.err) == (2, True)
    project.begun.store.write("record.json", json.dumps({"state": "failed", "message": "a loss that is not finite"}))
    failed = visionjobs("submit", "--run", project.begun.id)
    assert (failed.status, "a loss that is not finite" in failed.err) == (3, True)


def test_the_weights_that_pods_will_find(project: Project) -> None:
    settings = Settings.from_env()

    def weights(*sets: str) -> Any:
        spec = load_job(find_job("tiny", settings.jobs), sets)
        inputs = check_inputs(project.root, spec, settings.cache)
        return inputs.spec.model, inputs.checks[-1]

    assert weights()[1].message == "random"
    mine = project.folder / "mine.pth"
    mine.write_bytes(b"weights")
    _, missing = weights(f"model.weights={mine}")
    assert missing.ok is False
    assert (
        f"a file of this machine is not seen by pods); to supply it: visionjobs weights pull {mine}" in missing.message
    )
    sha256 = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a"
    project.root.write("weights/mine.pth.sha256", f"{sha256}  mine.pth\n")
    model, differs = weights(f"model.weights={mine}")
    assert "rename your file, or replace that one" in differs.message
    assert model.sha256 is not None
    project.root.write("weights/mine.pth.sha256", f"{model.sha256}  mine.pth\n")
    assert weights(f"model.weights={mine}")[1].ok


def test_a_new_run_is_pinned_and_has_time_for_its_checkpoints(project: Project) -> None:
    settings = Settings.from_env()
    arguments: Any = {"sample": False, "dry_run": True, "code": Code("c" * 64, b"", "abc")}
    plan = plan_new_run(settings, project.root, "tiny", [], **arguments)
    assert plan.submission.grace == 120
    assert plan.spec is not None
    assert plan.spec.data.version == project.first.spec().data.version
    assert plan.submission.environment["VISIONJOBS_COMMIT"] == "abc"
    for run, seconds in ((project.first, 50.0), (project.second, 70.0)):
        record = run.record() | {"checkpoint_seconds": seconds}
        run.store.write("record.json", json.dumps(record))
    other = Run("tiny-other-99990101-000000-0000", project.root.at("runs", "tiny-other-99990101-000000-0000"))
    other.store.write("record.json", json.dumps({"job": "tiny_other", "checkpoint_seconds": 900.0}))
    newest: Run = max(project.first, project.second, key=lambda run: run.id)
    plan = plan_new_run(settings, project.root, "tiny", [], **arguments)
    assert plan.submission.grace == 3 * newest.record()["checkpoint_seconds"] + 60


def test_a_continued_run_counts_its_attempts(project: Project) -> None:
    settings = Settings.from_env()
    run = project.begun
    plan = plan_next_attempt(settings, project.root, None, ["limits.attempts=4"], run.id, Code())
    assert plan.submission.attempt == 2
    assert plan.submission.attempts == 3
    assert plan.submission.command == ("visionjobs", "attempt", run.id, "--set", "limits.attempts=4")
    assert plan.submission.name == run.id


def test_a_run_that_goes_on_is_not_taken_over(project: Project, visionjobs: Callable[..., Any]) -> None:
    run = project.begun
    run.store.write("record.json", json.dumps(run.record() | {"state": "running"}))
    number = run.claims()[-1].number

    def check(minutes: int) -> Any:
        updated = datetime.now(UTC) - timedelta(minutes=minutes)
        progress = json.dumps({"updated": updated.isoformat()})
        run.store.write(f"attempts/{number:04}/progress.json", progress)
        checks = plan_next_attempt(Settings.from_env(), project.root, None, [], run.id, Code()).checks
        return next(check for check in checks if check.name == "run")

    assert check(11).ok is True
    assert "silent" in check(11).message
    fresh = check(1)
    assert (fresh.ok, fresh.exit_status) == (False, 2)
    assert f"{run.id} is running" in fresh.message
    assert f"visionjobs cancel {run.id}" in fresh.hint
    refused = visionjobs("submit", "--run", run.id)
    assert (refused.status, fresh.message in refused.err) == (2, True)


@pytest.fixture
def new_plan(project: Project) -> Plan:
    """Of a new run."""
    return plan_new_run(Settings.from_env(), project.root, "tiny", [], sample=False, dry_run=True, code=Code())


@pytest.mark.parametrize("key", ["dataset.json", "spec.yaml", "submission.json"])
@pytest.mark.parametrize("trouble", [StorageError("the disk is full"), KeyboardInterrupt()])
def test_nothing_half_made_stays_of_a_new_run(
    new_plan: Plan, monkeypatch: pytest.MonkeyPatch, key: str, trouble: BaseException
) -> None:
    real = FolderStore.write

    def write(self: FolderStore, name: str, data: bytes | str, *, if_absent: bool = False) -> None:
        if name == key:
            raise trouble
        real(self, name, data, if_absent=if_absent)

    monkeypatch.setattr(FolderStore, "write", write)
    with pytest.raises(type(trouble)), run_folder(new_plan, {}):
        pytest.fail("nothing is submitted")
    assert not new_plan.root.entries(f"runs/{new_plan.submission.name}")


def test_a_run_of_somebody_else_with_that_id_stays(new_plan: Plan) -> None:
    with run_folder(new_plan, {"owner": "bob"}):
        pass
    before = new_plan.root.entries(f"runs/{new_plan.submission.name}")
    with pytest.raises(ObjectExistsError), run_folder(new_plan, {"owner": "ada"}):
        pytest.fail("nothing is submitted")
    assert new_plan.root.entries(f"runs/{new_plan.submission.name}") == before


@pytest.mark.parametrize(
    ("trouble", "told_to_stop"),
    [(None, False), (PerhapsAppliedError("it may be there"), False), (UserError("no"), True)],
)
def test_a_run_is_not_asked_to_stop_any_more_where_it_may_begin(
    project: Project, trouble: VisionjobsError | None, told_to_stop: bool
) -> None:
    plan = plan_next_attempt(Settings.from_env(), project.root, None, [], project.begun.id, Code())
    request_stop(project.begun.store, "ada cancelled it")

    def submit() -> None:
        with run_folder(plan, {"owner": "ada"}):
            assert project.begun.store.exists("stop.json"), "who submits does not have the name yet"
            if trouble is not None:
                raise trouble

    with nullcontext() if trouble is None else pytest.raises(type(trouble)):
        submit()
    assert project.begun.store.exists("stop.json") == told_to_stop
    assert project.begun.store.exists("submission.json") != told_to_stop


def test_fetch_code(project: Project, visionjobs: Callable[..., Any]) -> None:
    sha256, data = pack_code(working_tree())
    target = project.folder / "code"
    missing = visionjobs("fetch-code", sha256, str(target))
    assert (missing.status, "submit the job again" in missing.err) == (2, True)
    assert (visionjobs("fetch-code", "x", str(target)).status) == 2
    upload_code(project.root, sha256, data)
    assert visionjobs("fetch-code", sha256, str(target)).status == 0
    assert (target / "src/visionjobs/__init__.py").is_file()
    assert "fetch-code" not in visionjobs("--help").out
