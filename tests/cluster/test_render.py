"""`render`: what is true of every rendering. The renderings themselves are in test_golden.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import (
    CLUSTER,
    CODE,
    JOBS,
    SKELETONS,
    containers,
    dataset_import,
    env_of,
    evaluation,
    main_of,
    run_of,
    templates,
)

from visionjobs.cluster.manifest_yaml import manifest_yaml
from visionjobs.cluster.render import LONGEST, render
from visionjobs.errors import UserError

FOUR = run_of("deeplab", "resources.workers=4")
JOBS_OF_ONE_POD = {"run": run_of("convnet"), "evaluate": evaluation(), "import": dataset_import()}
PRINT_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def rayjob_of(submission, settings=CLUSTER) -> dict[str, Any]:
    return render(submission, settings, "rayjob")[1]


def as_the_kubelet_reads(text: str, variables: dict[str, str]) -> str:
    """Its expansion of arguments and values: $(NAME), and $$ for $ (third_party/forked/golang/expansion there)."""
    return re.sub(r"\$\$|\$\((\w+)\)", lambda m: "$" if m[0] == "$$" else variables.get(m[1], m[0]), text)


@pytest.mark.parametrize("backend", ["rayjob", "job"])
def test_the_same_arguments_give_the_same_objects(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = render(FOUR, CLUSTER, backend)
    monkeypatch.chdir(tmp_path)
    for name in ("VISIONJOBS_IMAGE", "VISIONJOBS_STORAGE", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "from-the-environment")
    assert render(FOUR, CLUSTER, backend) == first
    assert "from-the-environment" not in manifest_yaml(first)


def test_rendering_imports_no_kubernetes_client() -> None:
    script = "import sys, visionjobs.cluster.render; sys.exit(bool({'kubernetes', 'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_without_an_image_it_says_how_to_get_one() -> None:
    with pytest.raises(UserError, match=r"VISIONJOBS_IMAGE is not set.*make image"):
        render(FOUR, replace(CLUSTER, image=None), "job")


@pytest.mark.parametrize("backend", ["ray", "rayJob", ""])
def test_a_backend_without_manifests_is_refused(backend: str) -> None:
    with pytest.raises(UserError, match="expected rayjob or job"):
        render(FOUR, CLUSTER, backend)


@pytest.mark.parametrize("submission", [evaluation(), dataset_import()])
def test_evaluations_and_imports_are_jobs(submission) -> None:
    (job,) = render(submission, CLUSTER, "rayjob")
    assert job["kind"] == "Job"
    assert main_of(job["spec"]["template"])["command"] == list(submission.command)
    assert (
        not {"VISIONJOBS_SPEC", "WANDB_API_KEY", "VISIONJOBS_NOTIFY_URL"}
        & env_of(main_of(job["spec"]["template"])).keys()
    )


def test_one_pod_has_no_worker_group_and_all_gpus() -> None:
    cluster = rayjob_of(run_of("deeplab", "resources.workers=4", "resources.workers_per_pod=4"))["spec"][
        "rayClusterSpec"
    ]
    assert "workerGroupSpecs" not in cluster
    assert "resources" not in cluster["headGroupSpec"]
    assert main_of(cluster["headGroupSpec"]["template"])["resources"]["limits"]["nvidia.com/gpu"] == "4"


def test_no_worker_lands_on_a_head_beside_a_group() -> None:
    cluster = rayjob_of(FOUR)["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["resources"] == {"CPU": "0"}
    assert "nvidia.com/gpu" not in main_of(cluster["headGroupSpec"]["template"])["resources"]["limits"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (4, 4, 4)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("backend", ["rayjob", "job"])
def test_every_container_asks_for_what_it_may_use(job: str, backend: str) -> None:
    objects = render(run_of(job), CLUSTER, backend)
    for container in containers(objects):
        assert container["resources"]["requests"] == container["resources"]["limits"]
    for template in templates(objects).values():
        sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in template["spec"]["volumes"]}
        assert all(sizes.values())


@pytest.mark.parametrize("submission", [FOUR, run_of("yolo"), run_of("convnet", "resources.memory=1Mi")])
def test_the_object_store_fits_into_shared_memory_and_that_into_the_pod(submission) -> None:
    cluster = rayjob_of(submission)["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]:
        template = group["template"]
        (shm,) = (volume["emptyDir"] for volume in template["spec"]["volumes"] if volume["name"] == "shm")
        assert shm["medium"] == "Memory"
        memory = main_of(template)["resources"]["limits"]["memory"]
        assert int(group["rayStartParams"]["object-store-memory"]) < int(shm["sizeLimit"][:-2]) * 2**20
        assert int(shm["sizeLimit"][:-2]) < int(memory[:-2])


@pytest.mark.parametrize(("attempts", "of_rayjob", "of_job"), [(1, None, 0), (10, 9, 9)])
def test_retries_are_the_attempts_that_are_left(attempts: int, of_rayjob: int | None, of_job: int) -> None:
    submission = run_of("convnet", attempts=attempts)
    assert rayjob_of(submission)["spec"].get("backoffLimit") == of_rayjob
    assert render(submission, CLUSTER, "job")[0]["spec"]["backoffLimit"] == of_job


def test_a_deadline_beyond_what_kubernetes_can_count_is_its_longest() -> None:
    submission = run_of("convnet", seconds=10**10)
    assert rayjob_of(submission)["spec"]["activeDeadlineSeconds"] == LONGEST
    assert render(submission, CLUSTER, "job")[0]["spec"]["activeDeadlineSeconds"] == LONGEST


@pytest.mark.parametrize(("queue", "hours"), [(None, 2), ("gpus", 6)])
def test_pods_that_cannot_start_hold_gpus_no_longer_than_this(queue: str | None, hours: int) -> None:
    """A queue admits all pods of a job together, so that none holds GPUs for those that do not come."""
    spec = rayjob_of(FOUR, replace(CLUSTER, queue=queue))["spec"]
    assert spec["preRunningDeadlineSeconds"] == hours * 3600


def test_only_an_import_unpacks_into_the_cache() -> None:
    """Archives may be larger than the other folder, which is of 20 GiB."""
    pods = {name: render(job, CLUSTER, "job")[0]["spec"]["template"] for name, job in JOBS_OF_ONE_POD.items()}
    folders = {name: env_of(main_of(pod)).get("TMPDIR") for name, pod in pods.items()}
    assert folders == {"run": None, "evaluate": None, "import": "/cache"}
    mounts = {mount["mountPath"] for mount in main_of(pods["import"])["volumeMounts"]}
    assert "/cache" in mounts


def test_without_code_the_image_is_all_there_is() -> None:
    objects = render(run_of("convnet", code=None), CLUSTER, "rayjob")
    text = manifest_yaml(objects)
    assert "/code" not in text
    assert "initContainers" not in text
    with_code = templates(render(FOUR, CLUSTER, "rayjob"))
    for role in ("head", "worker"):
        (init,) = with_code[role]["spec"]["initContainers"]
        assert init["command"] == ["visionjobs", "fetch-code", CODE, "/code"]
        assert env_of(init)["VISIONJOBS_STORAGE"] == "s3://vision/team"
        assert env_of(main_of(with_code[role]))["PYTHONPATH"] == "/code/src"
    assert "initContainers" not in with_code["submitter"]["spec"]


def test_secrets_go_where_they_are_needed_and_only_by_name() -> None:
    found = templates(render(FOUR, replace(CLUSTER, secret="of-the-team"), "rayjob"))
    names = {role: env_of(main_of(template)) for role, template in found.items()}
    storage = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    drivers = {"WANDB_API_KEY", "VISIONJOBS_NOTIFY_URL"}
    assert names["head"].keys() >= storage | drivers
    assert names["worker"].keys() >= storage
    assert not names["worker"].keys() & drivers
    assert not names["submitter"].keys() & (storage | drivers)
    for name in storage | drivers:
        assert names["head"][name] == {"secretKeyRef": {"name": "of-the-team", "key": name, "optional": True}}


def test_the_labels_tell_what_a_pod_is_of() -> None:
    name = f"{'x' * 62}_"  # a dataset may be called so, a label's value may not
    (job,) = render(replace(dataset_import(), job=name), CLUSTER, "job")
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels["app.kubernetes.io/name"] == labels["app.kubernetes.io/managed-by"] == "visionjobs"
        assert labels["visionjobs/job"] == "x" * 62
        assert (labels["visionjobs/kind"], labels["visionjobs/owner"]) == ("import", "ada")
        assert labels["visionjobs/run"] == "import-wildlife"
    assert job["spec"]["template"]["metadata"]["labels"]["visionjobs/role"] == "job"
    assert set(templates(render(FOUR, CLUSTER, "rayjob"))) == {"head", "worker", "submitter"}


def test_queue_and_priority_are_left_out_where_they_are_not_set() -> None:
    text = manifest_yaml(render(FOUR, CLUSTER, "rayjob"))
    assert "kueue" not in text
    assert "priority" not in text
    policy, rayjob = render(FOUR, replace(CLUSTER, queue="q", priority="p"), "rayjob")
    assert rayjob["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"
    assert rayjob["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "p"
    assert "kueue" not in str(policy)
    assert {template["spec"]["priorityClassName"] for template in templates([rayjob]).values()} == {"p"}


ARGUMENTS = ("visionjobs", "attempt", "r-1", "--set", 'wandb.project=it\'s "$HOME" $(HOME) $$ `id` a;b \\ ü & *', "")


def test_the_head_runs_the_very_words_of_the_command(tmp_path: Path) -> None:
    """Kubelet, the submitter's bash, `ray job submit`, which quotes them anew, and the head's sh."""
    import shlex

    entrypoint = rayjob_of(run_of("convnet", command=ARGUMENTS))["spec"]["entrypoint"]
    show = f"{shlex.quote(sys.executable)} -c {shlex.quote(PRINT_ARGUMENTS)} "
    line = as_the_kubelet_reads(entrypoint, {"HOME": "/expanded"})
    submitter = subprocess.run(["bash", "-ec", show + line], capture_output=True, text=True, check=True, cwd=tmp_path)
    words = json.loads(submitter.stdout)
    head = subprocess.run(show + shlex.join(words), shell=True, capture_output=True, text=True, check=True)  # noqa: S602
    assert tuple(json.loads(head.stdout)) == ARGUMENTS


def test_a_job_runs_the_very_words_and_is_given_the_very_values() -> None:
    submission = run_of("convnet", command=ARGUMENTS, spec="published: $(POD_NAME) $$5\n")
    main = main_of(render(submission, CLUSTER, "job")[0]["spec"]["template"])
    variables = {"HOME": "/expanded", "POD_NAME": "expanded"}
    assert tuple(as_the_kubelet_reads(word, variables) for word in main["command"]) == ARGUMENTS
    assert as_the_kubelet_reads(env_of(main)["VISIONJOBS_SPEC"], variables) == submission.spec


class TestSkeletons:
    @pytest.fixture
    def own(self, tmp_path: Path):
        folder = tmp_path / "job"
        shutil.copytree(SKELETONS, folder)
        return replace(CLUSTER, skeletons=folder, overlay=None)

    def test_what_an_administrator_changes_counts_for_all_jobs(self, own) -> None:
        path = own.skeletons / "pod.yaml"
        path.write_text(path.read_text().replace("100Gi", "30Gi"))
        found = templates(render(FOUR, own, "rayjob")) | templates(render(evaluation(), own, "job"))
        for role in ("head", "worker", "job"):
            assert {"name": "cache", "emptyDir": {"sizeLimit": "30Gi"}} in found[role]["spec"]["volumes"]

    @pytest.mark.parametrize("name", ["pod.yaml", "code.yaml", "rayjob.yaml", "networkpolicy.yaml"])
    def test_one_that_is_missing_is_named(self, own, name: str) -> None:
        (own.skeletons / name).unlink()
        with pytest.raises(UserError, match=rf"{name}: cannot be read.*VISIONJOBS_K8S"):
            render(FOUR, own, "rayjob")

    def test_so_is_one_with_a_key_of_another_kind(self, own) -> None:
        path = own.skeletons / "job.yaml"
        path.write_text(path.read_text().replace("template: {}", "template: []"))
        with pytest.raises(UserError, match=r"job.yaml.spec.template: expected a list, found a mapping"):
            render(evaluation(), own, "job")


class TestYaml:
    def test_it_reads_back_as_what_was_rendered(self) -> None:
        objects = render(FOUR, CLUSTER, "rayjob")
        text = manifest_yaml(objects)
        assert list(yaml.safe_load_all(text)) == objects
        assert text.count("\n---\n") == 1
        assert "&id" not in text
        assert "VISIONJOBS_SPEC\n                  value: |\n" in text

    @pytest.mark.parametrize("text", ["12e4", "0o17", "0x1F", "y", "N", "1.5", "true", "12", "", "1:30", "no"])
    def test_text_stays_text_for_readers_that_see_numbers_in_it(self, text: str) -> None:
        """kubectl's reader, other than PyYAML, takes 12e4 and y for a number and a boolean."""
        assert re.fullmatch(r"""a: (".*"|'.*')\n""", manifest_yaml([{"a": text}]))

    @pytest.mark.parametrize("text", ["100Gi", "500m", "visionjobs", "s3://a/b", "/cache"])
    def test_other_text_needs_no_quotes(self, text: str) -> None:
        assert manifest_yaml([{"a": text}]) == f"a: {text}\n"
