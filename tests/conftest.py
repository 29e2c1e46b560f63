"""Fixtures that several test files share."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["s3_servers", "apiserver", "kubelet_stub", "cluster_hands", "kueue_crds", "submit_lab"]

# the same examples in every run, and no time limit for one: a test fails because of what was changed, or not at all
hypothesis.settings.register_profile(
    "visionjobs",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("visionjobs")

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


ENDED = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """For what follows."""
    session.config.stash[ENDED] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End without the interpreter's teardown, as worker processes do: the C++ threads of Ray and pyarrow outlive what
    used them, and may crash it there, when all tests have passed and all is told."""
    if ENDED in config.stash and {"ray", "pyarrow"} & sys.modules.keys():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[ENDED])
