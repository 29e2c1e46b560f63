"""The best configuration as a job file: loaded again it is the trial's own job, and a person can read it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sweeps import SWEEP, trial
from searches import WIDE, job

from visionjobs.errors import UserError
from visionjobs.jobfile import build_spec, find_job, job_names, load_job, parse_yaml, with_sets
from visionjobs.spec import JOB_NAME, JobSpec
from visionjobs.sweeps import own_parameters, section_of, trial_spec
from visionjobs.tuning.best_job import best_job_file, best_job_key, best_job_name
from visionjobs.tuning.draw import draw_all

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SEARCHED = [name for name in job_names(JOBS) if load_job(JOBS / f"{name}.yaml").sweep]
SETS = (
    "train.seed=7", "train.epochs=3", "train.compile=true", "train.precision=fp32", "train.batch=64",
    "train.checkpoint={every: 5, unit: epochs}", "data.size=[96, 128]", "data.resident=never",
    "model.sha256=" + "a" * 64, "resources.workers=2", "resources.gpus=0", "resources.memory=512Mi",
    "limits.hours=1.5", "limits.attempts=2",
    "wandb.mode=off", "wandb.project=birds", "detect.floors=[0.01]", "detect.max_det=100",
)  # fmt: skip


def pinned(name: str, *sets: str) -> JobSpec:
    """A job as a sweep has it."""
    spec = load_job(find_job(name, JOBS), sets, sweep=True)
    return spec.model_copy(update={"data": spec.data.model_copy(update={"version": "3f9c2ab41d77"})})


def text_of(spec: JobSpec, parameters: dict[str, object], number: int = 5) -> str:
    return best_job_file(spec, trial(number, parameters, (0.5, 0.8125)), section_of(spec).metric, SWEEP)


def loaded(text: str, job_name: str) -> JobSpec:
    """As whoever runs it loads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{best_job_name(job_name)}.yaml")
        path.write_text(text, encoding="utf-8")
        return load_job(path)


def assert_is_the_trials(spec: JobSpec, parameters: dict[str, object]) -> None:
    found, wanted = loaded(text_of(spec, parameters), spec.name), trial_spec(spec, parameters)
    own = {"name": best_job_name(spec.name), "published": {}}
    assert found == wanted.model_copy(update=own | {"data": wanted.data.model_copy(update={"version": "newest"})})


@pytest.mark.parametrize("name", SEARCHED)
def test_the_projects_jobs_with_their_own_values(name: str) -> None:
    spec = pinned(name)
    assert_is_the_trials(spec, own_parameters(spec, list(section_of(spec).space)))


@settings(max_examples=150)
@given(st.sampled_from(SEARCHED), st.integers(0, 2**31), st.lists(st.sampled_from(SETS), max_size=4, unique=True))
def test_any_trial_of_the_projects_jobs(name: str, seed: int, sets: list[str]) -> None:
    try:
        spec = pinned(name, *sets)
        parameters = draw_all(section_of(spec).space, np.random.default_rng(seed))
        trial_spec(spec, parameters)
    except UserError:
        return  # the search proposes none that the job refuses
    assert_is_the_trials(spec, parameters)


@settings(max_examples=50)
@given(st.integers(0, 2**31))
def test_any_trial_of_a_wide_search(seed: int) -> None:
    spec = job(WIDE)
    assert_is_the_trials(spec, draw_all(section_of(spec).space, np.random.default_rng(seed)))


def test_it_shows_what_is_searched_what_is_not_the_default_and_what_is_trained() -> None:
    spec = pinned("convnet", "wandb.mode=off")
    parameters = {"train.lr": 1.5e-4, "train.batch": 32, "model.dropout": 0.0, "train.label_smoothing": 0.1}
    text = text_of(spec, parameters)
    assert parse_yaml(text, "it") == {
        "task": "classification",
        "model": {"name": "convnet", "weights": "random", "dropout": 0.0},
        "data": {"name": "wildlife", "size": [224, 224]},
        "train": {"epochs": 10, "batch": 32, "lr": 1.5e-4, "label_smoothing": 0.1, "seed": 0},
        "wandb": {"mode": "off"},
    }


def test_its_head_tells_where_it_comes_from() -> None:
    text = text_of(pinned("resnet"), {"train.lr": 1e-4, "train.batch": 16}, number=7)
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert head == [
        f"# resnet as sweep {SWEEP} left it: trial 7, val_accuracy 0.8125 after the last epoch.",
        "# Searched: train.lr, train.batch. Trained on version 3f9c2ab41d77 of the dataset.",
    ]
    assert text.startswith(head[0])


def test_a_pinned_weights_file_stays_pinned() -> None:
    sha256 = "b" * 64
    spec = pinned("yolo_finetune", "model.weights=/weights/mine.pt", f"model.sha256={sha256}")
    model = loaded(text_of(spec, {"train.lr": 0.02}), "yolo_finetune").model
    assert (model.weights, model.sha256, model.trust) == ("/weights/mine.pt", sha256, True)


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("convnet", "convnet_best"),
        ("a", "a_best"),
        ("a" * 25, "a" * 20 + "_best"),
        ("birds_of_the_north_sea", "birds_of_the_north_s_best"),
        ("birds_of_the_northern_sea", "birds_of_the_norther_best"),
        ("nineteen_characters_", "nineteen_characters_best"),
    ],
)
def test_its_name_is_a_jobs(name: str, best: str) -> None:
    assert re.match(JOB_NAME, name)
    assert best_job_name(name) == best
    assert re.match(JOB_NAME, best)
    assert best_job_key(name) == f"best/{best}.yaml"


def test_the_best_of_a_best_one_has_a_name_too() -> None:
    assert best_job_name("convnet_best") == "convnet_best_best"


def test_texts_that_yaml_would_take_for_something_else() -> None:
    spec = build_spec(with_sets(job(WIDE).model_dump(mode="json"), ["data.name='12e4'", "wandb.project='off'"]), "mine")
    assert_is_the_trials(spec, {"train.lr": 1e-5})
