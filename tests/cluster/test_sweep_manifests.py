"""A sweep on a cluster: how many pods of which size, for how long, and what its driver is told."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from rendering import CLUSTER, JOBS, ROOT, STORAGE, env_of, main_of, run_of, searched, sweep_of, templates
from schemas import server_problems
from small_cluster import SmallCluster, named, node

from visionjobs.cluster.checks_nodes import check_nodes
from visionjobs.cluster.checks_quota import check_quota
from visionjobs.cluster.demand import GPU, pod_demands, total_demand
from visionjobs.cluster.render import LONGEST, render
from visionjobs.cluster.sizes import SWEEP_HEAD_CPUS, SWEEP_HEAD_MIB, sweep_layout, sweep_pod, sweep_share
from visionjobs.cluster.submission import sweep_submission
from visionjobs.cluster.validate import problems
from visionjobs.errors import UserError
from visionjobs.jobfile import load_job
from visionjobs.spec import JobSpec
from visionjobs.sweeps import new_sweep_id

SWEPT = [job for job in JOBS if load_job(ROOT / "jobs" / f"{job}.yaml").sweep is not None]


@pytest.mark.parametrize("job", SWEPT)
@pytest.mark.parametrize("backend", ["rayjob", "job"])
@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_that_can_be_searched_renders_and_is_accepted(job: str, backend: str, workers: int) -> None:
    spec = load_job(ROOT / "jobs" / f"{job}.yaml", [f"resources.workers={workers}"], sweep=True)
    objects = render(sweep_submission(spec, new_sweep_id(spec.name), STORAGE), CLUSTER, backend)
    assert problems(objects) == []
    assert [problem for obj in objects for problem in server_problems(obj)] == []


@pytest.mark.parametrize(
    ("sets", "at_once", "replicas", "cpus", "gpus"),
    [
        ([], 4, 4, 4, 1),
        (["sweep.at_once=6"], 6, 6, 4, 1),
        (["sweep.at_once=100"], 12, 12, 4, 1),
        (["sweep.trials=3"], 3, 3, 4, 1),
        (["resources.workers=2"], 4, 8, 4, 1),
        (["resources.workers=4", "resources.workers_per_pod=2", "resources.cpus=3"], 4, 8, 6, 2),
        (["resources.workers=2", "resources.workers_per_pod=2"], 4, 4, 8, 2),
        (["resources.gpus=0", "resources.cpus=2"], 4, 4, 2, 0),
        (["resources.gpus=0", "sweep.gpus=1"], 4, 4, 4, 1),
        (["sweep.gpus=0.5", "sweep.at_once=6"], 6, 3, 8, 1),
        (["sweep.gpus=0.5", "sweep.at_once=5"], 5, 3, 8, 1),
        (["sweep.gpus=0.4"], 4, 2, 8, 1),
        (["sweep.gpus=0.3334"], 4, 2, 8, 1),
        (["sweep.gpus=0.3333"], 4, 2, 12, 1),
        (["sweep.gpus=0.7"], 4, 4, 4, 1),
        (["sweep.gpus=0.01"], 4, 1, 16, 1),
    ],
)
def test_the_worker_group_holds_all_trials_at_once(
    sets: list[str], at_once: int, replicas: int, cpus: int, gpus: int
) -> None:
    spec = searched("convnet", "train.batch=64", *sets)
    assert sweep_share(spec).at_once == at_once
    policy, rayjob = render(sweep_submission(spec, "sweep-convnet-1", STORAGE), CLUSTER, "rayjob")
    assert problems([policy, rayjob]) == []
    cluster = rayjob["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (replicas,) * 3
    limits = main_of(group["template"])["resources"]["limits"]
    assert (limits["cpu"], limits.get(GPU, "0")) == (str(cpus), str(gpus))
    head = main_of(cluster["headGroupSpec"]["template"])["resources"]["limits"]
    assert (head["cpu"], GPU in head, cluster["headGroupSpec"]["resources"]) == (
        str(SWEEP_HEAD_CPUS),
        False,
        {"CPU": "0"},
    )
    holds = replicas * cpus
    assert holds >= sweep_share(spec).at_once * sweep_share(spec).share.workers * sweep_share(spec).share.cpus


def memory_of(spec: JobSpec) -> int:
    """MiB of a worker's pod."""
    worker = sweep_layout(spec).worker
    assert worker is not None
    return worker.mib - worker.shm_mib


def test_memory_follows_the_trials_in_a_pod() -> None:
    one, two = searched("convnet", "resources.memory=8Gi"), searched("convnet", "resources.memory=8Gi", "sweep.gpus=.5")
    assert memory_of(two) - memory_of(one) == 8192
    assert sweep_layout(one).head.mib == SWEEP_HEAD_MIB
    pair = searched("convnet", "resources.memory=8Gi", "resources.workers=2")
    assert memory_of(pair) > memory_of(one), "the process that drives a trial's workers may land beside one of them"
    assert sweep_layout(pair).head.mib > SWEEP_HEAD_MIB


def test_trials_that_share_a_device_divide_its_memory() -> None:
    assert sweep_share(searched("convnet")).on_device == 1
    assert sweep_share(searched("convnet", "sweep.gpus=0.25", "sweep.at_once=8")).on_device == 4
    assert sweep_share(searched("convnet", "sweep.gpus=0.25", "sweep.at_once=3")).on_device == 3
    share = sweep_share(searched("convnet", "sweep.gpus=0.25")).share
    assert (share.gpus, type(sweep_share(searched("convnet")).share.gpus)) == (0.25, int)


