"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

pytest_plugins = ["s3_servers", "apiserver", "kubelet_stub", "cluster_hands", "kueue_crds", "submit_lab"]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real photos and labels (VISIONJOBS_TEST_DATA, default ../shared/data)."""
    folder = Path(os.environ.get("VISIONJOBS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real test data: {folder} is not a folder (set VISIONJOBS_TEST_DATA)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def sigint_is_heard() -> None:
    """A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C: some test it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
