"""wandb online through the command line and a real Ray: killed, resumed, and the key nowhere but on its way there."""

from __future__ import annotations

import base64
import signal

import pytest
from cli_runs import Project, kill_9, progress, read_json, wait_until
from wandb_stub import WandbStub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEY = "0123456789abcdef0123456789abcdef01234567"


def test_killed_and_resumed_online(project: Project) -> None:
    before = set(project.runs())
    with WandbStub(KEY) as stub:
        environment = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": stub.url, "WANDB_ENTITY": "somebody"}
        online = Project(project.folder, project.storage, environment)
        driver = online.start("run", "tiny")
        wait_until(lambda: set(project.runs()) - before, "the run folder", driver=driver)
        (run,) = set(project.runs()) - before
        wait_until(lambda: int(progress(run).get("step", 0)) >= 20, "step 20", driver=driver)
        assert online.workers()
        for process in online.workers():
            assert "WANDB_API_KEY" not in process.environ()
        wait_until(
            lambda: run.name in stub.runs and stub.runs[run.name].history, "an epoch at the server", driver=driver
        )
        kill_9(project.processes())
        assert driver.wait() == -signal.SIGKILL
        told = driver.communicate()

        resumed = online.call("run", "tiny", "--run", run.name)
        assert resumed.returncode == 0, resumed.stderr
        stored = stub.runs[run.name]
        assert list(stub.runs) == [run.name]
        assert [row["epoch"] for row in stored.history if "train_loss" in row] == list(range(1, 13))
        assert stored.exit_code == 0
        assert any(name.endswith(".png") for name in stored.files)
        assert stored.summary["accuracy"] == read_json(run / "metrics.json")["metrics"]["accuracy"]
        assert not [request for request in stub.requests if KEY.encode() in request.body]

    assert not list(run.glob("wandb/**/*.wandb")), "what is online needs no offline copy"
    written = {str(path): path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    written["the terminal"] = "".join((*told, resumed.stdout, resumed.stderr)).encode()
    for form in (KEY.encode(), base64.b64encode(f"api:{KEY}".encode())):
        assert [name for name, data in written.items() if form in data] == []
    assert project.processes() == []
