"""A command that is interrupted says so once, whatever it was doing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests run
from visionjobs.cli.app import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_so(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a storage that never answers
        silent.settimeout(120)
        own = {
            "VISIONJOBS_STORAGE": "s3://bucket/prefix",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }
        command = subprocess.Popen(
            [sys.executable, "-c", MAIN, "runs"],
            env=os.environ | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with silent.accept()[0]:
                command.send_signal(number)
                printed, told = command.communicate(timeout=120)
        finally:
            command.kill()
            command.wait()
    assert (command.returncode, printed, told) == (130, "", "error: Interrupted.\n")
