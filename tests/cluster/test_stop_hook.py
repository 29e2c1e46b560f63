"""The preStop hook of rendered pods: it tells those who work in the pod to stop, and waits until they have."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from rendering import CLUSTER, env_of, main_of, run_of, templates

from visionjobs.cluster.render import render

FOUR = run_of("deeplab", "resources.workers=4")


class TestPreStop:
    """The hook itself, run by sh in a folder of its own."""

    @pytest.fixture
    def start(self, tmp_path: Path):
        main = main_of(templates(render(FOUR, CLUSTER, "rayjob"))["worker"])
        assert env_of(main)["VISIONJOBS_STOP_SECONDS"] == "110"
        command = main["lifecycle"]["preStop"]["exec"]["command"]

        def start(seconds: str) -> subprocess.Popen[bytes]:
            env = {"PATH": "/usr/bin:/bin", "VISIONJOBS_STOP_DIR": str(tmp_path), "VISIONJOBS_STOP_SECONDS": seconds}
            return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        return start

    def test_it_tells_and_returns_at_once_where_nothing_runs(self, start, tmp_path: Path) -> None:
        hook = start("60")
        assert hook.wait(5) == 0
        assert hook.stdout.read() == b""
        assert (tmp_path / "stop").exists()

    def test_it_waits_for_what_runs(self, start, tmp_path: Path) -> None:
        for name in ("running-rank0", "running-driver"):
            (tmp_path / name).write_text(f"{os.getpid()}\n")
        hook = start("60")
        time.sleep(1.5)
        assert hook.poll() is None
        assert (tmp_path / "stop").exists()
        (tmp_path / "running-rank0").unlink()
        time.sleep(1.5)
        assert hook.poll() is None
        (tmp_path / "running-driver").unlink()
        assert hook.wait(5) == 0

    def test_it_does_not_wait_for_what_was_killed(self, start, tmp_path: Path) -> None:
        """Which could not take its file away."""
        gone = subprocess.Popen(["true"])
        gone.wait()
        (tmp_path / "running-driver").write_text(f"{gone.pid}\n")
        (tmp_path / "running-rank0").touch()
        hook = start("60")
        assert hook.wait(5) == 0
        assert hook.stdout.read() == b""

    def test_of_several_one_that_lives_is_enough(self, start, tmp_path: Path) -> None:
        (tmp_path / "running-driver").touch()
        (tmp_path / "running-rank0").write_text(f"{os.getpid()}\n")
        (tmp_path / "running-rank1").touch()
        hook = start("60")
        time.sleep(1.5)
        assert hook.poll() is None
        (tmp_path / "running-rank0").unlink()
        assert hook.wait(5) == 0

    def test_it_waits_no_longer_than_the_grace_period_allows(self, start, tmp_path: Path) -> None:
        (tmp_path / "running-rank0").write_text(f"{os.getpid()}\n")
        began = time.monotonic()
        assert start("1").wait(10) == 0
        assert time.monotonic() - began < 5
