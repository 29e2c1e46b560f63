"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["s3_servers"]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real photos and labels (VISIONJOBS_TEST_DATA, default ../shared/data)."""
    folder = Path(os.environ.get("VISIONJOBS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real test data: {folder} is not a folder (set VISIONJOBS_TEST_DATA)")
    return folder
