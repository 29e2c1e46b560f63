"""Checks of what a job needs in the cluster besides nodes: namespace, KubeRay, Secret, queue, permissions."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from visionjobs.cluster.check import ADMINISTRATOR, Check, look
from visionjobs.cluster.client import Cluster, ForbiddenError, NotFoundError, Object
from visionjobs.errors import UserError

INSTALL = "whoever runs the cluster: make cluster-install"

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Of the Secret, which every pod needs for the storage."""

NEWEST_FIELD = "preRunningDeadlineSeconds"
"""Of a RayJob's spec: KubeRay has it since 1.6; one that lacks it would drop it, and others, without a word."""

IDENTITIES = ("eks.amazonaws.com/role-arn", "iam.gke.io/", "azure.workload.identity/", "pod-identity.alibabacloud.com/")
"""How the annotations begin by which clouds bind a service account to an identity of theirs."""

Need = tuple[str, str, str | None]
"""verb, kind, subresource."""


def check_image(image: str | None) -> Check:
    """Set, and a reference that means the same image tomorrow."""
    if not image:
        return Check(
            "image", False, "VISIONJOBS_IMAGE is not set", "set it to what `make push` pushed, REGISTRY/NAME:TAG"
        )
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not digest and tag in ("", "latest"):
        what = f"the tag latest ({image})" if tag else f"{image}, which has no tag: that means latest"
        return Check("image", False, f"VISIONJOBS_IMAGE is {what}", "give the tag or digest of one build")
    return Check("image", True, image)


def check_reached(cluster: Cluster) -> Check:
    """Whether the cluster answers, and knows this user."""

    def find() -> str:
        cluster.may("get", "Pod")
        return f"{cluster.server} answers"

    return look("cluster", find)


def check_namespace(cluster: Cluster) -> Check:
    """There."""

    def find() -> Check | str:
        found = cluster.get("Namespace", cluster.namespace)
        if found is None:
            return Check("namespace", False, f"there is no namespace {cluster.namespace}", f"{INSTALL}, or set "
                         "VISIONJOBS_NAMESPACE")  # fmt: skip
        if found.get("status", {}).get("phase") == "Terminating":
            return Check("namespace", False, f"the namespace {cluster.namespace} is being deleted", INSTALL)
        return cluster.namespace

    return look("namespace", find)


def check_kuberay(cluster: Cluster) -> Check:
    """RayJob served as ray.io/v1, by a KubeRay that knows all the fields that are sent."""

    def find() -> Check | str:
        try:
            cluster.list("RayJob", limit="1")
        except NotFoundError:
            return Check("KubeRay", False, "the cluster does not serve RayJob (ray.io/v1)", "install KubeRay 1.7, or "
                         "submit with --backend job, which needs none")  # fmt: skip
        return _kuberay_version(cluster)

    return look("KubeRay", find)


def _kuberay_version(cluster: Cluster) -> Check | str:
    try:
        definition = cluster.get("CustomResourceDefinition", "rayjobs.ray.io") or {"spec": {"versions": []}}
    except ForbiddenError:
        return "the cluster serves RayJob"
    for version in definition["spec"]["versions"]:
        schema = version.get("schema", {}).get("openAPIV3Schema", {}).get("properties", {}).get("spec", {})
        if version["name"] == "v1" and NEWEST_FIELD in schema.get("properties", {}):
            return "the cluster serves RayJob with all fields that are sent (KubeRay 1.6 or newer)"
    return Check("KubeRay", False, f"the cluster's RayJob has no {NEWEST_FIELD}: its KubeRay is older than 1.6",
                 "upgrade KubeRay and its CRDs to 1.7, or submit with --backend job")  # fmt: skip


def check_secret(cluster: Cluster, name: str, keys: Sequence[str], identity: bool = False) -> Check:
    """There, with these keys. Nobody reads a value.

    identity: pods may get the storage's credentials through their service account: without keys is a warning.
    """

    def find() -> Check | str:
        secret = cluster.get("Secret", name)
        data = (secret or {}).get("data") or {}
        missing = ", ".join(key for key in keys if not data.get(key))
        if missing:
            said = f'the Secret "{name}" lacks {missing}' if secret else f'there is no Secret "{name}" with {missing}'
            how = "make it with these keys as in k8s/cluster/secret.example.yaml, or set VISIONJOBS_SECRET"
            if identity:
                how = "right only if the service account's identity gives pods the storage's credentials"
            return Check("secret", None if identity else False, said, how)
        return f'"{name}" has {", ".join(keys)}'

    return look("secret", find)


def has_identity(cluster: Cluster, name: str) -> bool:
    """Whether the pods' service account is bound to an identity of the cloud, which gives pods the credentials."""
    try:
        account = cluster.get("ServiceAccount", name) or {}
    except ForbiddenError:
        return False
    annotations = account.get("metadata", {}).get("annotations") or {}
    return any(key.startswith(IDENTITIES) for key in annotations)


def check_service_account(cluster: Cluster, name: str) -> Check:
    """There: no pod is made without."""

    def find() -> Check | str:
        if cluster.get("ServiceAccount", name) is None:
            return Check(
                "service account", False, f'there is no ServiceAccount "{name}" in {cluster.namespace}', INSTALL
            )
        return name

    return look("service account", find)


