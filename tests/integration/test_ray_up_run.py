"""A run on the Ray that stays up: its dashboard knows the run, and asks for a token."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cli_runs import Project, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def get(url: str, token: str | None = None) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_run_on_the_ray_that_is_up(project: Project) -> None:
    up = project.call("ray-up")
    assert up.returncode == 0, up.stderr
    url = up.stdout.splitlines()[-1]
    try:
        done = project.call("run", "tiny", "--set", "train.epochs=1")
        assert done.returncode == 0, done.stderr
        assert "on the Ray that is up" in done.stderr
        run = Path(done.stdout.splitlines()[-1]).name
        assert get(f"{url}/api/train/v2/runs/v1")[0] == 401
        token = (project.folder / "cache" / "ray" / "token").read_text().strip()
        status, body = get(f"{url}/api/train/v2/runs/v1", token)
        assert status == 200
        assert f"{run}-1" in [train_run["name"] for train_run in json.loads(body)["train_runs"]]
        assert project.processes(), "it stays up after the run"
    finally:
        down = project.call("ray-down")
    assert down.returncode == 0
    wait_until(lambda: project.processes() == [], "the processes to end", 30)
