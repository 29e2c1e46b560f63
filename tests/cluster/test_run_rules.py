"""What an overlay may not take away from a run's pods: authentication, labels, the place of Ray, a fitting store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import CLUSTER, env_of, main_of, run_of, templates

from visionjobs.cluster.render import render
from visionjobs.cluster.validate import problems
from visionjobs.settings import ClusterSettings

FOUR = run_of("deeplab", "resources.workers=4")


@pytest.fixture
def overlaid(tmp_path: Path):
    """Settings with an overlay of these sections."""

    def make(**sections: Any) -> ClusterSettings:
        path = tmp_path / "overlay.yaml"
        path.write_text(yaml.safe_dump(sections))
        return replace(CLUSTER, overlay=path)

    return make


def env(name: str, value: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "env": [{"name": name, "value": value}]}]}}


def ports(given: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {"workPods": {"spec": {"containers": [{"name": "main", "ports": given}]}}}


@pytest.mark.parametrize("backend", ["rayjob", "job"])
def test_what_is_rendered_is_right(backend: str) -> None:
    for submission in (FOUR, run_of("convnet"), run_of("yolo", "resources.workers=8", "resources.workers_per_pod=4")):
        assert problems(render(submission, CLUSTER, backend)) == []


@pytest.mark.parametrize("name", ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_authentication_cannot_be_taken_away(overlaid, name: str) -> None:
    """KubeRay sets them only where they are absent."""
    found = problems(render(FOUR, overlaid(pods=env(name, "disabled")), "rayjob"))
    told = [problem for problem in found if "take the place of the token" in problem]
    assert len(told) == 3, "head, worker and submitter"
    assert all(name in problem and "overlay" in problem for problem in told)


@pytest.mark.parametrize(
    ("overlay", "told"),
    [
        ({"pods": {"metadata": {"labels": {"visionjobs/run": None}}}}, "visionjobs/run is None"),
        ({"pods": {"metadata": {"labels": {"visionjobs/run": "other"}}}}, "visionjobs/run is other, and the run is"),
        ({"workPods": {"metadata": {"labels": {"visionjobs/role": "trainer"}}}}, "trainer, and the pod is a head"),
        ({"gpuPods": {"metadata": {"labels": {"visionjobs/role": "head"}}}}, "role is head, and the pod is a worker"),
        ({"pods": {"metadata": {"labels": {"visionjobs/role": None}}}}, "role is None, and the pod is a submitter"),
        (ports([{"name": "dashboard", "containerPort": 9000}]), "lacks dashboard (8265)"),
        ({"rayjob": {"spec": {"activeDeadlineSeconds": 2**31}}}, "to 2147483647: change limits.hours"),
        ({"workPods": {"spec": {"restartPolicy": "Always"}}}, "restartPolicy is Always"),
        ({"gpuPods": {"spec": {"tolerations": [{"key": "a", "operator": "Exist"}]}}}, "is Exist; expected one"),
        ({"gpuPods": {"spec": {"tolerations": [{"key": "a", "effect": "NoShedule"}]}}}, "effect is NoShedule"),
        (ports(None), "lacks dashboard (8265)"),
        ({"workPods": {"spec": {"volumes": [{"name": "shm", "emptyDir": {"sizeLimit": "100Mi"}}]}}}, "holds 100 MiB"),
        (
            {"workPods": {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "16"}}}]}}},
            "cpu is requested as 16",
        ),
    ],
)  # fmt: skip
def test_what_is_taken_away_is_told(overlaid, overlay: dict[str, Any], told: str) -> None:
    found = problems(render(FOUR, overlaid(**overlay), "rayjob"))
    assert any(told in problem for problem in found), found


def test_another_container_may_not_come_first(overlaid) -> None:
    """KubeRay starts Ray in the first one."""
    objects = render(FOUR, CLUSTER, "rayjob")
    pod = templates(objects)["head"]["spec"]
    pod["containers"].insert(0, pod["containers"][0] | {"name": "proxy"})
    assert any("begins with proxy, and Ray is started" in problem for problem in problems(objects))


def test_the_dashboards_port_is_found_by_its_name(overlaid) -> None:
    objects = render(FOUR, CLUSTER, "rayjob")
    given = main_of(templates(objects)["head"])["ports"]
    assert problems(objects) == []
    next(port for port in given if port["name"] == "dashboard")["name"] = "web"
    assert any("lacks dashboard (8265)" in problem for problem in problems(objects))


def test_a_longer_grace_period_of_the_overlay_is_used(overlaid) -> None:
    long = overlaid(workPods={"spec": {"terminationGracePeriodSeconds": 900}})
    head = env_of(main_of(templates(render(FOUR, long, "rayjob"))["head"]))
    assert head["VISIONJOBS_STOP_SECONDS"] == head["RAY_JOB_STOP_WAIT_TIME_S"] == "890"
    assert env_of(main_of(templates(render(FOUR, long, "job"))["job"]))["VISIONJOBS_STOP_SECONDS"] == "890"
    assert env_of(main_of(templates(render(FOUR, CLUSTER, "rayjob"))["worker"]))["VISIONJOBS_STOP_SECONDS"] == "110"


@pytest.mark.parametrize("queue", ["A_b", "Gpus", "-x", "a..b"])
def test_a_queue_that_no_local_queue_can_be(queue: str) -> None:
    found = problems(render(FOUR, replace(CLUSTER, queue=queue), "rayjob"))
    assert any("VISIONJOBS_QUEUE" in problem for problem in found)
    assert problems(render(FOUR, replace(CLUSTER, queue="team.gpus-2"), "rayjob")) == []


@pytest.mark.parametrize(
    "value",
    ["ghp_0123456789abcdef0123456789", "https://0123456789abcdef@host/x", "https://hooks.slack.com/services/T0/B0/x"],
)
def test_secrets_are_known_by_their_looks(overlaid, value: str) -> None:
    found = problems(render(FOUR, overlaid(workPods=env("SOMETHING", value)), "rayjob"))
    assert any("put it into the Secret" in problem for problem in found)
    assert all(value not in problem for problem in found)


@pytest.mark.parametrize(
    "name", ["SLACK_WEBHOOK", "WEBHOOK_URL", "MYAPIKEY", "DB_AUTH", "BASIC_AUTH", "GITHUB_PAT", "HF_TOKEN"]
)
def test_secrets_are_known_by_their_names(overlaid, name: str) -> None:
    found = problems(render(FOUR, overlaid(workPods=env(name, "x")), "rayjob"))
    assert any(f"env.{name} holds a credential" in problem for problem in found)


@pytest.mark.parametrize("words", [["--token", "hunter2"], ["--api-key=hunter2"], ["-x", "--db-password", "hunter2"]])
@pytest.mark.parametrize("key", ["command", "args"])
def test_secrets_in_arguments(overlaid, key: str, words: list[str]) -> None:
    sidecar = {"spec": {"containers": [{"name": "proxy", key: words}]}}
    found = problems(render(FOUR, overlaid(workPods=sidecar), "rayjob"))
    assert any(f"[proxy].{key} has --" in problem and "secretKeyRef" in problem for problem in found)
    assert all("hunter2" not in problem for problem in found)


@pytest.mark.parametrize(
    "words", [["--token", "$(TOKEN)"], ["--token=$(TOKEN)"], ["--sort-key", "date"], ["--token"], ["--auth", "--debug"]]
)
def test_arguments_without_a_secret(overlaid, words: list[str]) -> None:
    sidecar = {"spec": {"containers": [{"name": "proxy", "args": words}]}}
    found = problems(render(FOUR, overlaid(workPods=sidecar), "rayjob"))
    assert not any("credential" in problem for problem in found)
