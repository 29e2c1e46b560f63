"""What `GET /api/jobs/<id>` of a Ray's dashboard answers, for the states that a real Ray is slow to get into.

The rest of the Jobs API is tested with a real one (tests/integration/test_ray_backend.py).
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RayStub:
    """jobs: JobDetails by submission id; token: that it wants, None for none; delay: seconds before it answers."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.token: str | None = None
        self.delay = 0.0
        self.asked = 0
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.asked += 1
                time.sleep(stub.delay)
                self._answer(*stub.answer(self.path, self.headers.get("Authorization")))

            def _answer(self, status: int, body: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, path: str, authorization: str | None) -> tuple[int, str]:
        if self.token is not None and authorization != f"Bearer {self.token}":
            return (403 if authorization else 401), "Unauthorized"
        name = path.removeprefix("/api/jobs/")
        if name not in self.jobs:
            return 404, f"Job {name} does not exist" if path.startswith("/api/jobs/") else "404: Not Found"
        return 200, json.dumps(self.jobs[name])

    def job(self, name: str, status: str, message: str = "", began: float = 0, run: str = "one") -> None:
        """A job that was submitted `began` seconds from now."""
        start = int((time.time() + began) * 1000)
        end = start + 1000 if status not in ("PENDING", "RUNNING") else None
        self.jobs[name] = {"type": "SUBMISSION", "submission_id": name, "status": status, "message": message,
                           "start_time": start, "end_time": end, "metadata": {"run": run, "job": "tiny"}}  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
