"""`visionjobs render` and `visionjobs manifests`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.fixture
def cluster(visionjobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`visionjobs` with what a person sets for a cluster, in a folder of its own."""
    monkeypatch.setenv("VISIONJOBS_STORAGE", "s3://vision/team")
    monkeypatch.setenv("VISIONJOBS_IMAGE", "registry.example/visionjobs:0.1.0")
    monkeypatch.setenv("VISIONJOBS_K8S", str(JOBS.parent / "k8s" / "job"))
    monkeypatch.setenv("VISIONJOBS_OWNER", "ada")
    for name in ("QUEUE", "PRIORITY", "OVERLAY", "NAMESPACE", "SECRET"):
        monkeypatch.delenv(f"VISIONJOBS_{name}", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # nothing answers there
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sentinel-secret")
    monkeypatch.chdir(tmp_path)
    return visionjobs


def spec_in(rayjob) -> dict:
    (main,) = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    (text,) = (item["value"] for item in main["env"] if item["name"] == "VISIONJOBS_SPEC")
    return yaml.safe_load(text)


def test_it_prints_nothing_but_yaml_without_any_connection(cluster, tmp_path: Path) -> None:
    ended = cluster("render", "deeplab", "--set", "resources.workers=2", "--set", "train.lr=1e-3")
    assert ended.status == 0, ended.err
    policy, rayjob = yaml.safe_load_all(ended.out)
    assert policy["metadata"]["name"] == rayjob["metadata"]["name"]
    assert rayjob["metadata"]["name"].startswith("deeplab-")
    assert rayjob["spec"]["entrypoint"] == f"visionjobs attempt {rayjob['metadata']['name']}"
    assert spec_in(rayjob)["train"]["lr"] == 0.001
    assert "fetch-code" in ended.out
    assert "/code/" in ended.err
    assert "--no-code" in ended.err
    assert "sentinel-secret" not in ended.out + ended.err
    assert not (tmp_path / "storage").exists()


def test_the_same_id_and_code_print_the_same(cluster) -> None:
    first, second = (cluster("render", "convnet", "--run-id", "convnet-a") for _ in range(2))
    assert first.out == second.out
    assert first.status == 0


def test_the_image_runs_its_own_code_if_asked(cluster) -> None:
    ended = cluster("render", "resnet_aug", "--no-code", "--run-id", "mine", "--backend", "job")
    (job,) = yaml.safe_load_all(ended.out)
    assert (job["kind"], job["metadata"]["name"]) == ("Job", "mine")
    assert job["metadata"]["labels"]["visionjobs/job"] == "resnet_aug"
    assert "fetch-code" not in ended.out
    assert ended.err == ""


def test_on_the_sample(cluster) -> None:
    _, rayjob = yaml.safe_load_all(cluster("render", "convnet", "--sample").out)
    assert spec_in(rayjob)["data"]["name"] == "wildlife-sample"
    ended = cluster("render", "yolo", "--sample")
    assert (ended.status, ended.out) == (2, "")
    assert "other classes" in ended.err


@pytest.mark.parametrize("run_id", ["A", "1a", "a_b", "a-", "a" * 48, "a b"])
def test_an_id_that_cannot_be_one_is_refused(cluster, run_id: str) -> None:
    ended = cluster("render", "convnet", "--run-id", run_id)
    assert (ended.status, ended.out) == (2, "")
    assert f'run id "{run_id}"' in ended.err


def test_without_an_image(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISIONJOBS_IMAGE")
    ended = cluster("render", "convnet")
    assert (ended.status, ended.out) == (2, "")
    assert "make image" in ended.err


def test_what_a_cluster_would_refuse_is_refused_here(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONJOBS_IMAGE", "registry.example/visionjobs:latest")
    ended = cluster("render", "convnet")
    assert (ended.status, ended.out) == (2, "")
    assert "latest" in ended.err


def test_a_folder_of_this_machine_as_storage_is_told(cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VISIONJOBS_STORAGE", str(tmp_path / "storage"))
    ended = cluster("render", "convnet", "--no-code")
    assert ended.status == 0
    assert "pods do not see" in ended.err
    monkeypatch.setenv("VISIONJOBS_STORAGE_FROM_CLUSTER", "s3://vision/team")
    assert cluster("render", "convnet", "--no-code").err == ""


@pytest.mark.parametrize("verb", [("render", "convnet"), ("manifests",)])
def test_a_backend_that_is_none_is_told_in_one_line(cluster, verb: tuple[str, ...]) -> None:
    ended = cluster(*verb, "--backend", "jobb")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == 'error: --backend jobb: expected one of: rayjob, job. Did you mean "job"?'
    assert cluster(*verb, "--backend", "ray").status == 2


@pytest.mark.parametrize("verb", [("render", "convnet", "--no-code"), ("manifests",)])
def test_a_variable_that_nothing_reads_is_told_once(
    cluster, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VISIONJOBS_QUEUES", "a")
    ended = cluster(*verb)
    assert ended.status == 0
    assert ended.err == "warning: VISIONJOBS_QUEUES is set, and nothing reads it. Did you mean VISIONJOBS_QUEUE?"


def test_an_address_that_no_pod_can_use_is_refused(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONJOBS_ENDPOINT_FROM_CLUSTER", "s3.storage:8333")
    ended = cluster("render", "convnet")
    assert (ended.status, ended.out) == (2, "")
    assert "VISIONJOBS_ENDPOINT_FROM_CLUSTER: s3.storage:8333" in ended.err


class TestManifests:
    def test_one_file_a_job(self, cluster, tmp_path: Path) -> None:
        ended = cluster("manifests")
        assert ended.status == 0, ended.err
        names = sorted(path.stem for path in JOBS.glob("*.yaml"))
        assert ended.out.splitlines() == [f"manifests/{name}.yaml" for name in names]
        assert sorted(path.name for path in (tmp_path / "manifests").iterdir()) == [f"{name}.yaml" for name in names]
        text = (tmp_path / "manifests" / "resnet_aug.yaml").read_text()
        assert text.startswith("# Job resnet_aug as run resnet-aug-1,")
        _, rayjob = yaml.safe_load_all(text)
        assert rayjob["metadata"]["name"] == "resnet-aug-1"
        assert "fetch-code" not in text

    def test_again_they_are_the_same_and_a_suffix_makes_new_runs(self, cluster, tmp_path: Path) -> None:
        cluster("manifests")
        first = (tmp_path / "manifests" / "convnet.yaml").read_text()
        cluster("manifests", "--out", "again")
        assert (tmp_path / "again" / "convnet.yaml").read_text() == first
        cluster("manifests", "--out", "next", "--run-id-suffix", "2026-w1", "--backend", "job")
        text = (tmp_path / "next" / "convnet.yaml").read_text()
        assert yaml.safe_load(text)["metadata"]["name"] == "convnet-2026-w1"
        assert "ttlSecondsAfterFinished: null" in text.partition("apiVersion")[0]

    def test_a_job_that_cannot_be_rendered_is_named_and_the_others_are_written(
        self, cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        jobs = tmp_path / "jobs"
        shutil.copytree(JOBS, jobs)
        (jobs / "broken.yaml").write_text("task: classification\n")
        monkeypatch.setenv("VISIONJOBS_JOBS", str(jobs))
        ended = cluster("manifests")
        assert ended.status == 2
        assert "error: broken:" in ended.err
        assert len(ended.out.splitlines()) == len(list(JOBS.glob("*.yaml")))
        assert not (tmp_path / "manifests" / "broken.yaml").exists()

    def test_where_nothing_can_be_written_it_says_so(self, cluster, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        ended = cluster("manifests", "--out", "file")
        assert ended.status == 2
        assert "--out" in ended.err

    def test_without_jobs(self, cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("VISIONJOBS_JOBS", str(tmp_path))
        ended = cluster("manifests")
        assert ended.status == 2
        assert "VISIONJOBS_JOBS" in ended.err
