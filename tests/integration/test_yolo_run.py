"""The job yolo on 158 genuine images of COCO val2017, with a YOLOv8n that was trained on COCO."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
from cli_runs import Project, cmdline, kill_9, progress, read_json, wait_until
from coco_reference import pycocotools_numbers
from tidecv_reference import tidecv_numbers, tidecv_run

from visionjobs.boxes import of_size
from visionjobs.coco_json import read_annotations, read_results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory, test_data: Path):
    """The project's own jobs, with the genuine images imported as "coco"."""
    folder = tmp_path_factory.mktemp("coco")
    project = Project(folder, str(folder / "storage"), {"VISIONJOBS_JOBS": str(JOBS)})
    imported = project.call("data", "import", "coco", str(test_data / "coco_val2017_genuine"))
    assert imported.returncode == 0, imported.stderr
    yield project
    kill_9(project.processes())


@pytest.fixture(scope="module")
def sets(test_data: Path) -> list[str]:
    weights = test_data / "weights" / "yolov8n_int8.onnx"
    return ["--set", f"model.weights={weights}", "--set", "model.name=yolov8n", "--set", "model.trust=false"]


@pytest.fixture(scope="module")
def run(coco: Project, sets: list[str]) -> Path:
    """Killed with -9, everything of it, when about half of the images were predicted, and then continued."""
    driver = coco.start("run", "yolo", *sets)
    wait_until(coco.runs, "the run folder", driver=driver)
    (run,) = coco.runs()
    wait_until(lambda: int(progress(run).get("done", 0)) >= 64, "64 images", driver=driver)
    kill_9(coco.processes())
    assert driver.wait() == -signal.SIGKILL
    done = int(progress(run)["done"])
    assert 64 <= done < 158, "it must be killed in the middle"
    continued = coco.call("run", "yolo", "--run", run.name)
    assert continued.returncode == 0, continued.stderr
    assert continued.stdout.splitlines()[-1] == str(run)
    return run


def test_reproduces_what_was_measured_of_these_weights(run: Path) -> None:
    floors = read_json(run / "metrics.json")["metrics"]["floors"]
    assert floors["0.001"]["coco"]["AP"] == pytest.approx(0.372, abs=0.003)
    assert floors["0.001"]["coco"]["AP50"] == pytest.approx(0.521, abs=0.003)
    assert floors["0.001"]["detections"] == pytest.approx(25_659, rel=0.01)
    assert floors["0.25"]["tide"]["large"]["ap50"] == pytest.approx(48.8, abs=0.5)
    assert floors["0.25"]["tide_ignore"]["large"]["ap50"] == pytest.approx(55.4, abs=0.5)


def test_the_stored_boxes_are_those_that_were_measured(run: Path, test_data: Path) -> None:
    """By pycocotools, from the stored file and the official annotations; at .25 a filter over the same file."""
    official = test_data / "coco_val2017_genuine" / "annotations" / "instances_val2017.json"
    results = json.loads((run / "predictions" / "coco_predictions.json").read_text())
    floors = read_json(run / "metrics.json")["metrics"]["floors"]
    assert min(row["score"] for row in results) >= 0.001
    for floor in ("0.001", "0.25"):
        above = [row for row in results if row["score"] >= float(floor)]
        assert len(above) == floors[floor]["detections"]
        expected = pycocotools_numbers(official, above)
        assert list(floors[floor]["coco"].values()) == pytest.approx(expected, abs=1e-6)


def test_their_errors_are_tidecv_s(run: Path) -> None:
    """Of all 25,659, so that the 100 of an image are a choice; the fast tests compare the other reading too."""
    truth = read_annotations((run / "predictions" / "annotations.json").read_bytes(), "annotations")
    found = read_results((run / "predictions" / "coco_predictions.json").read_bytes(), "predictions", truth)
    assert np.bincount(found.images).max() > 100
    ours = read_json(run / "metrics.json")["metrics"]["floors"]["0.001"]["tide"]
    for size, errors in ours.items():
        true, predicted = truth.where(of_size(truth.areas, size)), found.where(of_size(found.areas, size))
        expected = tidecv_numbers(tidecv_run(true, predicted, ~true.crowd, true.crowd))
        assert errors == pytest.approx(expected, abs=1e-6), size


