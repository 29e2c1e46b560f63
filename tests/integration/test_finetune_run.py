"""Fine-tuning under a real Ray: a worker is killed with -9, and the run ends complete; two workers are one model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import finetune_process
import pytest
import torch
import yaml
from cli_runs import Project, kill_9, progress, read_json, wait_until
from tiny import start_attempt, work_for
from tiny_finetune import COLOURS, assert_trained_together, finetune_spec, finetune_tree, rectangles_root

from visionjobs.models.yolo_weights import build_detector, load_detection_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = 40  # of an epoch: 160 images in batches of 4


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("project")
    rectangles_root(folder, {"train": 160, "val": 8})
    tree = finetune_tree()
    tree.pop("name")
    tree["train"]["batch"] = 4
    tree["resources"] = {"cpus": 1, "gpus": 0}
    (folder / "jobs").mkdir()
    (folder / "jobs" / "tuned.yaml").write_text(yaml.safe_dump(tree))
    project = Project(folder, str(folder / "storage"))
    yield project
    kill_9(project.processes())


def started(project: Project, *args: str):
    """The driver's process and the run folder that it makes."""
    before = set(project.runs())
    driver = project.start("run", "tuned", *args)
    wait_until(lambda: set(project.runs()) - before, "the run folder", driver=driver)
    (run,) = set(project.runs()) - before
    return driver, run


def step(run: Path) -> int:
    return int(progress(run).get("step", 0))


def test_worker_killed_in_the_second_epoch(project: Project) -> None:
    driver, run = started(project)
    wait_until(lambda: step(run) > STEPS and list(run.glob("attempts/*/checkpoints/*/manifest.json")), "the second "
               "epoch", driver=driver)  # fmt: skip
    assert step(run) < 2 * STEPS, "it must be killed in the middle"
    kill_9(project.workers()[-1:])
    wait_until(lambda: progress(run).get("resumed_from_step"), "the workers' restart", driver=driver)
    _, told = driver.communicate(timeout=300)
    assert driver.returncode == 0, told

    last = progress(run)
    assert (last["resumed_from_step"], last["step"], last["facts"]["world"]) == (STEPS, 2 * STEPS, 1)
    assert [row["epoch"] for row in last["rows"]] == [0, 1]
    record = read_json(run / "record.json")
    assert record["state"] == "complete"
    weights = load_detection_state(run / "weights" / "tuned.pth")
    assert weights.names == COLOURS
    with torch.inference_mode():
        assert build_detector(weights, "tuned.pth")(torch.zeros(1, 3, 64, 64))[0].shape == (1, 4 + 3, 84)
    assert read_json(run / "metrics.json")["metrics"]["images"] == 8


def test_two_workers_train_one_model(tmp_path: Path) -> None:
    """Under Ray Train, which sets up the process group, they share the samples and have one gradient."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    root = rectangles_root(tmp_path)
    spec = finetune_spec("resources.workers=2", "data.augment=yolo")
    attempt = start_attempt(root, spec)
    tests = str(Path(finetune_process.__file__).parent)
    ray.init(address="local", num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": tests}})
    try:
        TorchTrainer(
            finetune_process.in_ray_worker,
            train_loop_config={"work": asdict(work_for(root, attempt, spec)), "folder": str(tmp_path)},
            scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(name="together", storage_path=str(tmp_path / "ray")),
        ).fit()
    finally:
        ray.shutdown()
    assert_trained_together(*(torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)))
