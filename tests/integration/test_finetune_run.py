"""Fine-tuning under a real Ray: a worker is killed with -9, and the run ends complete; two workers are one model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from cli_runs import Project, kill_9, progress, read_json, wait_until
from tiny_finetune import COLOURS, finetune_tree, rectangles_root

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


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_killed_in_the_second_epoch(project: Project, workers: int) -> None:
    driver, run = started(project, "--set", f"resources.workers={workers}")
    wait_until(lambda: step(run) > STEPS and list(run.glob("attempts/*/checkpoints/*/manifest.json")), "the second "
               "epoch", driver=driver)  # fmt: skip
    assert step(run) < 2 * STEPS, "it must be killed in the middle"
    kill_9(project.workers()[-1:])
    wait_until(lambda: progress(run).get("resumed_from_step"), "the workers' restart", driver=driver)
    _, told = driver.communicate(timeout=300)
    assert driver.returncode == 0, told

    last = progress(run)
    assert (last["resumed_from_step"], last["step"], last["facts"]["world"]) == (STEPS, 2 * STEPS, workers)
    assert [row["epoch"] for row in last["rows"]] == [0, 1]
    record = read_json(run / "record.json")
    assert record["state"] == "complete"
    weights = load_detection_state(run / "weights" / "tuned.pth")
    assert weights.names == COLOURS
    with torch.inference_mode():
        assert build_detector(weights, "tuned.pth")(torch.zeros(1, 3, 64, 64))[0].shape == (1, 4 + 3, 84)
    assert read_json(run / "metrics.json")["metrics"]["images"] == 8
