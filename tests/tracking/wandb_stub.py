"""A server on loopback that speaks as much of wandb's protocol as wandb 0.31 asks for, and remembers what it was told.

Three kinds of requests: GraphQL for runs, files and artifacts (`/graphql`), the stream of history and summary
(`/files/<entity>/<project>/<run>/file_stream`), and PUTs to the upload addresses that it gave out (`/upload/...`).
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import quote, unquote

ENTITY = "somebody"


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class StoredRun:
    """What the server holds of a run. group: of runs, that it is one of; files: path -> contents; exit_code: of the
    last stream that was completed."""

    project: str
    entity: str | None = None
    group: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows, in the order of the stream."""
        return [json.loads(line) for line in self.lines]


class WandbStub:
    """`with WandbStub(key) as stub:` listens on `stub.url`. Any other key is refused with 401.

    refuse: path prefix -> HTTP status that requests to it are answered with from now on.
    """

    def __init__(self, key: str, port: int = 0) -> None:
        self.key = key
        self.runs: dict[str, StoredRun] = {}
        self.artifacts: dict[str, dict[str, bytes]] = {}
        self.requests: list[Request] = []
        self.refuse: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As a server that dies: its port refuses connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request) -> tuple[int, Any]:
        """HTTP status and JSON body."""
        with self._lock:
            self.requests.append(request)
            for prefix, status in self.refuse.items():
                if request.path.startswith(prefix):
                    return status, {"error": "refused"}
            if request.path.startswith("/upload/"):  # an address that was signed: no key
                return self._upload(request)
            if request.headers.get("Authorization") != _basic(self.key):
                return 401, {"error": "invalid key"}
            if request.path == "/graphql":
                return self._graphql(json.loads(request.body))
            if request.path.endswith("/file_stream"):
                return self._stream(request.path.split("/")[-2], json.loads(request.body))
            return 404, {"error": f"the stub does not know {request.method} {request.path}"}

    def _upload(self, request: Request) -> tuple[int, Any]:
        kind, owner, name = request.path.removeprefix("/upload/").split("/", 2)
        files = self.runs[unquote(owner)].files if kind == "run" else self.artifacts[unquote(owner)]
        files[unquote(name)] = request.body
        return 200, {}

    def _stream(self, run_id: str, body: dict[str, Any]) -> tuple[int, Any]:
        run = self.runs[run_id]
        for name, chunk in body.get("files", {}).items():
            offset, content = chunk["offset"], chunk["content"]
            if name == "wandb-history.jsonl":
                run.lines[offset : offset + len(content)] = content
            elif name == "wandb-summary.json":
                run.summary = json.loads(content[-1])
        if body.get("complete"):
            run.exit_code = body["exitcode"]
        return 200, {}

    def _graphql(self, body: dict[str, Any]) -> tuple[int, Any]:
        known: dict[str, Callable[[dict[str, Any]], Any]] = {
            "RunResumeStatus": self._resume_status,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._create_run_files,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "Viewer": lambda _: {"viewer": _viewer()},
            "CreateArtifact": self._create_artifact,
            "CreateArtifactManifest": self._create_manifest,
            "UpdateArtifactManifest": self._update_manifest,
            "CreateArtifactFiles": self._create_artifact_files,
            "CommitArtifact": lambda given: {
                "commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "0"}}
            },
        }  # fmt: skip
        operation = body.get("operationName") or body["query"].split()[1]
        if operation not in known:
            return 400, {"errors": [{"message": f"the stub does not know {operation}"}]}
        return 200, {"data": known[operation](body.get("variables") or {})}

    def _resume_status(self, given: dict[str, Any]) -> Any:
        run = self.runs.get(given["name"])
        if run is None:
            return {"model": None}
        bucket = {
            "id": given["name"], "name": given["name"], "displayName": given["name"], "tags": [], "notes": None,
            "summaryMetrics": json.dumps(run.summary), "config": json.dumps(run.config),
            "historyTail": json.dumps(run.lines[-1:]), "historyLineCount": len(run.lines),
            "eventsTail": "[]", "eventsLineCount": 0, "logLineCount": 0, "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip
        return {"model": {"id": run.project, "name": run.project, "entity": _entity(), "bucket": bucket}}

    def _upsert(self, given: dict[str, Any]) -> Any:
        name = given["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StoredRun(given["project"], given["entity"], given["groupName"]))
        if given["config"]:
            run.config = json.loads(given["config"])
        bucket = {
            "id": name, "name": name, "displayName": name, "description": None, "sweepName": None,
            "config": json.dumps(run.config), "historyLineCount": len(run.lines),
            "project": {"id": run.project, "name": run.project, "entity": _entity()},
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _create_run_files(self, given: dict[str, Any]) -> Any:
        files = [{"name": name, "uploadUrl": self._address("run", given["run"], name)} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def _create_artifact(self, given: dict[str, Any]) -> Any:
        artifact = given["input"]["artifactCollectionName"]
        self.artifacts[artifact] = {}
        described = {"id": artifact, "state": "PENDING", "artifactSequence": {"id": artifact, "latestArtifact": None}}
        return {"createArtifact": {"artifact": described}}

    def _create_manifest(self, given: dict[str, Any]) -> Any:
        return {"createArtifactManifest": {"artifactManifest": self._manifest(given["artifactID"], given)}}

    def _update_manifest(self, given: dict[str, Any]) -> Any:
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(given["artifactManifestID"], given)}}

    def _manifest(self, artifact: str, given: dict[str, Any]) -> Any:
        file: dict[str, Any] = {"id": artifact}
        if given["includeUpload"]:
            file |= {"uploadUrl": self._address("artifact", artifact, "manifest.json"), "uploadHeaders": []}
        return {"id": artifact, "file": file}

    def _create_artifact_files(self, given: dict[str, Any]) -> Any:
        nodes = [
            {
                "name": file["name"], "displayName": file["name"], "storagePath": file["name"], "uploadHeaders": [],
                "uploadUrl": self._address("artifact", file["artifactID"], file["name"]),
                "uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]},
            }
            for file in given["input"]["artifactFiles"]
        ]  # fmt: skip
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _address(self, kind: str, owner: str, name: str) -> str:
        return f"{self.url}/upload/{kind}/{quote(owner, safe='')}/{quote(name, safe='')}"


def _entity() -> dict[str, str]:
    return {"id": ENTITY, "name": ENTITY}


def _viewer() -> dict[str, Any]:
    return {"id": ENTITY, "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": {"edges": []}}


def _basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"api:{key}".encode()).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """wandb drops its connections without a word: nothing to tell."""


def _handler(stub: WandbStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = stub.answer(Request(self.command, self.path, dict(self.headers), body))
            encoded = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Not on stderr."""

    return Handler
