"""What the tests of rendering share: settings of a cluster, submissions, and ways through what was rendered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from visionjobs.cluster.pod_security import pod_templates
from visionjobs.cluster.submission import (
    Submission,
    evaluate_submission,
    import_submission,
    run_submission,
    sweep_submission,
)
from visionjobs.jobfile import load_job
from visionjobs.settings import ClusterSettings, Settings
from visionjobs.spec import JobSpec

ROOT = Path(__file__).resolve().parents[2]
SKELETONS = ROOT / "k8s" / "job"
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.yaml"))
CODE = "c0de" * 16

CLUSTER = ClusterSettings(
    image="registry.example/visionjobs:0.1.0",
    namespace="visionjobs",
    context=None,
    queue=None,
    priority=None,
    secret="visionjobs",
    owner="ada",
    overlay=SKELETONS / "overlay.yaml",
    skeletons=SKELETONS,
)
STORAGE = Settings.from_env({"VISIONJOBS_STORAGE": "s3://vision/team", "AWS_ENDPOINT_URL": "http://minio.storage:9000"})


def run_of(job: str, *sets: str, **changes: Any) -> Submission:
    """A run of one of the project's jobs, with its code; changes: of the Submission itself."""
    spec = load_job(ROOT / "jobs" / f"{job}.yaml", sets)
    name = f"{job.replace('_', '-')}-20260101-120000-abcd"
    return replace(run_submission(spec, name, STORAGE, code=CODE), **changes)


SECTION = (
    "sweep={metric: %s, trials: 12, space: {train.lr: {loguniform: [1e-4, 1e-2]}}, search: random, scheduler: asha, "
    "grace: 1, reduction: 3, at_once: auto, gpus: auto, seed: 0}"
)
METRIC_OF = {"classification": "val_accuracy", "segmentation": "val_miou", "detection": "val_map"}


def searched(job: str, *sets: str) -> JobSpec:
    """One of the project's jobs with a sweep section of the tests' own."""
    task = load_job(ROOT / "jobs" / f"{job}.yaml").task
    return load_job(ROOT / "jobs" / f"{job}.yaml", [SECTION % METRIC_OF[task], *sets])


def sweep_of(job: str, *sets: str, **changes: Any) -> Submission:
    """A sweep of it; changes: of the Submission itself."""
    name = f"sweep-{job.replace('_', '-')}-20260101-120000-abcd"
    return replace(sweep_submission(searched(job, *sets), name, STORAGE, code=CODE), **changes)


def evaluation() -> Submission:
    spec = load_job(ROOT / "jobs" / "deeplab.yaml")
    arguments = ["deeplab-20260101-120000-abcd", "--split", "all"]
    return evaluate_submission(spec, "evaluate-deeplab-20260101-120000-abcd", arguments, STORAGE, code=CODE)


def dataset_import() -> Submission:
    return import_submission("import-wildlife", "wildlife", ["wildlife", "s3://raw/photos"], STORAGE)


def templates(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Role -> pod template, of all objects."""
    found = [template for obj in objects for _, template in pod_templates(obj)]
    return {template["metadata"]["labels"]["visionjobs/role"]: template for template in found}


def containers(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for template in templates(objects).values():
        yield from template["spec"].get("initContainers", [])
        yield from template["spec"]["containers"]


def env_of(container: dict[str, Any]) -> dict[str, Any]:
    """Name -> value, or where it comes from."""
    assert len({item["name"] for item in container["env"]}) == len(container["env"])
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def main_of(template: dict[str, Any]) -> dict[str, Any]:
    (container,) = template["spec"]["containers"]
    return container
