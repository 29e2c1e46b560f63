"""Every error that a person may see, with the exit status it ends the command with.

A message says what was found, what was expected and what to do about it; the command line prints it on one
line without a traceback (cli/app.py). Anything that is not a `VisionjobsError` is a bug and shows as one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VisionjobsError(Exception):
    """A failure with a message for a person. `exit_status` 1: the work is not complete, but may be continued."""

    exit_status = 1


class UserError(VisionjobsError):
    """Something that the user can put right: a key, a file, a name, credentials."""

    exit_status = 2


class FinalError(VisionjobsError):
    """A failure that would repeat (bad data, a loss that is not finite): recorded, and not tried again."""

    exit_status = 3


class StorageError(VisionjobsError):
    """The storage did not answer, broke off or is full: the same call may succeed later."""

    exit_status = 4


class ClusterError(VisionjobsError):
    """The cluster did not answer, or broke off: the same call may succeed later."""

    exit_status = 4


class MissingObjectError(UserError):
    """There is nothing at this address."""


class ObjectExistsError(UserError):
    """A conditional write was refused, because the object is already there."""


class StoppedError(VisionjobsError):
    """The work was asked to stop, and did so where it can be taken up again. reason: who asked, in a few words."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class SupersededError(VisionjobsError):
    """A newer attempt has claimed the run: this one stops and writes nothing more."""

    exit_status = 5


def error_from(message: str, exit_status: int) -> VisionjobsError:
    """The error that crossed a process boundary as a message and an exit status."""
    kinds = (UserError, FinalError, StorageError, SupersededError)
    return next((kind for kind in kinds if kind.exit_status == exit_status), VisionjobsError)(message)


def first_line(error: BaseException) -> str:
    """What a library's error says, without the frames below it; the kind of error where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def nearest(name: str, valid: Iterable[str]) -> str:
    """' Did you mean "lr"?' for a misspelt name, or '' where nothing is close."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""
