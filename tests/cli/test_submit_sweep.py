"""`visionjobs submit --sweep`, `render --sweep` and `manifests --sweep` before any cluster is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from finished_runs import Project
from ray_stub import RayStub

from visionjobs.cli.submit_plans import Code, Plan
from visionjobs.cli.submit_steps import run_folder
from visionjobs.cli.submit_sweep import plan_new_sweep, plan_next_sweep_attempt
from visionjobs.cluster.apply import PerhapsAppliedError
from visionjobs.cluster.check import Check
from visionjobs.errors import StorageError, UserError
from visionjobs.runs import request_stop, run_ids
from visionjobs.settings import Settings
from visionjobs.storage_folder import FolderStore
from visionjobs.sweeps import Sweep, create_sweep, is_sweep, open_sweep, section_of, sweep_ids

SECTION = """
sweep:
  metric: val_accuracy
  trials: 8
  space:
    train.lr: {loguniform: [1e-4, 1e-2]}
"""

ID = "sweep-tiny-20260101-120000-abcd"


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setenv("VISIONJOBS_IMAGE", "registry.example/visionjobs:0.1.0")
    monkeypatch.setenv("VISIONJOBS_STORAGE_FROM_CLUSTER", "s3://bucket/prefix")


@pytest.fixture(autouse=True)
def searched(project: Project) -> None:
    """The job "searched" is the tiny one with a sweep section."""
    (project.jobs / "searched.yaml").write_text((project.jobs / "tiny.yaml").read_text() + SECTION)


def new_plan(project: Project, *sets: str) -> Plan:
    return plan_new_sweep(
        Settings.from_env(), project.root, "searched", sets, sample=False, dry_run=True, code=Code("c" * 64, b"", "abc")
    )


@pytest.fixture
def begun(project: Project) -> Sweep:
    """A sweep with one attempt, which was interrupted."""
    plan = new_plan(project)
    assert plan.spec is not None
    sweep = create_sweep(project.root, plan.spec, "{}")
    sweep.folder.claim("attempt", {"at_once": 1}).update_record(state="interrupted", trials=8, job="searched")
    return sweep


def next_plan(project: Project, sweep: Sweep, *sets: str, job: str | None = None) -> Plan:
    return plan_next_sweep_attempt(Settings.from_env(), project.root, job, list(sets), sweep.id, Code())


def check_of(plan: Plan, name: str) -> Check:
    return next(check for check in plan.checks if check.name == name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny", "--sweep"), "tiny has no sweep: section"),
        (("--sweep",), "give a JOB"),
        (("searched", "--samples", "3"), "--samples: not with a JOB"),
        (("searched", "--sweep", "--samples", "0"), "--samples"),
        (("searched", "--sweep", "--split", "test"), "--split: not with --sweep"),
        (("--evaluate", "tiny-1", "--sweep"), "--sweep: not with --evaluate"),
        (("--import", "wildlife", "s3://b/raw", "--sweep"), "--sweep: not with --import"),
        (("--sweep", "--run", "tiny-1"), "--sweep: not with --run"),
        (("--run", "tiny-1", "--samples", "9"), "--samples: not with --run"),
        (("--run", ID, "--sample"), "--sample: not with --run SWEEP"),
        (("--run", ID), f'There is no sweep "{ID}"'),
        (("--run", f"{ID}-t003"), f"goes on with its sweep: visionjobs submit --run {ID}"),
        (("searched", "--sweep", "--set", "sweep.metric=val_miou"), 'reports no "val_miou"'),
        (("searched", "--sweep", "--set", "sweep.space={train.lrr: {choice: [1]}}"), 'Did you mean "train.lr"?'),
        (("searched", "--sweep", "--set", "sweep.gpus=0.5", "--set", "resources.workers=2"), "sweep.gpus"),
    ],
)
def test_mistakes_end_with_2_and_one_message(
    project: Project, visionjobs: Callable[..., Any], arguments: tuple[str, ...], said: str
) -> None:
    ended = visionjobs("submit", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not sweep_ids(project.root)
    assert not project.root.exists("code")


def test_a_new_sweep_is_pinned_with_its_section(project: Project) -> None:
    before = run_ids(project.root)
    plan = new_plan(project, "sweep.trials=5", "resources.gpus=0")
    assert plan.spec is not None
    assert plan.spec.data.version == project.first.spec().data.version
    assert section_of(plan.spec).trials == 5
    name = plan.submission.name
    assert (plan.submission.kind, plan.submission.job) == ("sweep", "searched")
    assert plan.submission.command == ("visionjobs", "attempt", name)
    assert plan.submission.environment["VISIONJOBS_COMMIT"] == "abc"
    assert plan.address == f"{project.root.address}/sweeps/{name}"
    assert all(check.ok for check in plan.checks)
    assert check_of(plan, "search space").message == "5 trials, 1 parameters"
    with run_folder(plan, {"backend": "rayjob", "namespace": "team"}):
        assert is_sweep(project.root, name)
    sweep = open_sweep(project.root, name)
    assert sweep.spec() == plan.spec
    note = json.loads(sweep.store.read("submission.json"))
    assert (note["backend"], note["namespace"], note["code"]) == ("rayjob", "team", "c" * 64)
    assert run_ids(project.root) == before


def test_the_weights_of_every_model_to_choose_from_are_looked_for(project: Project) -> None:
    space = "sweep.space={model.weights: {choice: [random, IMAGENET1K_V1]}}"
    missing = check_of(new_plan(project, "model.name=resnet18", space), "weights to choose from")
    assert (missing.ok, "IMAGENET1K_V1 is not in the storage" in missing.message) == (False, True)
    project.root.write("weights/resnet18-f37072fd.pth.sha256", f"f37072fd{'0' * 56}  resnet18-f37072fd.pth\n")
    assert check_of(new_plan(project, "model.name=resnet18", space), "weights to choose from").ok


def test_values_that_no_trial_can_have_are_told(project: Project) -> None:
    plan = new_plan(project, "sweep.space={train.batch: {choice: [8, 3, 4]}}", "resources.workers=2", "sweep.trials=2")
    (warned,) = [check.message for check in plan.checks if check.name == "search space" and check.ok is None]
    assert "sweep.space.train.batch: 3 is never tried" in warned
    none = check_of(
        new_plan(project, "sweep.space={train.batch: {choice: [3]}}", "resources.workers=2"), "search space"
    )
    assert (none.ok, "takes none of these values" in none.message) == (False, True)


@pytest.mark.parametrize("key", ["dataset.json", "spec.yaml", "submission.json"])
@pytest.mark.parametrize("trouble", [StorageError("the disk is full"), KeyboardInterrupt()])
def test_nothing_half_made_stays_of_a_new_sweep(
    project: Project, monkeypatch: pytest.MonkeyPatch, key: str, trouble: BaseException
) -> None:
    plan, real = new_plan(project), FolderStore.write

    def write(self: FolderStore, name: str, data: bytes | str, *, if_absent: bool = False) -> None:
        if name == key:
            raise trouble
        real(self, name, data, if_absent=if_absent)

    monkeypatch.setattr(FolderStore, "write", write)
    with pytest.raises(type(trouble)), run_folder(plan, {}):
        pytest.fail("nothing is submitted")
    assert not plan.root.entries("sweeps")


def test_a_sweep_that_may_be_on_the_cluster_keeps_its_folder(project: Project) -> None:
    plan = new_plan(project)
    with pytest.raises(PerhapsAppliedError), run_folder(plan, {}):
        raise PerhapsAppliedError("the cluster broke off")
    assert is_sweep(project.root, plan.submission.name)


def test_a_continued_sweep_counts_its_attempts_and_takes_more_trials(project: Project, begun: Sweep) -> None:
    sets = ("sweep.trials=24", "sweep.at_once=2", "limits.attempts=4")
    plan = next_plan(project, begun, *sets)
    assert (plan.submission.attempt, plan.submission.attempts) == (2, 3)
    assert plan.submission.command == (
        "visionjobs", "attempt", begun.id, *(part for item in sets for part in ("--set", item)),
    )  # fmt: skip
    assert plan.submission.layout is not None
    assert plan.submission.layout.replicas == 2
    assert plan.address == begun.store.address
    request_stop(begun.store, "somebody cancelled it")
    with run_folder(plan, {"backend": "job"}):
        assert begun.store.exists("stop.json")
    assert not begun.store.exists("stop.json"), "who continues it wants it to go on"
    assert json.loads(begun.store.read("submission.json"))["backend"] == "job"


def test_a_trial_tells_how_long_a_checkpoint_takes(project: Project, begun: Sweep) -> None:
    trial = begun.add_trial(0, {"train.lr": 0.001})
    assert next_plan(project, begun).submission.grace == 120
    begun.run_of(trial).store.write("record.json", json.dumps({"job": "searched", "checkpoint_seconds": 100.0}))
    assert next_plan(project, begun).submission.grace == 360


@pytest.mark.parametrize("item", ["train.epochs=3", "sweep.space={train.lr: {uniform: [0.1, 0.2]}}", "sweep.seed=1"])
def test_a_sweep_does_not_go_on_with_another_search(project: Project, begun: Sweep, item: str) -> None:
    with pytest.raises(UserError, match="would not be comparable"):
        next_plan(project, begun, item)


def test_a_sweep_that_is_complete_or_of_another_job_is_refused(
    project: Project, begun: Sweep, visionjobs: Callable[..., Any]
) -> None:
    other = visionjobs("submit", "tiny", "--run", begun.id)
    assert (other.status, 'is of job "searched"' in other.err) == (2, True)
    begun.store.write("record.json", json.dumps({"state": "complete", "trials": 8}))
    ended = visionjobs("submit", "--run", begun.id)
    assert (ended.status, "is complete after 8 trials" in ended.err) == (2, True)
    assert next_plan(project, begun, "sweep.trials=9").spec is not None
    begun.store.write("record.json", json.dumps({"state": "complete", "trials": 0, "exhausted": True}))
    with pytest.raises(UserError, match="is complete after 0 trials; its search space gave no others"):
        next_plan(project, begun, "sweep.trials=9")


def test_a_sweep_that_goes_on_is_not_taken_over(project: Project, begun: Sweep) -> None:
    begun.store.write("record.json", json.dumps({"state": "running", "trials": 8}))
    check = check_of(next_plan(project, begun), "run")
    assert (check.ok, f"visionjobs cancel {begun.id}" in check.hint) == (False, True)


def test_render_prints_a_sweep(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("render", "searched", "--sweep", "--no-code", "--run-id", ID)
    assert ended.status == 0, ended.err
    _, rayjob = yaml.safe_load_all(ended.out)
    assert (rayjob["metadata"]["name"], rayjob["metadata"]["labels"]["visionjobs/kind"]) == (ID, "sweep")
    (new,) = yaml.safe_load_all(visionjobs("render", "searched", "--sweep", "--no-code", "--backend", "job").out)
    assert new["metadata"]["name"].startswith("sweep-searched-")
    few = visionjobs("render", "searched", "--sweep", "--no-code", "--samples", "2").out
    assert "trials: 2" in few
    alone = visionjobs("render", "searched", "--samples", "2")
    assert (alone.status, "give --sweep too" in alone.err) == (2, True)
    refused = visionjobs("render", "tiny", "--sweep")
    assert (refused.status, refused.out, "no sweep: section" in refused.err) == (2, "", True)


@pytest.mark.parametrize("name", ["searched-1", "sweep-", "sweep-a-t003", "sweep-" + "a" * 42, "sweep-A", "sweep-a-"])
def test_an_id_that_cannot_be_a_sweeps_is_refused(
    project: Project, visionjobs: Callable[..., Any], name: str
) -> None:  # fmt: skip
    ended = visionjobs("render", "searched", "--sweep", "--run-id", name)
    assert (ended.status, f'sweep id "{name}"' in ended.err) == (2, True)


def test_an_id_of_a_sweep_is_none_of_a_run(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("render", "searched", "--run-id", ID)
    assert (ended.status, f'run id "{ID}"' in ended.err) == (2, True)


def test_manifests_of_all_jobs_that_can_be_searched(
    project: Project, visionjobs: Callable[..., Any], tmp_path: Path
) -> None:  # fmt: skip
    ended = visionjobs("manifests", "--sweep", "--out", str(tmp_path / "out"))
    assert ended.status == 0, ended.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["searched-sweep.yaml"]
    text = (tmp_path / "out" / "searched-sweep.yaml").read_text()
    assert text.startswith("# Job searched as sweep sweep-searched-1, ")
    _, rayjob = yaml.safe_load_all(text)
    assert rayjob["metadata"]["name"] == "sweep-searched-1"
    (group,) = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == 4


def test_manifests_of_all_sweeps_with_a_change(
    project: Project, visionjobs: Callable[..., Any], tmp_path: Path
) -> None:  # fmt: skip
    options = ("--out", str(tmp_path / "out"), "--set", "sweep.at_once=1")
    ended = visionjobs("manifests", "--sweep", *options)
    assert ended.status == 0, ended.err
    _, rayjob = yaml.safe_load_all((tmp_path / "out" / "searched-sweep.yaml").read_text())
    (group,) = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == 1
    wrong = visionjobs("manifests", "--sweep", *options[:-1], "sweep.at_onc=1")
    assert (wrong.status, 'Did you mean "at_once"?' in wrong.err) == (2, True)


def test_the_status_of_a_sweep_that_is_on_no_cluster(
    project: Project, begun: Sweep, visionjobs: Callable[..., Any]
) -> None:  # fmt: skip
    begun.add_trial(0, {"train.lr": 0.001})
    told = visionjobs("status", begun.id)
    assert told.status == 0, told.err
    assert "0/8 trials (1 waiting)" in " ".join(told.err.split())
    assert "GPU-hours 0.00" in " ".join(told.err.split()), "of trials, of which none has run"
    assert f"visionjobs sweep searched --sweep {begun.id}" in " ".join(told.err.split())
    wrong = visionjobs("status", begun.id[:-1])
    assert (wrong.status, f'Did you mean "{begun.id}"?' in " ".join(wrong.err.split())) == (2, True)


def test_to_a_ray_that_is_there(project: Project, visionjobs: Callable[..., Any]) -> None:
    ray = RayStub()
    arguments = ("submit", "searched", "--sweep", "--no-code", "--backend", "ray", "--address", ray.address)
    ended = visionjobs(*arguments, "--dry-run")
    ray.close()
    assert ended.status == 0, ended.err
    entrypoint = json.loads(ended.out)["entrypoint"]
    assert entrypoint[:2] == ["visionjobs", "attempt"]
    assert entrypoint[2].startswith("sweep-searched-")
    assert not sweep_ids(project.root)
