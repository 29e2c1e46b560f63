"""Which mirror a job file asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from wandb_story import KEY, Story, spec_with

from visionjobs.errors import UserError
from visionjobs.tracking.mirror import check_mode, open_mirror, project_of

OFF = """
import sys
from wandb_story import KEY, spec_with
from visionjobs.report.load import load_summary
from visionjobs.runs import Run
from visionjobs.storage import open_store
from visionjobs.tracking.mirror import open_mirror

run = Run(sys.argv[1], open_store(sys.argv[2]))
mirror = open_mirror(run, spec_with("off"), KEY, sys.exit)
mirror.rows(run.history())
mirror.finish(load_summary(run), "complete", lambda: sys.exit("wrote"))
mirror.close()
sys.exit("wandb" in sys.modules)
"""


def test_off_writes_nothing_and_does_not_import_wandb(tmp_path: Path, story: Story) -> None:
    run = story.at("complete", tmp_path)
    before = [entry.key for entry in run.store.entries()]
    paths = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", OFF, run.id, run.store.address], env=paths, check=True, timeout=120)
    assert [entry.key for entry in run.store.entries()] == before


@pytest.mark.parametrize("key", [None, ""])
def test_online_without_a_key_is_refused(key: str | None) -> None:
    with pytest.raises(UserError, match="set WANDB_API_KEY"):
        check_mode(spec_with("online"), key)


@pytest.mark.parametrize(("mode", "key"), [("online", KEY), ("auto", None), ("offline", None), ("off", None)])
def test_other_modes_need_no_key(mode: str, key: str | None) -> None:
    check_mode(spec_with(mode), key)


def test_offline_with_a_key_starts_nothing(tmp_path: Path, story: Story) -> None:
    mirror = open_mirror(story.at("killed", tmp_path), spec_with("offline"), KEY, sys.exit)
    assert mirror._writer is None


@pytest.mark.parametrize(
    ("project", "environment", "expected"),
    [
        ("visionjobs", {}, "visionjobs"),
        ("visionjobs", {"WANDB_PROJECT": "theirs"}, "theirs"),
        ("visionjobs", {"WANDB_PROJECT": ""}, "visionjobs"),
        ("mine", {"WANDB_PROJECT": "theirs"}, "mine"),
    ],
)
def test_project(project: str, environment: dict[str, str], expected: str) -> None:
    spec = spec_with("auto")
    chosen = spec.model_copy(update={"wandb": spec.wandb.model_copy(update={"project": project})})
    assert project_of(chosen, environment) == expected
