"""What `render` makes of any valid job passes everything that a cluster checks, and holds no secret."""

from __future__ import annotations

import json
import os
import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rendering import METRIC_OF
from schemas import server_problems

from visionjobs.cluster.render import render
from visionjobs.cluster.submission import (
    Submission,
    evaluate_submission,
    import_submission,
    run_submission,
    sweep_submission,
)
from visionjobs.cluster.validate import problems
from visionjobs.errors import UserError
from visionjobs.settings import ClusterSettings, Settings
from visionjobs.spec import JobSpec

ROOT = Path(__file__).resolve().parents[2]

SENTINEL = "sentinel-of-a-secret"

SECRETS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY", "VISIONJOBS_NOTIFY_URL",
    "RAY_AUTH_TOKEN", "MY_PASSWORD",
)  # fmt: skip

SHA256 = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Case:
    """What is rendered, and where to."""

    submission: Submission
    settings: ClusterSettings
    backend: str


def words(alphabet: str, least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=most)


job_names = st.from_regex(r"[a-z][a-z0-9_]{0,24}", fullmatch=True)
dataset_names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)
dns_names = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
quantities = st.builds("{}{}".format, st.integers(1, 900), st.sampled_from(["Mi", "Gi"]))
texts = words(string.printable, 1, 30).filter(str.strip)


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    """Any job that a job file can hold, as far as its manifests depend on it."""
    per_pod = draw(st.sampled_from([1, 1, 2, 4, 8, 64]))
    workers = per_pod * draw(st.integers(1, max(1, 64 // per_pod)))
    task = draw(st.sampled_from(["classification", "segmentation", "detection"]))
    model = {"name": draw(texts)}
    tree: dict[str, Any] = {
        "name": draw(job_names),
        "task": task,
        "model": model | ({"weights": draw(texts)} if draw(st.booleans()) else {}),
        "data": {"name": draw(dataset_names), "size": [64, 64]},
        "train": {"batch": workers * draw(st.integers(2, 4)), "epochs": draw(st.integers(1, 100_000))},
        "resources": {
            "workers": workers,
            "workers_per_pod": per_pod,
            "gpus": draw(st.sampled_from(["auto", 0, 1])),
            "cpus": draw(st.one_of(st.just("auto"), st.integers(1, 256))),
            "memory": draw(quantities),
        },
        "limits": {
            "attempts": draw(st.integers(1, 1000)),
            "hours": draw(st.one_of(st.none(), st.floats(min_value=1e-9, max_value=1e12))),
        },
        "published": {"accuracy": {"value": 0.5, "source": draw(texts)}},
        "sweep": {
            "metric": METRIC_OF[task],
            "trials": draw(st.integers(1, 10_000)),
            "space": {"train.seed": {"int": [0, 9]}},
            "at_once": draw(st.one_of(st.just("auto"), st.integers(1, 1024))),
            "gpus": draw(st.sampled_from(["auto", 1, *([0.5, 0.3, 0.01] if workers == 1 else [])])),
        },
    }
    return JobSpec.model_validate(tree)


@st.composite
def storages(draw: st.DrawFn) -> Settings:
    """The storage, as pods address it."""
    address = f"s3://{draw(dns_names)}"
    endpoint = draw(st.sampled_from([None, "http://minio.storage.svc:9000", "https://s3.example/$(HOME)"]))
    region = draw(st.sampled_from([None, "eu-central-1"]))
    return Settings(address, address, endpoint, endpoint, region, Path("cache"), Path("jobs"))


@st.composite
def submissions(draw: st.DrawFn) -> Submission:
    """A run, a sweep, an evaluation or an import."""
    spec, storage = draw(specs()), draw(storages())
    code = draw(st.sampled_from([None, SHA256]))
    name = f"{spec.name[:25].replace('_', '-').rstrip('-')}-20261128-032300-{draw(words('0123456789abcdef', 4, 4))}"
    arguments = draw(st.lists(texts, max_size=3))
    kind = draw(st.sampled_from(["run", "run", "sweep", "sweep", "evaluate", "import"]))
    match kind:
        case "evaluate":
            return evaluate_submission(spec, name, [name, *arguments], storage, code=code)
        case "import":
            dataset = draw(dataset_names)
            return import_submission(name, dataset, [dataset, "s3://bucket/raw", *arguments], storage, code=code)
    is_sweep = kind == "sweep"
    return (sweep_submission if is_sweep else run_submission)(
        spec,
        f"sweep-{name[-41:].lstrip('-')}" if is_sweep else name,
        storage,
        sets=draw(st.sampled_from([(), ("train.epochs=3", "limits.attempts=$(HOME) 'x'")])),
        code=code,
        attempt=draw(st.integers(1, 1001)),
        checkpoint_seconds=draw(st.one_of(st.none(), st.floats(0, 5000))),
    )


OVERLAYS: dict[str, Any] = {
    "none": None,
    "empty": {},
    "spot": {
        "gpuPods": {
            "spec": {
                "nodeSelector": {"cloud.google.com/gke-spot": "true"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            }
        }
    },
    "claim": {
        "workPods": {
            "spec": {"volumes": [{"name": "cache", "emptyDir": None, "persistentVolumeClaim": {"claimName": "c"}}]}
        },
        "pods": {"spec": {"imagePullSecrets": [{"name": "registry"}]}},
        "all": {"metadata": {"labels": {"cost-center": "vision"}}},
    },
    "rayjob": {"rayjob": {"spec": {"ttlSecondsAfterFinished": 600}}, "job": {"spec": {"ttlSecondsAfterFinished": 600}}},
}


@pytest.fixture(scope="module")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """The shipped overlay file, none, and some of a cluster's."""
    folder = tmp_path_factory.mktemp("overlays")
    made: dict[str, Path | None] = {"shipped": ROOT / "k8s" / "job" / "overlay.yaml"}
    for name, tree in OVERLAYS.items():
        made[name] = None if tree is None else folder / f"{name}.yaml"
        if tree is not None:
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    return made


def cases(overlays: dict[str, Path | None]) -> st.SearchStrategy[Case]:
    clusters = st.builds(
        ClusterSettings,
        image=st.sampled_from(["registry.example:5000/team/visionjobs:1.0", f"visionjobs@sha256:{SHA256}"]),
        namespace=dns_names,
        context=st.none(),
        queue=st.one_of(st.none(), dns_names),
        priority=st.sampled_from([None, "visionjobs-high", "visionjobs-low"]),
        secret=dns_names,
        owner=texts.map(lambda text: ClusterSettings.from_env({"VISIONJOBS_OWNER": text}).owner),
        overlay=st.sampled_from(list(overlays.values())),
        skeletons=st.just(ROOT / "k8s" / "job"),
    )
    return st.builds(Case, submissions(), clusters, st.sampled_from(["rayjob", "job"]))


@pytest.fixture(autouse=True)
def secrets_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"{SENTINEL}-{name}")


def test_whatever_is_rendered_is_accepted(overlays: dict[str, Path | None]):
    @settings(max_examples=100, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(cases(overlays))
    def holds(case: Case) -> None:
        objects = render(case.submission, case.settings, case.backend)
        assert problems(objects) == []
        assert [problem for obj in objects for problem in server_problems(obj)] == []
        text = json.dumps(objects, sort_keys=False)
        assert SENTINEL not in text
        again = render(replace(case.submission), replace(case.settings), case.backend)
        assert json.dumps(again, sort_keys=False) == text  # the order of keys too
        kinds = [obj["kind"] for obj in objects]
        wants_ray = case.backend == "rayjob" and case.submission.kind in ("run", "sweep")
        assert kinds == (["NetworkPolicy", "RayJob"] if wants_ray else ["Job"])

    assert SENTINEL in os.environ["WANDB_API_KEY"]
    holds()


def tree_of(path: tuple[str, ...], value: Any) -> Any:
    """Nested mappings down to `value`; in a list, its entry "main" or "workers"."""
    if not path:
        return value
    if path[0] == "[]":
        below = tree_of(path[1:], value)
        return [{"name": "main", "groupName": "workers"} | below] if isinstance(below, dict) else [below]
    return {path[0]: tree_of(path[1:], value)}


def paths_of(node: Any) -> list[tuple[str, ...]]:
    """Every path in an object, as `tree_of` takes it."""
    if isinstance(node, dict):
        return [path for key, item in node.items() for path in ((key,), *((key, *rest) for rest in paths_of(item)))]
    below = [path for item in node for path in paths_of(item)] if isinstance(node, list) else []
    return [("[]", *path) for path in dict.fromkeys(below)]


def test_whatever_an_overlay_does_is_no_traceback(tmp_path: Path):
    """Any key of any manifest taken away, or made something else: rendered and validated, or refused with the file."""
    spec = JobSpec.model_validate(
        {
            "name": "resnet", "task": "classification", "model": {"name": "resnet18"}, "data": {"name": "wildlife"},
            "resources": {"workers": 4, "workers_per_pod": 2},
        }
    )  # fmt: skip
    storage = Settings("s3://b/p", "s3://b/p", None, None, None, Path("cache"), Path("jobs"))
    submission = run_submission(spec, "resnet-1", storage, code=SHA256)
    overlay = tmp_path / "overlay.yaml"
    env = {"VISIONJOBS_IMAGE": "visionjobs:1", "VISIONJOBS_K8S": str(ROOT / "k8s" / "job")}
    plain = ClusterSettings.from_env(env)
    changed = replace(plain, overlay=overlay)
    found: dict[str, list[tuple[str, ...]]] = {}
    for backend in ("rayjob", "job"):
        obj = render(submission, plain, backend)[-1]
        found[backend] = paths_of(obj)
        ray = obj["spec"].get("rayClusterSpec")
        found["pods"] = paths_of(ray["headGroupSpec"]["template"] if ray else obj["spec"]["template"])
    found["all"] = found["rayjob"] + found["job"]
    sections = [(section, path) for section, paths in found.items() for path in paths]
    values = (None, 3, "text", True, [], ["text"], {}, {"a": 1})

    @settings(max_examples=200, derandomize=True)
    @given(st.sampled_from(sections), st.sampled_from(values), st.sampled_from(["rayjob", "job"]))
    @example(("all", ("spec",)), None, "rayjob")
    @example(("all", ("spec", "template", "spec")), None, "job")
    @example(("all", ("spec", "template", "spec", "containers")), None, "job")
    @example(("all", ("spec", "template", "spec", "containers")), ["text"], "job")
    @example(("gpuPods", ("spec", "containers", "[]", "resources", "limits", "nvidia.com/gpu")), "1e30", "rayjob")
    def holds(place: tuple[str, tuple[str, ...]], value: Any, backend: str) -> None:
        overlay.write_text(yaml.safe_dump({place[0]: tree_of(place[1], value)}))
        try:
            objects = render(submission, changed, backend)
        except UserError as error:
            assert str(overlay) in str(error)
            return
        assert all("\n" not in problem for problem in problems(objects))

    holds()