def test_only_the_images_that_were_left_were_predicted_again(run: Path) -> None:
    record = read_json(run / "record.json")
    assert [attempt["number"] for attempt in record["attempts"]] == [1, 2]
    assert record["state"] == "complete"
    rates = progress(run)
    assert rates["done"] == rates["total"] == 158
    assert not list(run.glob("attempts/*/predictions/*")), "the parts are deleted when the run is complete"


def test_leaves_a_complete_folder(run: Path, sets: list[str]) -> None:
    files = ("report/report.html", "predictions/annotations.json", "predictions/curves.npz",
             "predictions/box_scenes.npz", "dataset.json", "spec.yaml")  # fmt: skip
    for key in files:
        assert (run / key).is_file(), key
    assert not (run / "weights").exists(), "nothing was trained"
    page = (run / "report" / "report.html").read_text()
    for text in ("61.61", "0.4800", "Published", "yolov8n_int8.onnx"):
        assert text in page, text
    assert len(list((run / "report" / "figures").glob("*.png"))) >= 10
    assert "sha256:" in (run / "spec.yaml").read_text()
    assert list((run / "wandb").iterdir())


def test_a_complete_run_is_not_continued(coco: Project, run: Path) -> None:
    again = coco.call("run", "yolo", "--run", run.name)
    assert again.returncode == 2
    assert "is complete: it evaluated its weights as they are" in " ".join(again.stderr.split())


def test_evaluate_finds_the_same_without_ray(coco: Project, run: Path, test_data: Path) -> None:
    genuine = test_data / "coco_val2017_genuine"
    done = coco.call(
        "evaluate", "--predictions", str(run / "predictions" / "coco_predictions.json"), "--annotations",
        str(genuine / "annotations" / "instances_val2017.json"), "--images", str(genuine / "val2017"), "--out", "again",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = coco.folder / done.stdout.splitlines()[-1]
    ours, theirs = (read_json(folder / "metrics.json")["metrics"] for folder in (run, again))
    assert ours == theirs
    assert (again / "report" / "report.html").is_file()


def test_reproduce_shows_the_published_figures_beside_ours(coco: Project, run: Path, sets: list[str]) -> None:
    done = coco.call("reproduce", "--jobs", "yolo", "--no-run", *sets)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    rows = {row["metric"]: row for row in json.loads((folder / "reproduce.json").read_text())["rows"]}
    floors = read_json(run / "metrics.json")["metrics"]["floors"]["0.25"]
    assert rows["floors.0.25.coco.AP"]["published"] == 0.48
    assert rows["floors.0.25.coco.AP"]["ours"] == floors["coco"]["AP"]
    for size in ("all", "small", "medium", "large"):
        for key in ("ap50", "Miss"):
            assert rows[f"floors.0.25.tide.{size}.{key}"]["ours"] == floors["tide"][size][key]
        ece = rows[f"floors.0.25.calibration.{size}.count_ece"]
        assert ece["ours"] == floors["calibration"][size]["count_ece"]
    page = (folder / "reproduce.html").read_text()
    for text in ("61.61", "36.31", "0.2383", "0.1598", "0.1234"):
        assert text in page, text


def ray_processes() -> set[int]:
    return {process.pid for process in psutil.process_iter() if "ray::" in " ".join(cmdline(process))}


def test_ctrl_c_leaves_nothing_running_and_the_run_can_be_continued(coco: Project, sets: list[str]) -> None:
    before, known = ray_processes(), set(coco.runs())
    driver = coco.start("run", "yolo", *sets, "--set", "wandb.mode=off")
    wait_until(lambda: set(coco.runs()) - known, "the run folder", driver=driver)
    (run,) = set(coco.runs()) - known
    wait_until(lambda: int(progress(run).get("done", 0)) >= 16, "16 images", driver=driver)
    driver.send_signal(signal.SIGINT)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 130, told
    assert f"Continue with: visionjobs run yolo --run {run.name}" in " ".join(told.split())
    assert "Traceback" not in told
    assert read_json(run / "record.json")["state"] == "interrupted"
    wait_until(lambda: ray_processes() <= before, "Ray's processes to end", 40)
    assert coco.processes() == []


def test_weights_with_another_sha256_are_refused(coco: Project, sets: list[str]) -> None:
    refused: subprocess.CompletedProcess[str] = coco.call("run", "yolo", *sets, "--set", f"model.sha256={'a' * 64}")
    assert refused.returncode == 2
    told = " ".join(refused.stderr.split())
    assert "yolov8n_int8.onnx has the sha256" in told
    assert "a" * 64 in told
    assert "Traceback" not in told
