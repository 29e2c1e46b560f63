"""The sweep sections of jobs/: all load, hold the job's own values, and propose nothing that the job refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from rendering import run_of

from visionjobs.jobfile import job_names, load_job, parse_yaml
from visionjobs.spec import JobSpec
from visionjobs.spec_sweep import METRICS
from visionjobs.sweeps import own_parameters, section_of, trial_spec
from visionjobs.tuning.search import Observed, check_space, propose

JOBS = Path(__file__).resolve().parents[1] / "jobs"
TRAINING = ("convnet", "deeplab", "resnet", "resnet_aug", "segnet", "yolo_finetune")
PROPOSALS = 200


@pytest.fixture(params=TRAINING)
def spec(request: pytest.FixtureRequest) -> JobSpec:
    return load_job(JOBS / f"{request.param}.yaml")


def test_every_job_that_trains_has_one() -> None:
    assert tuple(name for name in job_names(JOBS) if load_job(JOBS / f"{name}.yaml").train.epochs) == TRAINING


def test_it_goes_by_the_main_metric_of_its_task(spec: JobSpec) -> None:
    assert section_of(spec).metric == METRICS[spec.task][0]
    assert section_of(spec).maximise


def test_trial_0_is_inside_the_space(spec: JobSpec) -> None:
    space = section_of(spec).space
    own = own_parameters(spec, list(space))
    assert propose(spec, 0, []) == own
    assert {key: value for key, value in own.items() if not space[key].contains(value)} == {}
    assert trial_spec(spec, own) == spec.model_copy(update={"sweep": None})


def test_its_learning_rates_are_on_both_sides_of_the_jobs_own(spec: JobSpec) -> None:
    low, high = section_of(spec).space["train.lr"].bounds
    assert low * 2 <= spec.train.lr <= high / 2
    assert 10 <= high / low <= 1000, "narrow enough for so few trials, wide enough to be worth them"


def test_no_value_is_never_tried(spec: JobSpec) -> None:
    assert check_space(spec) == []


def test_proposals_are_jobs(spec: JobSpec) -> None:
    space = section_of(spec).space
    earlier: list[Observed] = []
    for number in range(PROPOSALS + 1):
        parameters = propose(spec, number, earlier)
        assert parameters is not None
        earlier.append(Observed(number, parameters, (), ended=False, complete=False))
    proposed = [trial.parameters for trial in earlier[1:]]
    for parameters in proposed:
        assert set(parameters) == set(space)
        assert all(space[key].contains(value) for key, value in parameters.items()), parameters
        assert trial_spec(spec, parameters).sweep is None
    assert len({str(parameters) for parameters in proposed}) == PROPOSALS, "none twice"
    for key, domain in space.items():
        found = [parameters[key] for parameters in proposed]
        assert len({str(value) for value in found}) >= (2 if domain.choice else 4), f"{key} is always the same"


@pytest.mark.parametrize("name", TRAINING)
def test_a_run_has_none(name: str) -> None:
    """Its manifest carries the job, from which its first attempt makes it."""
    assert "sweep" not in parse_yaml(run_of(name).spec, "VISIONJOBS_SPEC")
