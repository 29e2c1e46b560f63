"""How `visionjobs doctor` shows what it found: a line a check, what to do below it, and the failures once more."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from visionjobs.cli.console import err
from visionjobs.cluster.check import Check, failures

MARKS = {True: ("ok", "green"), False: ("no", "bold red"), None: ("? ", "yellow")}
"""A mark for `ok`, with a meaning without colours too, and its colour."""


def print_checks(checks: Sequence[Check]) -> None:
    """On stderr. No line is wrapped or cut, so that what is to be typed can be copied."""
    width = max(len(check.name) for check in checks)
    _print_lines(checks, width)
    failed, warned = failures(checks), sum(check.ok is None for check in checks)
    if failed:
        err.print("\nWhat failed:")
        _print_lines(failed, width)
    told = f"{len(failed)} of {len(checks)} checks failed" if failed else f"{len(checks)} checks: nothing failed"
    err.print(f"\n{told}" + (f", {warned} with a ?" if warned else ""))


def _print_lines(checks: Sequence[Check], width: int) -> None:
    for check in checks:
        err.print(Text.assemble(MARKS[check.ok], f"  {check.name:{width}}  {check.message}"), soft_wrap=True)
        if check.hint:
            err.print(Text(f"    -> {check.hint}"), soft_wrap=True)
