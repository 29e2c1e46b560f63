"""The offline run in the run folder, read back: of a run that was killed, and of the same run complete."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from offline_run import OfflineRun
from PIL import Image
from tiny import CLASSES
from wandb_story import KEY, Story, spec_with
from wandb_stub import WandbStub

from visionjobs.errors import SupersededError
from visionjobs.report.load import load_summary
from visionjobs.report.summary import RunSummary
from visionjobs.runs import Run
from visionjobs.tracking.mirror import open_mirror

LOSSES = ("train_loss", "train_ce", "train_uniform", "val_loss", "train_accuracy", "val_accuracy")


def unheard(text: str) -> None:
    raise AssertionError(text)


def mirror(run: Run, summary: RunSummary | None, state: str) -> None:
    """What an attempt without a key leaves."""
    written = open_mirror(run, spec_with("auto"), None, unheard)
    written.rows(run.history())
    written.finish(summary, state, lambda: None)
    written.close()


def offline_runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offline")


@pytest.fixture(scope="module")
def killed(folder: Path, story: Story) -> OfflineRun:
    """What the first attempt left, which was killed."""
    mirror(story.at("killed", folder), None, "interrupted")
    (only,) = offline_runs(folder)
    return OfflineRun(only)


@pytest.fixture(scope="module")
def summary(folder: Path, killed: OfflineRun, story: Story) -> RunSummary:
    return load_summary(story.at("complete", folder))


@pytest.fixture(scope="module")
def complete(folder: Path, killed: OfflineRun, story: Story, summary: RunSummary) -> OfflineRun:
    """What the second attempt left in its stead."""
    mirror(story.at("complete", folder), summary, "complete")
    (only,) = offline_runs(folder)
    assert only.name != killed.folder.name or only == killed.folder
    return OfflineRun(only)


def table(run: OfflineRun, key: str) -> list[list[object]]:
    described = json.loads(run.file(str(run.media[f"{key}.path"])).read_text())
    return [described["columns"], *described["data"]]


def test_run_that_was_killed(killed: OfflineRun, story: Story) -> None:
    assert [row["epoch"] for row in killed.history] == [1, 2]
    assert (killed.run_id, killed.exit_code) == (story.run_id, 1)


def test_each_epoch_is_there_once_after_the_second_attempt(complete: OfflineRun, summary: RunSummary) -> None:
    epochs = [row for row in complete.history if "epoch" in row]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    for key in LOSSES:
        assert [row[key] for row in epochs] == [row[key] for row in summary.history], key
    assert (complete.run_id, complete.exit_code) == (summary.run, 0)
    assert len(complete.history) == 4, "and one row for what the run ended with"


def test_config_is_the_resolved_spec_and_the_versions(complete: OfflineRun, summary: RunSummary) -> None:
    assert complete.config["train"] == summary.spec["train"]
    assert complete.config["dataset_version"] == summary.dataset["version"]
    assert complete.config["code"] == {"source": "0" * 12}
    assert complete.project == "visionjobs"


def test_summary_has_the_final_metrics(complete: OfflineRun, summary: RunSummary) -> None:
    assert complete.summary["accuracy"] == summary.value("accuracy")
    assert complete.summary["per_class.fox.recall"] == summary.value("per_class.fox.recall")


def test_confusion_matrix(complete: OfflineRun, summary: RunSummary) -> None:
    columns, *rows = table(complete, "confusion_matrix_table")
    assert columns == ["Actual", "Predicted", "nPredictions"]
    expected = summary.values["confusion_matrix"]
    assert rows == [[a, b, expected[i][j]] for i, a in enumerate(CLASSES) for j, b in enumerate(CLASSES)]
    chart = complete.config["_wandb.visualize.confusion_matrix"]
    assert chart["panel_config"]["panelDefId"] == "wandb/confusion_matrix/v1"


def test_class_distributions(complete: OfflineRun) -> None:
    expected = [["class", "train", "val", "full"], *([name, 12, 3, 15] for name in CLASSES)]
    assert table(complete, "class_distribution") == expected
    for split, n in (("train", 12), ("val", 3), ("full", 15)):
        bars = table(complete, f"class_distribution_{split}_table")
        assert bars == [["class", "images"], *([name, n] for name in CLASSES)]


def test_results_stand_beside_the_published_figures(complete: OfflineRun, summary: RunSummary) -> None:
    columns, *rows = table(complete, "results")
    assert columns == ["metric", "ours", "low", "high", "published", "difference", "source"]
    accuracy = next(row for row in rows if row[0] == "Accuracy")
    ours, (low, high) = summary.value("accuracy"), summary.interval("accuracy")
    assert accuracy == ["Accuracy", ours, low, high, 0.5, pytest.approx(ours - 0.5), "a paper"]
    assert any(row[4:] == [None, None, None] for row in rows), "not published is not 0"


def images(run: OfflineRun, key: str) -> list[np.ndarray]:
    return [np.array(Image.open(run.file(name))) for name in run.media[f"{key}.filenames"]]


def test_misclassified_images_are_the_samples_themselves(complete: OfflineRun, summary: RunSummary) -> None:
    predictions, samples = summary.predictions, summary.samples
    wrong = [row for row in samples.index if not predictions.correct[row]]
    assert wrong, "else the test proves nothing"
    captions = complete.media["misclassified.captions"]
    for row, image, caption in zip(wrong, images(complete, "misclassified"), captions, strict=True):
        true, predicted = CLASSES[predictions.labels[row]], CLASSES[predictions.predicted[row]]
        assert caption == f"{true} -> {predicted} ({predictions.confidence[row]:.2f})"
        assert np.array_equal(image, samples.image_of(row))


def test_augmented_images_follow_their_originals(complete: OfflineRun, summary: RunSummary) -> None:
    samples = summary.samples
    captions = [text for name in CLASSES for text in (f"{name}: original", f"{name}: augmented copy 1")]
    assert complete.media["augmented.captions"] == captions
    shown = images(complete, "augmented")
    assert np.array_equal(shown[0], samples.originals[0])
    assert np.array_equal(shown[1], samples.augmented[0, 0])


def test_figures_are_the_reports_own(complete: OfflineRun, folder: Path) -> None:
    drawn = {path.stem: path.read_bytes() for path in (folder / "report" / "figures").glob("*.png")}
    logged = {key.split("/")[1].removesuffix(".path"): value for key, value in complete.media.items()
              if key.startswith("report/") and key.endswith(".path")}  # fmt: skip
    assert "confusion_matrix" in drawn
    assert {name: complete.file(path).read_bytes() for name, path in logged.items()} == drawn
    for png in drawn.values():
        Image.open(io.BytesIO(png)).verify()


def test_nothing_of_this_machine_is_in_the_folder(complete: OfflineRun, folder: Path) -> None:
    files = [path for path in (folder / "wandb").rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".log"]
    for private in (tempfile.gettempdir() + "/", sys.executable, str(Path.cwd())):
        assert not [path for path in files if private.encode() in path.read_bytes()], private
    assert [record.run.host for record in complete.records if record.HasField("run")] == [""]


def test_wandb_sync_uploads_it(complete: OfflineRun, tmp_path: Path) -> None:
    """With the real `wandb sync`, on a copy elsewhere."""
    with WandbStub(KEY) as stub:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "WANDB_API_KEY": KEY, "WANDB_BASE_URL": stub.url,
            "WANDB_ERROR_REPORTING": "false",
        }  # fmt: skip
        shutil.copytree(complete.folder, tmp_path / complete.folder.name)
        command = [sys.executable, "-m", "wandb", "sync", complete.folder.name]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=120)
        run = stub.runs[complete.run_id]
    assert [row.get("epoch") for row in run.history] == [1, 2, 3, None]
    named = {str(path.relative_to(complete.folder / "files")) for path in complete.folder.glob("files/media/**/*.*")}
    assert named
    assert named <= run.files.keys(), "all tables and pictures, and no artifact whose files are gone"
    assert not stub.artifacts
    assert run.exit_code == 0


@pytest.mark.parametrize("time", [1, 2], ids=["before_it_began", "while_it_wrote"])
def test_superseded_attempt_writes_nothing(
    tmp_path: Path, story: Story, time: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("visionjobs.tracking.process.PREFIX", f"visionjobs-wandb-superseded-{os.getpid()}-")
    looked: list[int] = []

    def fence() -> None:
        looked.append(1)
        if len(looked) == time:
            raise SupersededError("a newer attempt")

    written = open_mirror(story.at("killed", tmp_path), spec_with("offline"), KEY, unheard)
    with pytest.raises(SupersededError):
        written.finish(None, "interrupted", fence)
    written.close()
    assert not (tmp_path / "wandb").exists()
    assert not list(Path(tempfile.gettempdir()).glob(f"visionjobs-wandb-superseded-{os.getpid()}-*"))
    assert capfd.readouterr().out == ""


def test_interrupted_while_it_was_written(tmp_path: Path, story: Story) -> None:
    """Ctrl-C at the end of a complete run: what follows is an interrupted one's end."""
    looked: list[int] = []

    def fence() -> None:
        looked.append(1)
        if len(looked) == 2:
            raise KeyboardInterrupt

    run = story.at("complete", tmp_path)
    written = open_mirror(run, spec_with("offline"), None, unheard)
    with pytest.raises(KeyboardInterrupt):
        written.finish(load_summary(run), "complete", fence)
    written.finish(None, "interrupted", fence)
    (only,) = offline_runs(tmp_path)
    assert [row.get("epoch") for row in OfflineRun(only).history] == [1, 2, 3]


@pytest.mark.parametrize("group", ["sweep-tiny-1", None])
def test_group(tmp_path: Path, story: Story, group: str | None) -> None:
    run = story.at("killed", tmp_path)
    written = open_mirror(run, spec_with("offline"), None, unheard, group=group)
    written.finish(None, "interrupted", lambda: None)
    (only,) = offline_runs(tmp_path)
    assert OfflineRun(only).group == (group or "")


def test_no_epoch_yet_no_mirror(tmp_path: Path, story: Story) -> None:
    run = story.at("killed", tmp_path)
    run.store.delete([entry.key for entry in run.store.entries("attempts") if entry.key.endswith("metrics.jsonl")])
    mirror(run, None, "interrupted")
    assert not (tmp_path / "wandb").exists()


def test_wandb_that_hangs_is_left_behind(tmp_path: Path, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionjobs.tracking.mirror.OFFLINE_SECONDS", 0.01)
    told: list[str] = []
    written = open_mirror(story.at("killed", tmp_path), spec_with("offline"), None, told.append)
    written.finish(None, "interrupted", lambda: None)
    assert len(told) == 1
    assert "not done within" in told[0]
    assert not (tmp_path / "wandb").exists()
