"""podman, and what else the image's test runs, with one kind of failure."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping


class CheckError(Exception):
    """Something is not as it must be: what, and what was seen."""


def podman(*arguments: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """`podman ARGUMENTS`: its stdout. Raises CheckError."""
    return run("podman", *arguments, stdin=stdin, env=env)


def run(*command: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """A program's stdout, with `env` besides this process's environment. Raises CheckError with what it said."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, input=stdin, env={**os.environ, **(env or {})}, check=False
        )
    except FileNotFoundError as error:
        raise CheckError(f"{command[0]} is not installed") from error
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}".strip()[-4000:]
        raise CheckError(f"`{' '.join(command[:4])} ...` ended with exit status {done.returncode}\n{said}")
    return done.stdout


def names(env: Mapping[str, str]) -> list[str]:
    """Arguments with which a container gets the variables of `env` from podman's own: their values stay unseen."""
    return [part for key in env for part in ("--env", key)]


def inside(network: str, image: str, env: Mapping[str, str], *command: str, stdin: str = "") -> str:
    """A command's stdout, in a container of `image` with the variables `env`. Raises CheckError."""
    arguments = ("run", "--rm", "--interactive", "--network", network, *names(env), image, *command)
    return podman(*arguments, stdin=stdin, env=env)
