"""What each job renders to, line by line: tests/cluster/golden/*.yaml.

After a change that is wanted: VISIONJOBS_WRITE_GOLDEN=1 pytest tests/cluster/test_golden.py, and read `git diff`.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rendering import CLUSTER, JOBS, dataset_import, evaluation, run_of, sweep_of

from visionjobs.cluster.manifest_yaml import manifest_yaml
from visionjobs.cluster.render import render
from visionjobs.cluster.validate import problems

GOLDEN = Path(__file__).parent / "golden"

CASES = {f"{job}-{backend}": (run_of(job), CLUSTER, backend) for job in JOBS for backend in ("rayjob", "job")} | {
    "deeplab-4-workers-rayjob": (run_of("deeplab", "resources.workers=4"), CLUSTER, "rayjob"),
    "deeplab-4-workers-job": (run_of("deeplab", "resources.workers=4"), CLUSTER, "job"),
    "deeplab-8-workers-2-pods-rayjob": (
        run_of("deeplab", "train.batch=16", "resources.workers=8", "resources.workers_per_pod=4", "limits.hours=12"),
        CLUSTER,
        "rayjob",
    ),
    "convnet-cpu-rayjob": (run_of("convnet", "resources.gpus=0", "resources.cpus=2", code=None), CLUSTER, "rayjob"),
    "convnet-continued-rayjob": (
        replace(
            run_of("convnet"), attempt=3, attempts=1, grace=400,
            command=("visionjobs", "attempt", "convnet-1", "--set", "wandb.project=ours & theirs"),
        ),
        CLUSTER,
        "rayjob",
    ),
    "resnet-kueue-overlay-rayjob": (
        run_of("resnet"),
        replace(
            CLUSTER, queue="team", priority="visionjobs-high", secret="s3-of-the-team",
            overlay=Path(__file__).parent / "spot_overlay.yaml",
        ),
        "rayjob",
    ),
    "resnet-kueue-overlay-job": (
        run_of("resnet"),
        replace(
            CLUSTER, queue="team", priority="visionjobs-high", overlay=Path(__file__).parent / "spot_overlay.yaml"
        ),
        "job",
    ),
    "sweep-convnet-rayjob": (sweep_of("convnet"), CLUSTER, "rayjob"),
    "sweep-convnet-shared-gpus-job": (
        sweep_of("convnet", "sweep.gpus=0.5", "sweep.at_once=3", "limits.hours=2"), CLUSTER, "job",
    ),
    "sweep-deeplab-2-workers-rayjob": (sweep_of("deeplab", "resources.workers=2"), CLUSTER, "rayjob"),
    "evaluate": (evaluation(), CLUSTER, "rayjob"),
    "import": (dataset_import(), CLUSTER, "job"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_case_renders_as_it_was_read_and_approved(name: str) -> None:
    objects = render(*CASES[name])
    assert problems(objects) == []
    path, text = GOLDEN / f"{name}.yaml", manifest_yaml(objects)
    if os.environ.get("VISIONJOBS_WRITE_GOLDEN"):
        path.write_text(text)
    approved = path.read_text() if path.exists() else ""
    changed = difflib.unified_diff(approved.splitlines(), text.splitlines(), "approved", "rendered", n=6, lineterm="")
    if diff := "\n".join(changed):
        pytest.fail(f"{path.name}\n{diff}", pytrace=False)


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)