def check_queue(cluster: Cluster, queue: str) -> Check:
    """Kueue's LocalQueue there, and neither it nor its ClusterQueue stopped."""
    hint = "set VISIONJOBS_QUEUE to a LocalQueue of the namespace, or to nothing"

    def find() -> Check | str:
        try:
            queues = {found["metadata"]["name"]: found for found in cluster.list("LocalQueue")}
        except NotFoundError:
            return _older_kueue(cluster, queue, hint)
        if queue not in queues:
            there = f"those there are: {', '.join(queues)}" if queues else "it has none"
            return Check("queue", False, f'{cluster.namespace} has no LocalQueue "{queue}" ({there})', hint)
        for condition in (queues[queue].get("status") or {}).get("conditions") or []:
            if condition["type"] == "Active" and condition["status"] == "False":
                told = " ".join(str(condition.get("message", "")).split())
                return Check("queue", None, f'"{queue}" admits nothing now: {told}', ADMINISTRATOR)
        return f'LocalQueue "{queue}"'

    return look("queue", find)


def _older_kueue(cluster: Cluster, queue: str, hint: str) -> Check:
    try:
        definition = cluster.get("CustomResourceDefinition", "localqueues.kueue.x-k8s.io")
    except ForbiddenError:
        definition = None
    if definition is None:
        return Check("queue", False, f'VISIONJOBS_QUEUE is "{queue}", and the cluster does not serve Kueue', hint)
    versions = ", ".join(version["name"] for version in definition["spec"]["versions"])
    return Check("queue", None, f'whether there is a LocalQueue "{queue}" cannot be told: this Kueue serves {versions} '
                 "only, and v1beta2 is asked for", "upgrade Kueue to 0.15 or newer")  # fmt: skip


def check_priority(cluster: Cluster, name: str, *, queued: bool) -> Check:
    """The PriorityClass there: no pod is made without; and for a queue Kueue's class of the same name."""

    def find() -> Check | str:
        for kind in ("PriorityClass", "WorkloadPriorityClass") if queued else ("PriorityClass",):
            if cluster.get(kind, name) is None:
                return Check("priority", False, f'there is no {kind} "{name}"', f"{INSTALL}, or set "
                             "VISIONJOBS_PRIORITY to visionjobs-high, -normal or -low")  # fmt: skip
        return name

    return look("priority", find)


def needs(backend: str) -> list[Need]:
    """What submitting, and putting a run that ended aside, takes."""
    kind = "RayJob" if backend == "rayjob" else "Job"
    verbs = ("get", "list", "create", "patch", "delete")
    policy: list[Need] = [(verb, "NetworkPolicy", None) for verb in ("get", "create", "patch", "delete")]
    return [(verb, kind, None) for verb in verbs] + (policy if backend == "rayjob" else []) + [("list", "Pod", None)]


TOO_OLD = "the overlay is wrong, or the cluster too old: Kubernetes 1.29 and KubeRay 1.7 are expected (k8s/job)"

AFTERWARDS: list[Need] = [
    ("get", "Pod", "log"), ("list", "Event", None), ("create", "Pod", "portforward"), ("list", "RayCluster", None),
]  # fmt: skip
"""What status, logs and dashboard need besides."""


def check_permissions(cluster: Cluster, backend: str) -> list[Check]:
    """Whether this user may submit, and may follow the job afterwards (a warning)."""

    def refused(wanted: Sequence[Need]) -> str:
        with ThreadPoolExecutor(8) as pool:
            allowed = pool.map(lambda need: cluster.may(need[0], need[1], subresource=need[2]), wanted)
            pairs = zip(wanted, allowed, strict=True)
            return ", ".join(f"{verb} {_named(kind, part)}" for (verb, kind, part), may in pairs if not may)

    def to_submit() -> Check | str:
        if said := refused(needs(backend)):
            return Check("permissions", False, f"this user may not {said} in {cluster.namespace}", ADMINISTRATOR)
        return f"this user may submit to {cluster.namespace}"

    def to_follow() -> Check | str:
        wanted = [need for need in AFTERWARDS if backend == "rayjob" or need[1] != "RayCluster"]
        if said := refused(wanted):
            less = f"this user may not {said}: status, logs or dashboard will tell less"
            return Check("permissions to follow", None, less, ADMINISTRATOR)
        return "status, logs and dashboard will work"

    return [look("permissions", to_submit), look("permissions to follow", to_follow)]


def _named(kind: str, subresource: str | None) -> str:
    return f"{kind}/{subresource}" if subresource else kind


def check_accepted(cluster: Cluster, objects: Sequence[Object]) -> Check:
    """The server's own judgement of the very objects that are to be applied, storing nothing: schema, webhooks."""

    def find() -> Check | str:
        try:
            for obj in objects:
                cluster.apply(obj, dry_run=True)
        except ForbiddenError:
            raise
        except UserError as error:
            said = " ".join(str(error).split())
            if "does not support dry run" in said:  # of a webhook that has side effects
                return Check("manifest", None, said)
            return Check("manifest", False, said, TOO_OLD if "not declared in schema" in said else "")
        return "the cluster would take " + " and ".join(obj["kind"] for obj in objects)

    return look("manifest", find)
