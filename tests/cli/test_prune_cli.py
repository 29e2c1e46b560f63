"""`visionjobs prune` of code that travelled to a cluster; of checkpoints: tests/integration/test_run.py."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from finished_runs import Project

DAY = 86400
NAMED, UNNAMED, YOUNG = ("a" * 64, "b" * 64, "c" * 64)


def store_code(project: Project) -> None:
    """Three zips: an old one of a run, an old one of none, and a week-old one of none."""
    for sha256, days in ((NAMED, 30), (UNNAMED, 30), (YOUNG, 7)):
        project.root.write(f"code/{sha256}.zip", b"zip")
        at = time.time() - days * DAY
        os.utime(project.folder / "storage" / "code" / f"{sha256}.zip", (at, at))
    project.begun.store.write("submission.json", json.dumps({"backend": "rayjob", "code": NAMED}))


def left(project: Project) -> list[str]:
    return [entry.key[5:6] for entry in project.root.entries("code")]


def test_old_code_of_no_run_goes(project: Project, visionjobs: Callable[..., Any]) -> None:
    store_code(project)
    shown = visionjobs("prune")
    assert f"code/{UNNAMED}.zip" in shown.err
    assert NAMED not in shown.err
    assert YOUNG not in shown.err
    assert left(project) == ["a", "b", "c"]
    assert visionjobs("prune", "--yes").status == 0
    assert left(project) == ["a", "c"]
    assert "nothing to prune" in visionjobs("prune").err


def test_where_a_run_cannot_tell_its_code_all_stays(project: Project, visionjobs: Callable[..., Any]) -> None:
    store_code(project)
    project.begun.store.write("submission.json", "{")
    ended = visionjobs("prune", "--yes")
    assert "submission.json is not valid JSON" in ended.err
    assert "all code is left alone" in ended.err
    assert left(project) == ["a", "b", "c"]
