"""One thing that was looked at before a job is submitted, or by `doctor`: what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visionjobs.cluster.client import ForbiddenError
from visionjobs.errors import UserError, VisionjobsError, error_from

ADMINISTRATOR = "ask whoever runs the cluster for the role visionjobs-submitter (k8s/cluster)"


@dataclass(frozen=True)
class Check:
    """ok: None where it could not be told, or is no more than a warning. message: what was found; hint: what to do,
    "" where nothing is or the message says it; each is one line. exit_status: of a command that fails for it."""

    name: str
    ok: bool | None
    message: str
    hint: str = ""
    exit_status: int = UserError.exit_status


def look(name: str, find: Callable[[], Check | str]) -> Check:
    """What `find` returns, a message where all is well. Its errors are failed checks; what this user may not look at
    could not be told."""
    try:
        found = find()
    except ForbiddenError:
        return Check(name, None, "this user may not look there", ADMINISTRATOR)
    except VisionjobsError as error:
        return Check(name, False, " ".join(str(error).split()), exit_status=error.exit_status)
    return Check(name, True, found) if isinstance(found, str) else found


def failures(checks: Sequence[Check]) -> list[Check]:
    """Those that stand in the way."""
    return [check for check in checks if check.ok is False]


def one_line(check: Check) -> str:
    """'secret: the namespace has no Secret "visionjobs": make it ...'."""
    return f"{check.name}: {check.message}" + (f": {check.hint}" if check.hint else "")


def refuse(checks: Sequence[Check]) -> None:
    """Raise one error for all that failed, a line each. Its exit status is theirs if they agree, else 2."""
    failed = failures(checks)
    if not failed:
        return
    statuses = {check.exit_status for check in failed}
    lines = [one_line(check) for check in failed]
    told = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} things stand in the way:", *lines])
    raise error_from(f"nothing was submitted: {told}", statuses.pop() if len(statuses) == 1 else UserError.exit_status)
