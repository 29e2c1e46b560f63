"""The job on the drawn sample of its task."""

from __future__ import annotations

from pathlib import Path

import pytest

from visionjobs.cli.run import on_sample
from visionjobs.jobfile import load_job

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.mark.parametrize(
    ("job", "sets", "name", "size"),
    [
        ("segnet", [], "camvid-sample", [90, 120]),
        ("segnet", ["data.size=[64,96]"], "camvid-sample", [64, 96]),
        ("segnet", ["data.size=[128,160]"], "camvid-sample", [128, 160]),
        ("convnet", [], "wildlife-sample", [224, 224]),
        ("convnet", ["data.size=[256,256]"], "wildlife-sample", [256, 256]),
        ("yolo_finetune", [], "coco-sample", [224, 224]),
        ("yolo_finetune", ["data.size=[160,160]"], "coco-sample", [160, 160]),
    ],
)
def test_size_is_the_samples_unless_one_was_asked_for(job: str, sets: list[str], name: str, size: list[int]) -> None:
    spec = on_sample(load_job(JOBS / f"{job}.yaml", sets), sets)
    assert (spec.data.name, spec.data.version, spec.data.size) == (name, "newest", size)


def test_weights_that_know_other_classes_are_not_evaluated_on_the_sample(visionjobs) -> None:
    done = visionjobs("run", "yolo", "--sample")
    assert (done.status, done.out) == (2, "")
    assert "the drawn sample has other classes than theirs" in done.err
    assert "visionjobs run yolo_finetune --sample" in done.err
