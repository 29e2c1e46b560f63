"""The sweep of every job file that trains: two trials of one epoch on the drawn sample, small enough for a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import Project, kill_9, wait_until
from sweep_lab import results, sweep

from visionjobs.jobfile import load_job
from visionjobs.sweep_progress import COMPLETE, STOPPED
from visionjobs.sweeps import own_parameters, section_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SMALL = {
    "classification": ("data.size=[32, 32]", "model.weights=random"),
    "segmentation": ("data.size=[64, 96]", "model.weights=random", "train.freeze=none"),
    "detection": ("data.size=[64, 64]", "model.weights=random", "model.trust=false"),
}
FEWER = {"resnet_aug": ("data.copies=1", "sweep.space.data.copies={int: [1, 2]}")}
TRAINED = ("convnet", "deeplab", "resnet", "resnet_aug", "segnet", "yolo_finetune")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    """The project's own jobs, and a storage for their samples."""
    folder = tmp_path_factory.mktemp("jobs")
    project = Project(folder, str(folder / "storage"), {"VISIONJOBS_JOBS": str(JOBS)})
    yield project
    kill_9(project.processes())


def small(job: str) -> list[str]:
    """What makes it small, as sets."""
    task = load_job(JOBS / f"{job}.yaml").task
    return ["train.epochs=1", "sweep.grace=1", "wandb.mode=off", *SMALL[task], *FEWER.get(job, ())]


def test_every_job_that_trains_has_a_search() -> None:
    jobs = {path.stem: load_job(path) for path in JOBS.glob("*.yaml")}
    assert sorted(name for name, spec in jobs.items() if spec.sweep is not None) == list(TRAINED)
    assert sorted(name for name, spec in jobs.items() if spec.train.epochs) == list(TRAINED)


@pytest.mark.parametrize("job", TRAINED)
def test_two_trials_of_one_epoch(project: Project, job: str) -> None:
    sets = small(job)
    ended = sweep(project, job, "--sample", "--samples", "2", *(word for item in sets for word in ("--set", item)))
    progress, spec = ended.progress, load_job(JOBS / f"{job}.yaml", sets, sweep=True)
    assert progress.state == COMPLETE, ended.told
    assert [trial.number for trial in progress.trials] == [0, 1]
    assert {trial.state for trial in progress.trials} <= {COMPLETE, STOPPED}, ended.told
    own = own_parameters(spec, list(section_of(spec).space))
    assert progress.trials[0].parameters == own, "the job's own"
    assert progress.trials[1].parameters != own
    assert progress.trials[0].state == COMPLETE
    assert [len(trial.curve) for trial in progress.trials] == [1, 1]

    folder = Path(project.storage, "sweeps", ended.id)
    best = progress.best
    found = results(project, ended.id)
    assert found["best"]["trial"] == best.number
    assert [trial["parameters"] for trial in found["trials"]] == [trial.parameters for trial in progress.trials]
    written = load_job(folder / "best" / f"{job}_best.yaml")
    assert own_parameters(written, list(best.parameters)) == best.parameters
    run = folder / "runs" / best.run
    for path in (folder / "report" / "report.html", run / "report" / "report.html", run / "weights" / f"{job}.pth"):
        assert path.stat().st_size > 0, path
    assert json.loads((run / "metrics.json").read_text())["job"] == job
    wait_until(lambda: project.processes() == [], "the processes to end", 30)
