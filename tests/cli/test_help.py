"""The text of --help on a terminal of 80 columns."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest


@pytest.mark.parametrize("verb", ["doctor", "report", "render", "manifests", "submit", "status", "prune"])
def test_paragraphs_flow(verb: str) -> None:
    """Each line but a paragraph's last is as full as the next word allows."""
    code = "import sys; from visionjobs.cli.app import main; sys.argv = ['visionjobs', *sys.argv[1:]]; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, verb, "--help"], env={"COLUMNS": "80", "TERM": "dumb"}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    lines = [line.strip() for line in done.stdout.partition("╭")[0].splitlines()]
    assert "Usage:" in lines[1]
    for line, following in pairwise(lines):
        if line and following:
            assert len(line) + 1 + len(following.split()[0]) > 78, line
