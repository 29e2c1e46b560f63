"""`visionjobs --version`, as images and scripts ask for it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from typer.testing import CliRunner

from visionjobs.cli.app import app

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_it_is_that_of_pyproject_and_needs_no_verb() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.strip()) == (0, tomllib.loads(PYPROJECT.read_text())["project"]["version"])
