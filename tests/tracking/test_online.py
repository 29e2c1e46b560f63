"""Online, against a server on loopback: what it is told, when it is gone, and where the key is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from offline_run import OfflineRun
from tiny import CLASSES
from wandb_story import KEY, Story, spec_with
from wandb_stub import StoredRun, WandbStub

from visionjobs.report.load import load_summary
from visionjobs.runs import Run
from visionjobs.tracking import mirror as mirror_module
from visionjobs.tracking.mirror import WandbMirror, open_mirror

PATIENCE = 30.0


def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    with WandbStub(KEY) as stub:
        monkeypatch.setenv("WANDB_BASE_URL", stub.url)
        yield stub


class Watched:
    """A mirror whose warnings are kept."""

    def __init__(self, run: Run, key: str | None = KEY, mode: str = "auto") -> None:
        self.run = run
        self.warnings: list[str] = []
        self.mirror = open_mirror(run, spec_with(mode), key, self.warnings.append)
        assert isinstance(self.mirror, WandbMirror)
        self.writer = self.mirror._writer

    def end(self, state: str) -> None:
        summary = load_summary(self.run) if state == "complete" else None
        self.mirror.finish(summary, state, lambda: None)
        self.mirror.close()

    def offline(self) -> OfflineRun:
        (folder,) = Path(self.run.store.address, "wandb").iterdir()
        return OfflineRun(folder)


class Told:
    """What the server was told of the story, with what the attempts printed and left behind."""

    def __init__(self, story: Story, folder: Path, server: WandbStub) -> None:
        first = Watched(story.at("killed", folder), None, "offline")  # once without the key, to begin with
        first.end("interrupted")
        second = Watched(story.at("killed", folder))
        second.mirror.rows(second.run.history()[:1])
        until(lambda: server.runs.get(story.run_id) and server.runs[story.run_id].lines)
        self.after_one_epoch = server.runs[story.run_id].history
        second.end("interrupted")
        self.after_kill = server.runs[story.run_id].history
        self.exit_code_after_kill = server.runs[story.run_id].exit_code
        third = Watched(story.at("complete", folder))
        for seen in range(4):
            third.mirror.rows(third.run.history()[:seen])
        third.end("complete")
        self.warnings = [*first.warnings, *second.warnings, *third.warnings]
        self.left_behind = [watched.writer.folder for watched in (second, third) if watched.writer.folder.exists()]
        self.run: StoredRun = server.runs[story.run_id]
        self.server, self.folder = server, folder


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, story: Story) -> Iterator[Told]:
    with WandbStub(KEY) as stub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", stub.url)
        patch.setenv("WANDB_ENTITY", "a-team")
        patch.setenv("WANDB_PROJECT", "theirs")
        patch.setenv("WANDB_SWEEP_ID", "made-another-run-of-it")
        yield Told(story, tmp_path_factory.mktemp("online"), stub)


def test_an_epoch_is_there_while_the_run_goes_on(told: Told) -> None:
    assert [row["epoch"] for row in told.after_one_epoch] == [1]
    assert {"train_loss", "train_ce", "val_accuracy", "images_per_second"} <= told.after_one_epoch[0].keys()


def test_run_that_was_killed(told: Told) -> None:
    assert [row["epoch"] for row in told.after_kill] == [1, 2]
    assert told.exit_code_after_kill == 1


def test_no_epoch_is_doubled_after_the_second_attempt(told: Told, story: Story) -> None:
    expected = Run(story.run_id, story.at("complete", told.folder).store).history()
    epochs = [row for row in told.run.history if "epoch" in row]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    assert [row["train_loss"] for row in epochs] == [row["train_loss"] for row in expected]
    assert [row["_step"] for row in told.run.history] == [0, 1, 2, 3]
    assert list(told.server.runs) == [story.run_id]
    assert told.run.exit_code == 0


def test_final_pictures_and_tables_arrive(told: Told) -> None:
    ended = told.run.history[-1]
    for key in ("misclassified", "augmented"):
        assert {told.run.files[name][:8] for name in ended[key]["filenames"]} == {b"\x89PNG\r\n\x1a\n"}
    confusion = json.loads(told.run.files[ended["confusion_matrix_table"]["path"]])
    assert len(confusion["data"]) == len(CLASSES) ** 2
    assert ended["report/loss"]["path"] in told.run.files
    assert told.run.summary["accuracy"] is not None


def test_where_the_run_goes(told: Told) -> None:
    assert (told.run.project, told.run.entity) == ("theirs", "a-team")
    assert told.run.config["train"]["value"]["epochs"] == 3


def test_server_has_it_all_so_no_offline_run_is_left(told: Told) -> None:
    assert not (told.folder / "wandb").exists()
    assert told.warnings == []
    assert told.left_behind == []


def test_key_travels_in_the_header_only(told: Told) -> None:
    assert {request.headers["Authorization"][:6] for request in told.server.requests if request.path == "/graphql"} == {
        "Basic "
    }
    for request in told.server.requests:
        others = {name: value for name, value in request.headers.items() if name != "Authorization"}
        assert KEY not in f"{request.path} {others}"
        assert KEY.encode() not in request.body
        assert request.path.startswith(("/graphql", "/files/")) or "Authorization" not in request.headers


def test_requests_tell_nothing_of_this_machine(told: Told) -> None:
    bodies = b"".join(request.body for request in told.server.requests if not request.path.startswith("/upload/run"))
    for private in (tempfile.gettempdir() + "/", sys.executable, str(Path.cwd()), "requirements.txt", "diff.patch"):
        assert private.encode() not in bodies, private
    assert "wandb-metadata.json" not in told.run.files


def test_more_epochs_follow_what_a_complete_run_ended_with(told: Told, tmp_path: Path, story: Story, server) -> None:
    """As after `--run ID --set train.epochs=4`: the row of pictures is no epoch."""
    server.runs[story.run_id] = StoredRun(**vars(told.run))
    longer = Watched(story.at("complete", tmp_path))
    history = longer.run.history()
    longer.run.store.write("attempts/0004/metrics.jsonl", json.dumps(history[-1] | {"epoch": 3}) + "\n")
    longer.end("interrupted")
    assert [row.get("epoch") for row in server.runs[story.run_id].history] == [1, 2, 3, None, 4]


@pytest.mark.parametrize("key", ["0" * 40, "short", f"{KEY}\n"], ids=["unknown", "malformed", "with_newline"])
def test_wrong_key(tmp_path: Path, story: Story, server: WandbStub, key: str) -> None:
    watched = Watched(story.at("killed", tmp_path), key, "online")
    until(lambda: watched.mirror.rows(watched.run.history()) or watched.warnings)
    watched.end("interrupted")
    assert len(watched.warnings) == 1
    assert watched.mirror.warnings == watched.warnings
    assert "the run goes on without it" in watched.warnings[0]
    assert key not in watched.warnings[0]
    assert [row["epoch"] for row in watched.offline().history] == [1, 2]
    assert not server.runs


def test_server_that_cannot_be_reached(tmp_path: Path, story: Story, server: WandbStub, monkeypatch) -> None:
    server.stop()
    monkeypatch.setattr(mirror_module, "INTERRUPTED_SECONDS", 3.0)
    watched = Watched(story.at("killed", tmp_path))
    watched.mirror.rows(watched.run.history())
    watched.end("interrupted")
    assert len(watched.warnings) == 1
    assert "not done within 3 s" in watched.warnings[0]
    assert [row["epoch"] for row in watched.offline().history] == [1, 2]


def test_server_that_dies_in_the_middle(tmp_path: Path, story: Story, server: WandbStub, monkeypatch) -> None:
    monkeypatch.setattr(mirror_module, "COMPLETE_SECONDS", 3.0)
    watched = Watched(story.at("complete", tmp_path))
    watched.mirror.rows(watched.run.history()[:1])
    until(lambda: server.runs)
    server.stop()
    watched.mirror.rows(watched.run.history())
    watched.end("complete")
    assert len(watched.warnings) == 1
    offline = watched.offline()
    assert [row.get("epoch") for row in offline.history] == [1, 2, 3, None]
    assert offline.media["augmented.count"] == 2 * len(CLASSES)


@pytest.mark.parametrize("group", ["sweep-tiny-1", None])
def test_group(tmp_path: Path, story: Story, server: WandbStub, group: str | None) -> None:
    run, warnings = story.at("killed", tmp_path), []
    mirror = open_mirror(run, spec_with("auto"), KEY, warnings.append, group=group)
    mirror.rows(run.history())
    mirror.finish(None, "interrupted", lambda: None)
    mirror.close()
    assert warnings == []
    assert server.runs[run.id].group == group


def test_server_that_refuses_the_history(tmp_path: Path, story: Story, server: WandbStub) -> None:
    """wandb takes that for success, but for a line that it prints."""
    server.refuse["/files/"] = 403
    watched = Watched(story.at("killed", tmp_path))
    watched.end("interrupted")
    assert len(watched.warnings) == 1
    assert "the server refused some of the data" in watched.warnings[0]
    assert [row["epoch"] for row in watched.offline().history] == [1, 2]


def test_writing_process_that_dies(tmp_path: Path, story: Story, server: WandbStub) -> None:
    watched = Watched(story.at("killed", tmp_path))
    until(lambda: server.runs)
    family = psutil.Process(watched.writer._process.pid).children(recursive=True)
    watched.writer._process.send_signal(signal.SIGKILL)
    until(lambda: watched.mirror.rows(watched.run.history()) or watched.warnings)
    watched.end("interrupted")
    assert "its process ended unexpectedly" in watched.warnings[0]
    assert [row["epoch"] for row in watched.offline().history] == [1, 2]
    gone, _ = psutil.wait_procs(family, timeout=PATIENCE)
    assert len(gone) == len(family) == 1, "wandb-core goes with it"


DRIVER = """
import os, signal, sys
from wandb_story import KEY, spec_with
from visionjobs.runs import Run
from visionjobs.storage import open_store
from visionjobs.tracking.mirror import open_mirror

