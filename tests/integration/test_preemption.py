"""Told to go, then cancelled, under a real Ray with two workers: the weights are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cli_runs import Project, progress, read_json, wait_until, weights
from tiny import assert_same_bits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OPTIONS = (
    "resources.workers=2", "model.dropout=0.5", "data.augment=wildlife", "data.copies=9", "train.batch=4",
    "train.epochs=2", "train.checkpoint.every=1000", "data.size=[224,224]",
)  # fmt: skip
STEPS = 120
"""Of an epoch: 48 images and 9 copies of each, 4 at a step."""

GRACE_SECONDS = 110
"""Of 120, which a pod has at least, the preStop hook leaves 10."""


def sets() -> list[str]:
    return [word for option in OPTIONS for word in ("--set", option)]


def alive(folder: Path) -> list[str]:
    """The files for which the preStop hook waits: those that name a living process."""
    found = []
    for file in folder.glob("running-*"):
        try:
            os.kill(int(file.read_text()), 0)
            found.append(file.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(found)


def stopped_step(driver: subprocess.Popen[str], started: float, why: str) -> int:
    """Waits for its end, within the grace period. Returns the step that it names."""
    _, told = driver.communicate(timeout=GRACE_SECONDS)
    assert time.monotonic() - started < GRACE_SECONDS
    assert driver.returncode == 1, told
    assert "Traceback" not in told
    found = re.search(r"stopped at step (\d+) \(epoch \d\): " + re.escape(why), " ".join(told.split()))
    assert found, told
    return int(found[1])


def test_told_to_go_then_cancelled_ends_as_an_undisturbed_run(project: Project, tmp_path: Path) -> None:
    whole = project.call("run", "tiny", *sets())
    assert whole.returncode == 0, whole.stderr
    (reference,) = project.runs()

    pod = tmp_path / "pod"
    pod.mkdir()
    in_pod = Project(project.folder, project.storage, {"VISIONJOBS_STOP_DIR": str(pod)})
    driver = in_pod.start("run", "tiny", *sets())
    wait_until(lambda: len(project.runs()) == 2, "the run folder", driver=driver)
    (run,) = set(project.runs()) - {reference}
    wait_until(lambda: int(progress(run).get("step", 0)) >= 5, "step 5", driver=driver)
    assert {f"running-worker-{run.name}-{rank}" for rank in (0, 1)} <= set(alive(pod))
    (pod / "stop").touch()
    told_at = time.monotonic()
    wait_until(lambda: not [name for name in alive(pod) if "worker" in name], "the workers' files", GRACE_SECONDS)
    assert list(run.glob("attempts/0001/checkpoints/*/manifest.json")), "stored before a worker's pod may go"
    first = stopped_step(driver, told_at, "a pod of it was told to go")
    assert 5 <= first < STEPS, "in the middle of the first epoch"
    assert alive(pod) == []
    assert read_json(run / "record.json")["state"] == "interrupted"
    wait_until(lambda: project.processes() == [], "the processes to end", 30)

    shutil.rmtree(pod)  # the next attempt is in another one
    driver = project.start("run", "tiny", "--run", run.name)
    wait_until(lambda: int(progress(run).get("step") or 0) >= first + 5, "five more steps", driver=driver)
    assert progress(run)["resumed_from_step"] == first
    (run / "stop.json").write_text(json.dumps({"requested": "now", "reason": "it was cancelled by ann"}))
    second = stopped_step(driver, time.monotonic(), "it was cancelled by ann")
    assert first + 5 <= second < 2 * STEPS
    assert read_json(run / "record.json")["state"] == "interrupted"

    (run / "stop.json").unlink()
    ended = project.call("run", "tiny", "--run", run.name)
    assert ended.returncode == 0, ended.stderr
    assert_same_bits(weights(reference), weights(run))
    assert read_json(run / "metrics.json")["metrics"] == read_json(reference / "metrics.json")["metrics"]
    attempts = read_json(run / "record.json")["attempts"]
    assert [attempt["resumed_from_step"] for attempt in attempts] == [None, first, second]
    assert project.processes() == []