@pytest.mark.parametrize(
    ("sets", "cpus", "gpus"),
    [
        ([], 16, 4),
        (["sweep.at_once=1"], 4, 1),
        (["resources.workers=2"], 32, 8),
        (["sweep.gpus=0.5", "sweep.at_once=3"], 12, 2),
        (["resources.gpus=0"], 16, 0),
    ],
)
def test_a_job_has_all_trials_in_one_pod(sets: list[str], cpus: int, gpus: int) -> None:
    size = sweep_pod(searched("convnet", *sets))
    assert (size.cpus, size.gpus) == (cpus + SWEEP_HEAD_CPUS, gpus)
    (job,) = render(sweep_of("convnet", *sets), CLUSTER, "job")
    assert job["metadata"]["labels"]["visionjobs/kind"] == "sweep"
    assert main_of(job["spec"]["template"])["command"][:2] == ["visionjobs", "attempt"]


def test_the_driver_alone_is_given_the_job_with_its_sweep_section_and_secrets() -> None:
    submission = sweep_of("deeplab", "resources.workers=2")
    objects = render(submission, CLUSTER, "rayjob")
    by_role = templates(objects)
    head, worker = (env_of(main_of(by_role[role])) for role in ("head", "worker"))
    assert yaml.safe_load(head["VISIONJOBS_SPEC"].replace("$$", "$"))["sweep"]["trials"] == 12
    assert head["VISIONJOBS_RUN"] == submission.name
    assert "WANDB_API_KEY" in head
    assert not {"VISIONJOBS_SPEC", "WANDB_API_KEY", "VISIONJOBS_NOTIFY_URL"} & worker.keys()
    rayjob = objects[-1]
    assert rayjob["spec"]["entrypoint"] == f"visionjobs attempt {submission.name}"
    labels = rayjob["metadata"]["labels"]
    assert (labels["visionjobs/kind"], labels["visionjobs/run"]) == ("sweep", submission.name)


def test_a_run_of_a_job_with_a_sweep_section_does_not_carry_it() -> None:
    run = run_of("convnet", "sweep={metric: val_loss, space: {train.lr: {uniform: [0.001, 0.01]}}}")
    assert yaml.safe_load(run.spec or "").get("sweep") is None


@pytest.mark.parametrize(
    ("sets", "attempt", "attempts", "seconds"),
    [
        (["limits.hours=2", "limits.attempts=5"], 1, 5, 5 * 3 * 3 * 3600),  # 12 trials, 4 at once: 3 rounds
        (["limits.hours=2", "limits.attempts=5"], 4, 2, 2 * 3 * 3 * 3600),
        (["limits.hours=2", "limits.attempts=5", "sweep.at_once=5"], 5, 1, 3 * 3 * 3600),
        (["limits.attempts=5"], 1, 5, 7 * 86400),
    ],
)
def test_it_may_live_for_its_trials_one_after_the_other(
    sets: list[str], attempt: int, attempts: int, seconds: int
) -> None:
    submission = sweep_submission(searched("convnet", *sets), "sweep-convnet-1", STORAGE, attempt=attempt)
    assert (submission.attempts, submission.seconds) == (attempts, seconds)


def test_its_life_fits_into_what_kubernetes_counts() -> None:
    spec = searched("convnet", "limits.hours=100000", "limits.attempts=1000", "sweep.trials=10000")
    rayjob: dict[str, Any] = render(sweep_submission(spec, "sweep-convnet-1", STORAGE), CLUSTER, "rayjob")[1]
    assert rayjob["spec"]["activeDeadlineSeconds"] == LONGEST


def test_a_job_without_a_section_is_refused() -> None:
    spec = searched("convnet").model_copy(update={"sweep": None})
    with pytest.raises(UserError, match="convnet has no sweep: section"):
        sweep_submission(spec, "sweep-convnet-1", STORAGE)


def test_more_trials_at_once_than_fit_are_told_with_the_key_to_lower() -> None:
    demands = pod_demands(render(sweep_of("convnet"), CLUSTER, "rayjob"))
    hard = {"status": {"hard": {"requests.nvidia.com/gpu": "2"}, "used": {}}}
    refused = check_quota(SmallCluster({"ResourceQuota": [named("team", spec={}) | hard]}), demands, None)
    assert refused.ok is False
    assert "needs 4 GPUs" in refused.message
    assert "sweep.at_once" in refused.hint
    few = check_nodes(SmallCluster({"Node": [node(gpus="2")]}), demands, False)
    assert (few.ok, "sweep.at_once" in few.hint) == (False, True)
    in_one = pod_demands(render(sweep_of("convnet"), CLUSTER, "job"))
    small = check_nodes(SmallCluster({"Node": [node(gpus="2")]}), in_one, False)
    assert (small.ok, "sweep.at_once" in small.hint) == (False, True)


def test_what_all_pods_ask_for_is_told_in_one_line() -> None:
    told = total_demand(pod_demands(render(sweep_of("convnet"), CLUSTER, "rayjob")))
    layout = sweep_of("convnet").layout
    assert layout is not None and layout.worker is not None
    cpus = layout.head.cpus + layout.replicas * layout.worker.cpus
    assert told.startswith(f"6 pods (1 head, 4 worker, 1 submitter): {cpus}")
    assert ", 4 GPUs, " in told
    assert " GiB of memory" in told
