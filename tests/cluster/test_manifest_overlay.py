"""The overlay file: what it may hold, and how it is merged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rendering import CLUSTER, SKELETONS, env_of, evaluation, main_of, run_of, templates

from visionjobs.cluster.overlay import SECTIONS, merge, pruned, read_overlay
from visionjobs.cluster.render import render
from visionjobs.errors import UserError

FOUR = run_of("deeplab", "resources.workers=4")


@pytest.fixture
def rendered(tmp_path: Path):
    """Render with this text as the overlay."""

    def rendered(text: str, submission=FOUR, backend: str = "rayjob"):
        path = tmp_path / "overlay.yaml"
        path.write_text(text)
        return render(submission, replace(CLUSTER, overlay=path), backend)

    return rendered


def test_each_section_reaches_its_own(rendered) -> None:
    sections = "".join(f"{name}: {{metadata: {{annotations: {{{name}: here}}}}}}\n" for name in SECTIONS)
    policy, rayjob = rendered(sections)

    def reached(thing) -> set[str]:
        return set(thing["metadata"]["annotations"])

    assert reached(policy) == {"all"}
    assert reached(rayjob) == {"all", "rayjob"}
    found = templates([rayjob])
    assert reached(found["submitter"]) == {"pods"}
    assert reached(found["head"]) == {"pods", "workPods"}
    assert reached(found["worker"]) == {"pods", "workPods", "gpuPods"}
    (job,) = rendered(sections, run_of("convnet", "resources.gpus=0"), "job")
    assert reached(job) == {"all", "job"}
    assert reached(job["spec"]["template"]) == {"pods", "workPods"}


def with_amounts(amounts: str) -> str:
    """workPods changes what is asked for; gpuPods leaves a mark."""
    main = f"{{name: main, resources: {{requests: {amounts}, limits: {amounts}}}}}"
    return f"workPods: {{spec: {{containers: [{main}]}}}}\ngpuPods: {{metadata: {{annotations: {{a: here}}}}}}"


@pytest.mark.parametrize("resource", ["nvidia.com/mig-1g.5gb", "amd.com/gpu", "nvidia.com/gpu.shared"])
def test_a_pod_that_another_section_moved_to_other_gpus_is_a_gpu_pod(rendered, resource: str) -> None:
    (job,) = rendered(with_amounts(f"{{nvidia.com/gpu: null, {resource}: '1'}}"), run_of("convnet"), "job")
    pod = job["spec"]["template"]
    assert resource in main_of(pod)["resources"]["limits"]
    assert pod["metadata"]["annotations"] == {"a": "here"}


def test_a_pod_whose_gpu_another_section_took_is_none(rendered) -> None:
    (job,) = rendered(with_amounts("{nvidia.com/gpu: null}"), run_of("convnet"), "job")
    assert "annotations" not in job["spec"]["template"]["metadata"]


def test_the_more_special_section_wins(rendered) -> None:
    sections = [f"{name}: {{spec: {{priorityClassName: {name}}}}}\n" for name in ("gpuPods", "pods", "workPods")]
    found = templates(rendered("".join(sections)))
    assert {role: found[role]["spec"]["priorityClassName"] for role in found} == {
        "submitter": "pods", "head": "workPods", "worker": "gpuPods",
    }  # fmt: skip


def test_the_shipped_one_tolerates_the_taint_of_gpu_nodes_where_a_gpu_is_asked_for() -> None:
    found = templates(render(FOUR, CLUSTER, "rayjob"))
    assert found["worker"]["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert "tolerations" not in found["head"]["spec"]
    assert "tolerations" not in found["submitter"]["spec"]


def test_its_examples_are_overlays_too(tmp_path: Path) -> None:
    """Each commented block, without its comment signs, renders."""
    text = (SKELETONS / "overlay.yaml").read_text().split("# Examples")[1]
    blocks = [block for block in text.split("\n#\n") if "\n# " in block]
    assert len(blocks) == 6
    for number, block in enumerate(blocks):
        lines = [line.removeprefix("# ") for line in block.splitlines()]
        start = next(i for i, line in enumerate(lines) if line.partition(":")[0] in SECTIONS)
        chosen = [line for line in lines[start:] if "A100" not in line]  # one of two nodeSelectors
        path = tmp_path / f"{number}.yaml"
        path.write_text("\n".join(chosen))
        assert read_overlay(path), block
        render(FOUR, replace(CLUSTER, overlay=path), "rayjob")


def test_an_env_entry_is_replaced_whole_and_its_place_kept(rendered) -> None:
    entries = "[{name: AWS_SESSION_TOKEN, value: none}, {name: X, value: y}]"
    text = f"workPods: {{spec: {{containers: [{{name: main, env: {entries}}}]}}}}"
    before, after = (main_of(templates(one)["worker"]) for one in (render(FOUR, CLUSTER, "rayjob"), rendered(text)))
    assert env_of(after) == env_of(before) | {"AWS_SESSION_TOKEN": "none", "X": "y"}
    assert [item["name"] for item in after["env"]] == [*(item["name"] for item in before["env"]), "X"]
    assert {"name": "AWS_SESSION_TOKEN", "value": "none"} in after["env"]  # and no valueFrom beside it


def test_an_emptydir_becomes_a_claim(rendered) -> None:
    text = "workPods: {spec: {volumes: [{name: cache, emptyDir: null, persistentVolumeClaim: {claimName: c}}]}}"
    found = templates(rendered(text))
    for role in ("head", "worker"):
        volumes = {volume["name"]: volume for volume in found[role]["spec"]["volumes"]}
        assert volumes["cache"] == {"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}
    assert [volume["name"] for volume in found["submitter"]["spec"]["volumes"]] == ["tmp"]


def test_null_takes_a_key_away(rendered) -> None:
    (job,) = rendered("job: {spec: {podFailurePolicy: null, podReplacementPolicy: null}}", evaluation(), "job")
    assert not {"podFailurePolicy", "podReplacementPolicy"} & job["spec"].keys()


def test_a_worker_group_is_found_by_its_name(rendered) -> None:
    text = (
        "rayjob: {spec: {rayClusterSpec: {workerGroupSpecs: [{groupName: workers, rayStartParams: {num-gpus: '2'}}]}}}"
    )
    (group,) = rendered(text)[1]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["rayStartParams"]["num-gpus"] == "2"
    assert group["replicas"] == 4


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "pods:\ngpuPods: {}\n"])
def test_an_empty_one_changes_nothing(rendered, text: str) -> None:
    assert rendered(text) == render(FOUR, replace(CLUSTER, overlay=None), "rayjob")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpupods: {}", r'overlay.yaml: gpupods: expected one of all, .*, job. Did you mean "gpuPods"'),
        ("pods: [1]", r"overlay.yaml: pods: expected a mapping, found a list"),
        ("pods: yes", r"overlay.yaml: pods: expected a mapping, found the value True"),
        ("- pods", r"overlay.yaml: expected a mapping, found a list"),
        ("pods: {spec: {containers: {name: main}}}", r"pods.spec.containers: expected a list, found a mapping"),
        ("pods: {spec: [a]}", r"overlay.yaml: pods.spec: expected a mapping, found a list"),
        ("all: {metadata: {labels: cost-center}}", r"all.metadata.labels: expected a mapping, found the value 'c"),
        ("rayjob: {spec: {entrypoint: [sh]}}", r"rayjob.spec.entrypoint: expected the value 'vis.*found a list"),
        (
            "workPods: {spec: {containers: [{name: main, resources: 4}]}}",
            r"workPods.spec.containers\[main\].resources: expected a mapping, found the value 4",
        ),
        ("pods: {spec: {a: 1, a: 2}}", r'overlay.yaml: line 1.*the key "a" is given twice'),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_and_key(rendered, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rendered(text)


def test_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.yaml: cannot be read.*VISIONJOBS_OVERLAY"):
        render(FOUR, replace(CLUSTER, overlay=tmp_path / "gone.yaml"), "job")


def test_merging_changes_neither_side() -> None:
    base, changes = {"a": {"b": [1]}, "n": None}, {"a": {"b": [1, 2], "c": {"d": None}}}
    assert merge(base, changes, "x") == {"a": {"b": [1, 2], "c": {"d": None}}, "n": None}
    merge(base, changes, "x")["a"]["b"].append(9)
    assert (base, changes) == ({"a": {"b": [1]}, "n": None}, {"a": {"b": [1, 2], "c": {"d": None}}})
    assert pruned(merge(base, changes, "x")) == {"a": {"b": [1, 2], "c": {}}}


@pytest.mark.parametrize(
    ("field", "base", "changes", "merged"),
    [
        ("tolerations", [{"key": "a"}], [{"key": "a"}, {"key": "b"}], [{"key": "a"}, {"key": "b"}]),
        ("tolerations", [{"key": "a"}], [{"key": "a", "value": "1"}], [{"key": "a"}, {"key": "a", "value": "1"}]),
        ("drop", ["ALL"], ["ALL"], ["ALL"]),
        (
            "volumeMounts",
            [{"name": "v", "mountPath": "/a"}],
            [{"name": "v", "mountPath": "/b"}, {"name": "w", "mountPath": "/a"}],
            [{"name": "w", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}],
        ),
        ("containers", [{"name": "main", "a": 1}], [{"name": "main", "b": 2}], [{"name": "main", "a": 1, "b": 2}]),
        ("containers", [{"name": "main"}], [{"name": "sidecar"}], [{"name": "main"}, {"name": "sidecar"}]),
    ],
)
def test_lists(field: str, base, changes, merged) -> None:
    assert merge({field: base}, {field: changes}, "x") == {field: merged}