run = Run(sys.argv[1], open_store(sys.argv[2]))
mirror = open_mirror(run, spec_with("auto"), KEY, print)
mirror.rows(run.history())
print(mirror._writer._process.pid, mirror._writer.folder, flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_driver_that_is_killed_leaves_nothing_behind(tmp_path: Path, story: Story, server: WandbStub) -> None:
    run = story.at("killed", tmp_path / "run")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, run.id, run.store.address],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert driver.stdout is not None
    pid, folder = driver.stdout.readline().split()
    writer = psutil.Process(int(pid))
    until(lambda: server.runs)
    processes = [writer, *writer.children(recursive=True)]
    assert not [process for process in processes if KEY in " ".join(process.cmdline()) + str(process.environ())]
    driver.communicate("")
    gone, _ = psutil.wait_procs(processes, timeout=PATIENCE)
    assert len(gone) == len(processes) == 2
    until(lambda: not Path(folder).exists())
    assert [row["epoch"] for row in server.runs[run.id].history] == [1, 2]
    assert server.runs[run.id].exit_code == 1


def test_key_is_nowhere(tmp_path: Path, story: Story, server: WandbStub, capfd: pytest.CaptureFixture[str]) -> None:
    """In no file of the run folder, after an attempt that went on offline, and nothing is printed."""
    server.refuse["/files/"] = 403
    watched = Watched(story.at("complete", tmp_path))
    watched.end("complete")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert KEY not in "".join(watched.warnings)
