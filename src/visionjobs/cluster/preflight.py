"""What is looked at in the cluster before anything is applied, and by `doctor` at any time.

    checks = job_checks(cluster, cluster_settings, "rayjob", render(...), secret_keys(spec))
    refuse(checks)

Plain functions, one a question, are in checks_objects.py (namespace, KubeRay, Secret, queue, permissions),
checks_nodes.py, checks_quota.py, checks_storage.py and checks_machine.py. What belongs to a job's inputs (its dataset,
weights and run) is in cli/submit_inputs.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from visionjobs.cluster.check import Check, look
from visionjobs.cluster.checks_nodes import check_nodes
from visionjobs.cluster.checks_objects import (
    KEYS,
    check_accepted,
    check_kuberay,
    check_namespace,
    check_permissions,
    check_priority,
    check_queue,
    check_reached,
    check_secret,
    check_service_account,
    has_identity,
)
from visionjobs.cluster.checks_quota import check_quota
from visionjobs.cluster.client import Cluster, Object
from visionjobs.cluster.demand import pod_demands
from visionjobs.cluster.state import find_job
from visionjobs.settings import ClusterSettings
from visionjobs.spec import JobSpec

SERVICE_ACCOUNT = "visionjobs"
"""Of the pods, unless the overlay names another."""


def secret_keys(spec: JobSpec | None) -> tuple[str, ...]:
    """The keys that the Secret must have: the storage's, and wandb's where the job insists on it."""
    return (*KEYS, "WANDB_API_KEY") if spec is not None and spec.wandb.mode == "online" else KEYS


def cluster_checks(
    cluster: Cluster, settings: ClusterSettings, backend: str, keys: Sequence[str], account: str = SERVICE_ACCOUNT
) -> list[Check]:
    """All that can be told of the cluster without a job. A cluster that does not answer is one failed check.

    account: the pods' service account; another than ours may have an identity that gives them credentials.
    """
    reached = check_reached(cluster)
    if reached.ok is False:
        return [reached]
    checks = [reached, check_namespace(cluster)]
    checks += check_permissions(cluster, backend)
    if backend == "rayjob":
        checks.append(check_kuberay(cluster))
    identity = account != SERVICE_ACCOUNT or has_identity(cluster, account)
    checks.append(check_secret(cluster, settings.secret, keys, identity=identity))
    checks.append(check_service_account(cluster, account))
    if settings.queue:
        checks.append(check_queue(cluster, settings.queue))
    if settings.priority:
        checks.append(check_priority(cluster, settings.priority, queued=settings.queue is not None))
    return checks


def manifest_checks(
    cluster: Cluster, settings: ClusterSettings, objects: Sequence[Object], *, replaces: bool = False
) -> list[Check]:
    """What the very objects that are to be applied ask of the cluster.

    replaces: an object of that name that has ended is still there and will be deleted first, so that the server's
    own judgement would be of a change to that one.
    """
    demands = pod_demands(objects)
    checks = [check_nodes(cluster, demands, settings.autoscaling), check_quota(cluster, demands, settings.queue)]
    return checks if replaces else [*checks, check_accepted(cluster, objects)]


def check_not_live(cluster: Cluster, name: str) -> Check:
    """No job of that name that has not ended: submitting twice would be one too many."""

    def find() -> Check | str:
        state = find_job(cluster, name)
        if state is None or state.ended:
            return f"{name} is free"
        return Check(
            "name", False, f"{name} is on the cluster already ({state.phase})",
            f"`visionjobs status {name}` tells more; `visionjobs cancel {name}` ends it",
        )  # fmt: skip

    return look("name", find)


def cluster_failed(checks: Sequence[Check]) -> bool:
    """Whether it makes no sense to ask further: no answer, no namespace, no permission."""
    vital = ("cluster", "namespace", "permissions", "KubeRay")
    return any(check.ok is False and check.name in vital for check in checks)


def account(objects: Sequence[Object]) -> str:
    """The service account of rendered pods; ours where nothing could be rendered."""
    return next((demand.account for demand in pod_demands(objects) if demand.account), SERVICE_ACCOUNT)
