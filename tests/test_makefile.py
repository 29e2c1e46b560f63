"""The Makefile: its list fits a terminal, and what is given reaches `visionjobs`. Of the image: test_docker.py."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GIVEN = (
    "JOB",
    "RUN",
    "SAMPLE",
    "SET",
    "OUT",
    "BACKEND",
    "EVALUATE",
    "IMPORT",
    "SOURCE",
    "NAME",
    "DATA",
    "SPLIT",
    "SWEEP",
    "SAMPLES",
)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", *GIVEN}}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def words(*arguments: str) -> list[str]:
    """What `visionjobs` would be called with."""
    done = make("-n", "--old-file=.venv/.installed", *arguments)
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout.replace("\\\n", " "))[1:]


def test_the_list_fits_a_terminal_and_names_every_target() -> None:
    lines = make().stdout.splitlines()
    assert max(map(len, lines)) <= 80
    titles = [line for line in lines if line and not line.startswith(("  ", "["))]
    assert titles == ["On this machine", "On a cluster", "Development"]
    listed = [line.split()[1] for line in lines if line.startswith("  make ")]
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert sorted(listed) == sorted(set(phony[1].replace("\\", " ").split()) - {"help"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("submit JOB=deeplab SAMPLE=1 WAIT=1", "submit deeplab --sample --wait"),
        ("submit RUN=deeplab-1", "submit --run deeplab-1"),
        ("submit JOB=deeplab RUN=deeplab-1", "submit deeplab --run deeplab-1"),
        ("submit JOB=convnet BACKEND=ray ADDRESS=http://r:8265",
         "submit convnet --backend ray --address http://r:8265"),
        ("submit EVALUATE=yolo-1 SPLIT=all DATA=mine", "submit --evaluate yolo-1 --split all --data mine"),
        ("submit IMPORT=wildlife SOURCE=s3://b/raw NAME=mine", "submit s3://b/raw --import wildlife --name mine"),
        ("submit JOB=deeplab SWEEP=1 SAMPLES=8", "submit deeplab --sweep --samples 8"),
        ("submit JOB=deeplab SWEEP=sweep-deeplab-1", "submit deeplab --run sweep-deeplab-1"),
        ("submit SWEEP=sweep-deeplab-1", "submit --run sweep-deeplab-1"),
        ("sweep JOB=convnet SAMPLE=1 SAMPLES=8", "sweep convnet --sample --samples 8"),
        ("sweep JOB=convnet SWEEP=sweep-convnet-1", "sweep convnet --sweep sweep-convnet-1"),
        ("sweep JOB=convnet RUN=sweep-convnet-1", "sweep convnet --sweep sweep-convnet-1"),
        ("render JOB=convnet SWEEP=1 SAMPLES=4 NO_CODE=1", "render convnet --sweep --samples 4 --no-code"),
        ("manifests SWEEP=1 OUT=there SET=a.b=1", "manifests --sweep --out there --set a.b=1"),
        ("doctor", "doctor"),
        ("doctor JOB=convnet SAMPLE=1 BACKEND=job", "doctor convnet --sample --backend job"),
        ("render JOB=convnet NO_CODE=1", "render convnet --no-code"),
        ("report RUN=a-1", "report a-1"),
        ("report RUN=a-1 OUT=pages", "report a-1 --out pages"),
    ],
)  # fmt: skip
def test_what_is_given_reaches_the_command(given: str, expected: str) -> None:
    assert words(*given.split()) == expected.split()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("submit", "give JOB=NAME, one of: "),
        ("submit SWEEP=1", "give JOB=NAME, one of: "),
        ("submit IMPORT=wildlife", "give SOURCE=s3://bucket/prefix"),
        ("submit IMPORT=wildlife SOURCE=s3://b JOB=resnet", "give JOB= or IMPORT=, not both"),
        ("render", "give JOB=NAME"),
        ("report", "give RUN=ID"),
    ],
)
def test_what_is_missing_is_told(given: str, told: str) -> None:
    done = make(*given.split())
    assert done.returncode == 2
    assert told in done.stderr
