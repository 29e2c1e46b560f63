"""The Kubernetes API as plain JSON: apply, get, list, delete, watch, and the logs of pods.

Objects are dicts as in YAML, so that what `render` prints is what is applied, and kinds that the client library does
not know (RayJob, Kueue's) need no other code. Failures are a UserError (wrong credentials, not permitted, refused as
invalid: exit 2) or a ClusterError (no answer: exit 4), whose message names the object and what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from visionjobs.errors import ClusterError, UserError, VisionjobsError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]
"""A Kubernetes object, as JSON."""

MANAGER = "visionjobs"
"""The field manager of server-side apply."""

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0

FOLLOW_SECONDS = 60.0
"""Longest silence of a log that is followed."""


class Kind(NamedTuple):
    """Where the API serves a kind."""

    api: str
    plural: str
    namespaced: bool = True


KINDS = {
    "Event": Kind("v1", "events"),
    "Namespace": Kind("v1", "namespaces", False),
    "Node": Kind("v1", "nodes", False),
    "Pod": Kind("v1", "pods"),
    "ResourceQuota": Kind("v1", "resourcequotas"),
    "Secret": Kind("v1", "secrets"),
    "ServiceAccount": Kind("v1", "serviceaccounts"),
    "Job": Kind("batch/v1", "jobs"),
    "NetworkPolicy": Kind("networking.k8s.io/v1", "networkpolicies"),
    "PriorityClass": Kind("scheduling.k8s.io/v1", "priorityclasses", False),
    "CustomResourceDefinition": Kind("apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "SelfSubjectAccessReview": Kind("authorization.k8s.io/v1", "selfsubjectaccessreviews", False),
    "RayCluster": Kind("ray.io/v1", "rayclusters"),
    "RayJob": Kind("ray.io/v1", "rayjobs"),
    "LocalQueue": Kind("kueue.x-k8s.io/v1beta2", "localqueues"),
    "Workload": Kind("kueue.x-k8s.io/v1beta2", "workloads"),
    "WorkloadPriorityClass": Kind("kueue.x-k8s.io/v1beta2", "workloadpriorityclasses", False),
}
"""Every kind that is read or written here."""


@dataclass(frozen=True)
class Cluster:
    """One namespace of the cluster of a kubeconfig's context, made by kubeconfig.connect. Threads may share it."""

    api: ApiClient
    namespace: str
    server: str

    def apply(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply; returns the object as stored. Another manager's fields are taken over.

        dry_run: the server checks it (schema, quotas of objects, admission webhooks) and stores nothing.
        """
        kind, name = obj["kind"], obj["metadata"]["name"]
        query = {"fieldManager": MANAGER, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        return self._json("PATCH", self._path(kind, name), query, obj, "application/apply-patch+yaml")

    def create(self, obj: Object) -> Object:
        """Create; raises ConflictError where there is one of that name."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}  # else it drops a field that it does not know
        return self._json("POST", self._path(obj["kind"]), query, obj)

    def patch(self, kind: str, name: str, changes: Object) -> Object:
        """Merge `changes` into an object (JSON merge patch)."""
        return self._json("PATCH", self._path(kind, name), {}, changes, "application/merge-patch+json")

    def get(self, kind: str, name: str) -> Object | None:
        """The object, or None where there is none of that name."""
        try:
            return self._json("GET", self._path(kind, name))
        except NotFoundError:
            return None

    def list(self, kind: str, labels: Mapping[str, str] | None = None, **query: str) -> list[Object]:
        """All objects of a kind with these labels, as they are at one moment.

        Raises NotFoundError where the cluster does not serve the kind.
        """
        selector = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())} if labels else {}
        items: list[Object] = self._json("GET", self._path(kind), selector | query)["items"]
        return items

    def delete(self, kind: str, name: str, **preconditions: str) -> bool:
        """Delete an object and, in the background, all that it owns. Returns whether there was one.

        preconditions: uid and resourceVersion that it must have. Raises ConflictError where it has others.
        """
        options: Object = {"propagationPolicy": "Background", "preconditions": preconditions}
        try:
            self._json("DELETE", self._path(kind, name), body=options)
        except NotFoundError:
            return False
        return True

    def watch(self, kind: str, labels: Mapping[str, str], seconds: int) -> Iterator[tuple[str, Object]]:
        """(ADDED | MODIFIED | DELETED, object) as they come, beginning with those that are there, for `seconds`."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        query = {"labelSelector": selector, "watch": "true", "timeoutSeconds": str(seconds)}
        path = self._path(kind)
        with _explained(f"watch {path}", self), self._stream(path, query, seconds + 5) as response:
            for line in _lines(response):
                event = json.loads(line)
                yield event["type"], event["object"]

    def pod_log(
        self, pod: str, container: str, *, follow: bool = False, since: str | None = None, timestamps: bool = False
    ) -> Iterator[bytes]:
        """A container's log as it is, line by line with the line ends; with `follow` until the container ends.

        since: RFC 3339 time, of which whole seconds count; timestamps: an RFC 3339 time and a blank before each line.
        Raises NotFoundError where the pod is gone, UserError where it has not started, and ClusterError where it is
        followed and silent for FOLLOW_SECONDS: then the connection may be dead, and is to be made again.
        """
        query = {"container": container} | ({"follow": "true"} if follow else {})
        if since is not None:
            query["sinceTime"] = since
        if timestamps:
            query["timestamps"] = "true"
        path = f"{self._path('Pod', pod)}/log"
        seconds = FOLLOW_SECONDS if follow else READ_SECONDS
        with _explained(f"log of pod {pod}", self), self._stream(path, query, seconds) as response:
            yield from _lines(response)

    def may(self, verb: str, kind: str, *, subresource: str | None = None, name: str | None = None) -> bool:
        """Whether the cluster lets this user do `verb` (get, list, create, patch, delete ...) to objects of a kind."""
        group = KINDS[kind].api.rpartition("/")[0]
        asked = {"namespace": self.namespace, "verb": verb, "group": group, "resource": KINDS[kind].plural}
        asked |= {"subresource": subresource} if subresource else {}
        asked |= {"name": name} if name else {}
        review = {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
        review["apiVersion"] = KINDS["SelfSubjectAccessReview"].api
        return bool(self.create(review)["status"]["allowed"])

    def _path(self, kind: str, name: str | None = None) -> str:
        where = KINDS[kind]
        root = "/api/v1" if where.api == "v1" else f"/apis/{where.api}"
        scope = f"/namespaces/{self.namespace}" if where.namespaced else ""
        return f"{root}{scope}/{where.plural}" + (f"/{name}" if name else "")

    def _json(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:  # fmt: skip
        with _explained(f"{method} {path}", self):
            response = self._open(method, path, query or {}, body, content_type)
            with closing(response):
                result: Object = json.loads(response.read())
        return result

    def _stream(self, path: str, query: Mapping[str, str], read_seconds: float) -> closing[Any]:
        """The response to a GET that goes on, closed after the block."""
        return closing(self._open("GET", path, query, read_seconds=read_seconds))

    def _open(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None = None,
        content_type: str = "application/json", read_seconds: float | None = READ_SECONDS,
    ) -> Any:  # fmt: skip
        """The HTTP response, unread."""
        request = self.api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json, */*", "Content-Type": content_type},
            body=body if "json" in content_type else json.dumps(body),  # it writes JSON itself, where it knows the type
            auth_settings=["BearerToken"],
        )
        response = self.api.call_api(*request, _request_timeout=(CONNECT_SECONDS, read_seconds)).response
        if not 200 <= response.status < 300:
            with closing(response):
                raise _refused(response.status, response.read(), f"{method} {path}", self)
        return response


class NotFoundError(UserError):
    """The cluster has no such object, or does not serve the kind."""


class ForbiddenError(UserError):
    """This user may not do that on the cluster."""


class ConflictError(UserError):
    """There is an object of that name already, or it changed meanwhile."""


def _lines(response: Any) -> Iterator[bytes]:
    """Lines of a streamed response with their ends, as they come; the last one may have none."""
    rest = b""
    for chunk in response.stream(64 * 1024, decode_content=True):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


@contextmanager
def _explained(what: str, cluster: Cluster) -> Iterator[None]:
    """Failures of the connection as a ClusterError that says which server was asked what."""
    import urllib3
    from kubernetes.client import ApiException

    try:
        yield
    except VisionjobsError:
        raise
    except (urllib3.exceptions.HTTPError, ApiException, OSError, ValueError) as error:
        reason = _reason(error)
        advice = "check the CA in the kubeconfig" if "ertificate" in reason else "is it up, and is this its kubeconfig?"
        raise ClusterError(f"the cluster {cluster.server} does not answer ({what}: {reason}); {advice}") from error


def _reason(error: Exception) -> str:
    """The name of what went wrong with a connection; of certificates, what is wrong with them."""
    said = re.search(r"certificate verify failed[^(\n]*|[Cc]ertificate[^(\n]*", str(error))
    return said[0].strip(": ") if said else type(error).__name__


def _refused(status: int, body: bytes, what: str, cluster: Cluster) -> VisionjobsError:
    """The error that a refusal stands for, with the server's own words."""
    try:
        message = str(json.loads(body).get("message") or "")
    except (ValueError, AttributeError):
        message = body.decode(errors="replace")[:300]
    match status:
        case 401:
            return UserError(f"{cluster.server} does not accept these credentials: log in again ({what})")
        case 403:
            return _forbidden(message, cluster)
        case 404:
            return NotFoundError(f"{message.strip() or 'not found'} ({what})")
        case 409:
            return ConflictError(message or what)
        case 400 | 422 | 500 if status != 500 or "typed patch object" in message:  # 500: a field that it does not know
            return UserError(f"the cluster refuses it: {message or what}")
        case _:
            return ClusterError(f"the cluster answers {status} to {what}: {message}")


def _forbidden(message: str, cluster: Cluster) -> UserError:
    """The kinds of 403: nobody is logged in, a rule of the namespace is in the way, or this user has no right."""
    if "system:anonymous" in message:
        return UserError(
            f"{cluster.server} does not know who asks: the kubeconfig's user gave no credentials; log in again, and "
            "see that its login program is installed (kubectl get pods tells more)"
        )
    if "exceeded quota" in message:
        return UserError(f"the quota of the namespace {cluster.namespace} does not allow it: {message}")
    if "violates PodSecurity" in message:
        return UserError(f"the Pod Security of the namespace {cluster.namespace} does not allow it: {message}")
    return ForbiddenError(
        f"not permitted: {message}. Ask whoever runs the cluster for the role visionjobs-submitter in the namespace "
        f"{cluster.namespace} (k8s/cluster)"
    )
