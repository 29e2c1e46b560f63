"""The sweep section against its job, what its values mean, and its metrics against what runs really report."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from sweep_sections import BASE, LR, message, of_space, parse

from visionjobs.errors import UserError
from visionjobs.jobfile import dump_spec, job_names, load_job, parse_job
from visionjobs.spec_sweep import METRICS, Domain, with_parameters
from visionjobs.sweeps import trial_spec
from visionjobs.tasks import TASKS

JOBS = Path(__file__).resolve().parent.parent / "jobs"
DETECTION = "task: detection\nmodel: {name: yolov8n, weights: a.pt}\ndata: {name: coco, size: [64, 64]}\n"


FIXED_TOLD = "is no hyperparameter (it says what is trained, how long, on what or where): every trial has the job's own"


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        (
            f"metric: val_acuracy, space: {{{LR}}}",
            'sweep.metric: a classification job reports no "val_acuracy" after an epoch; expected one of val_accuracy, '
            'val_loss. Did you mean "val_accuracy"?',
        ),
        (of_space(LR, grace="11"), "sweep.grace: 11 is more than train.epochs = 10"),
        (of_space("train.epochs: {int: [1, 3]}"), f"sweep.space.train.epochs: {FIXED_TOLD}"),
        (of_space("resources.workers: {int: [1, 3]}"), f"sweep.space.resources.workers: {FIXED_TOLD}"),
        (of_space("data.name: {choice: [a, b]}"), f"sweep.space.data.name: {FIXED_TOLD}"),
        (of_space("sweep.trials: {int: [1, 3]}"), f"sweep.space.sweep.trials: {FIXED_TOLD}"),
        (of_space("sweep: {int: [1, 3]}"), f"sweep.space.sweep: {FIXED_TOLD}"),
        (of_space("published.f1.value: {uniform: [0, 1]}"), f"sweep.space.published.f1.value: {FIXED_TOLD}"),
        (
            of_space("train: {uniform: [0, 1]}"),
            "sweep.space.train: the job has no such key; expected one of model.name, ",
        ),
        (of_space("lr: {uniform: [0, 1]}"), "sweep.space.lr: the job has no such key; expected one of model.name, "),
        (
            of_space("train.batch: {uniform: [1.5, 64]}"),
            "sweep.space.train.batch: its values are whole numbers: give int: [2, 64]",
        ),
        (
            of_space("train.compile: {int: [0, 1]}"),
            "sweep.space.train.compile: its values are no numbers (the job's own is False): give them as choice: [...]",
        ),
        (
            of_space("train.schedule: {uniform: [0, 1]}"),
            "sweep.space.train.schedule: its values are no numbers (the job's own is 'constant'): give them as choice",
        ),
        (
            of_space("train.batch: {choice: [16, a]}"),
            "sweep.space.train.batch: expected a whole number; found text 'a'.",
        ),
        (
            of_space("train.batch: {choice: [1.5]}"),
            "sweep.space.train.batch: expected a whole number; found a number 1.5.",
        ),
        (
            of_space("train.batch: {choice: [true]}"),
            "sweep.space.train.batch: expected a whole number; found true or false",
        ),
        (of_space("train.lr: {choice: [[1, 2]]}"), "sweep.space.train.lr: expected a number; found a list [1, 2]."),
        (
            of_space("train.schedule: {choice: [cosin]}"),
            "sweep.space.train.schedule: expected 'constant', 'polynomial' or 'cosine'; found text 'cosin'. ",
        ),
        (
            of_space("data.size: {choice: [[64]]}"),
            "sweep.space.data.size: expected at least 2 items; found a list [64].",
        ),
        (
            of_space("data.size: {choice: [[64, 8]]}"),
            "sweep.space.data.size: expected a number greater than or equal to 16",
        ),
        (
            of_space("train.lr: {uniform: [0.1, 20]}"),
            "sweep.space.train.lr: expected a number less than or equal to 10",
        ),
        (
            of_space("model.dropout: {uniform: [0, 1]}"),
            "sweep.space.model.dropout: expected a number less than 1; found",
        ),
        (
            of_space("data.copies: {int: [0, 99]}"),
            "sweep.space.data.copies: expected a number less than or equal to 32",
        ),
    ],
)
def test_section_against_its_job(sweep: str, told: str) -> None:
    assert message(sweep).startswith(f"jobs/mine.yaml: {told}")


def test_the_nearest_key_is_named() -> None:
    assert message(of_space("train.lrr: {uniform: [0, 1]}")).endswith('Did you mean "train.lr"?')


def test_a_job_without_training_has_nothing_to_search() -> None:
    told = message(f"metric: val_map, space: {{{LR}}}", f"{DETECTION}train: {{epochs: 0}}\n")
    assert told == "jobs/mine.yaml: sweep: this job trains nothing (train.epochs is 0): there is nothing to search"


def test_workers_of_one_trial_share_no_gpu() -> None:
    base = f"{BASE}resources: {{workers: 2}}\n"
    assert parse(of_space(LR, gpus="1"), base).resources.workers == 2
    told = message(of_space(LR, gpus="0.5"), base)
    assert told == "jobs/mine.yaml: sweep.gpus: 0.5 of a GPU, but workers of one trial cannot share a GPU; expected 1"


@pytest.mark.parametrize(
    "space",
    [
        "train.lr: {uniform: [1, 2]}",  # whole numbers for real ones
        "train.lr: {int: [1, 2]}",
        "train.lr: {choice: [1, 0.5]}",
        "train.batch: {choice: [3, 5]}",  # whether they can stand with the workers is told when the sweep begins
        "train.freeze: {choice: [none, backbone]}",
        "data.copies: {int: [0, 4]}",
        "data.size: {choice: [[64, 64], [96, 128]]}",
        "model.name: {choice: [resnet18, resnet50]}",
        "train.compile: {choice: [true, false]}",
        f"{LR}, train.batch: {{int: [8, 64]}}, train.label_smoothing: {{uniform: [0, 0.2]}}",
    ],
)
def test_good_spaces(space: str) -> None:
    spec = parse(of_space(space), f"{BASE}resources: {{workers: 2}}\n")
    assert parse_job(dump_spec(spec), "spec.yaml", "run") == spec


def test_a_whole_domain_is_dumped_as_it_was_given() -> None:
    tree = yaml.safe_load(dump_spec(parse(of_space(f"{LR}, train.batch: {{choice: [16, 32]}}"))))
    assert tree["sweep"]["space"] == {"train.lr": {"loguniform": [1e-4, 0.1]}, "train.batch": {"choice": [16, 32]}}


def test_a_job_without_the_section_is_dumped_without_it() -> None:
    spec = parse_job(BASE, "jobs/mine.yaml", "mine")
    assert "sweep" not in yaml.safe_load(dump_spec(spec))
    assert parse_job(f"{BASE}sweep:\n", "jobs/mine.yaml", "mine") == spec


def test_the_job_of_a_trial_has_no_section() -> None:
    spec = parse(of_space(LR))
    trial = trial_spec(spec, {"train.lr": 0.05})
    assert trial.sweep is None
    assert trial.train.lr == 0.05
    assert trial_spec(spec, {}) == spec.model_copy(update={"sweep": None})


def test_the_job_of_a_trial_says_what_it_was_made_of() -> None:
    spec = parse(of_space(LR), f"{BASE}resources: {{workers: 2}}\n")
    with pytest.raises(UserError) as caught:
        trial_spec(spec, {"train.lr": 0.05, "train.batch": 33})
    assert str(caught.value).startswith(
        "mine with train.lr = 0.05, train.batch = 33: train.batch: 33 is not a multiple"
    )


@pytest.mark.parametrize("name", ["sweep", "sweep_", "sweep_convnet"])
def test_a_jobs_name_is_not_taken_for_a_sweeps(name: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_job(BASE, "jobs/mine.yaml", name)
    told = f'jobs/mine.yaml: name: "{name}": the ids of sweeps begin so; expected a name that does not begin so'
    assert str(caught.value) == told


def test_a_name_with_sweep_in_it_will_do() -> None:
    assert parse_job(BASE, "jobs/mine.yaml", "sweeper").name == "sweeper"
    assert parse_job(BASE, "jobs/mine.yaml", "my_sweep").name == "my_sweep"


@pytest.mark.parametrize("name", job_names(JOBS))
def test_sections_of_the_projects_jobs_survive_a_dump(name: str) -> None:
    spec = load_job(JOBS / f"{name}.yaml")
    assert ("sweep" in yaml.safe_load(dump_spec(spec))) == (spec.sweep is not None)


# What a domain and a section mean.


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Domain(choice=[1, "a", [2, 3]]), [1, 1.0, "a", [2, 3]], [True, 2, "b", [2], None]),
        (Domain(choice=[True]), [True], [1, False]),
        (Domain(uniform=[0, 1]), [0, 1, 0.5], [-0.1, 1.1, True, "a", None]),
        (Domain(int=[1, 3]), [1, 2, 3, 2.0], [0, 4, 2.5, True]),
    ],
)
def test_what_a_domain_contains(domain: Domain, inside: list[Any], outside: list[Any]) -> None:
    assert [value for value in [*inside, *outside] if domain.contains(value)] == inside


@pytest.mark.parametrize(
    ("metric", "mode", "maximise"),
    [
        ("val_accuracy", "auto", True),
        ("val_loss", "auto", False),
        ("val_loss", "max", True),
        ("val_accuracy", "min", False),
    ],
)
def test_which_way_is_better(metric: str, mode: str, maximise: bool) -> None:
    section = parse(f"metric: {metric}, mode: {mode}, space: {{{LR}}}").sweep
    assert section is not None
    assert section.maximise is maximise


# The metrics against the columns that runs really have.


@pytest.mark.parametrize("task", sorted(TASKS))
def test_metrics_are_what_the_task_reports(task: str) -> None:
    """All of its validation columns; the first is the one by which it keeps its best checkpoint."""
    kind = TASKS[task]
    itself = kind.__new__(kind)  # neither needs the dataset
    row = itself.eval_row(defaultdict(float))
    assert set(METRICS[task]) == set(row)
    assert itself.score({name: place for place, name in enumerate(METRICS[task])}) == 0


def test_metrics_are_what_a_detector_reports() -> None:
    from visionjobs.training.finetune_trainer import FineTuner

    loader = SimpleNamespace(dataset=SimpleNamespace(labels=[{"cls": [0]}]))
    trainer = SimpleNamespace(test_loader=loader, row={}, recorder=None)
    FineTuner.save_metrics(trainer, defaultdict(float))
    assert set(METRICS["detection"]) == set(trainer.row)


def test_every_task_has_metrics() -> None:
    assert set(METRICS) == {*TASKS, "detection"}


def test_a_sha256_is_of_the_jobs_own_weights_only() -> None:
    spec = parse_job(
        "task: classification\nmodel: {name: resnet18, weights: a.pth, sha256: " + "a" * 64 + "}\ndata: {name: tiny}\n"
        "sweep: {metric: val_loss, space: {model.weights: {choice: [a.pth, b.pth]}, train.lr: {choice: [0.1]}}}\n",
        "job", "job",
    )  # fmt: skip
    assert with_parameters(spec, {"model.weights": "a.pth", "train.lr": 0.1})["model"]["sha256"] == "a" * 64
    assert with_parameters(spec, {"model.weights": "b.pth", "train.lr": 0.1})["model"]["sha256"] is None


def test_a_sweep_that_does_not_fit_the_sets_is_in_the_way_of_a_sweep_only(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"{BASE}train: {{epochs: 9}}\nsweep: {{{of_space(LR, grace='3')}}}\n")
    spec = load_job(file, ["train.epochs=2"])
    assert (spec.train.epochs, spec.sweep) == (2, None)
    for sets, wanted in ((["train.epochs=2"], True), (["train.epochs=2", "sweep.trials=4"], False)):
        with pytest.raises(UserError, match=r"sweep\.grace: 3 is more than train\.epochs = 2"):
            load_job(file, sets, sweep=wanted)
    assert load_job(file).sweep == load_job(file, ["train.epochs=5"], sweep=True).sweep is not None
