"""Comparing detection runs: both floors, classes and errors together, and each pair tested over images."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compared_runs import CREATED, numbers_of, page_of
from detection_summaries import CLASSES, detection_run, drawn_detections, drawn_truth, run_of
from page_text import AS_TYPED

from visionjobs.coco_json import ANNOTATIONS, RESULTS, read_results, write_annotations, write_results
from visionjobs.errors import UserError
from visionjobs.jobfile import parse_job
from visionjobs.metrics.coco import coco_eval
from visionjobs.report.compare import build_comparison
from visionjobs.report.compare_box_pairs import common_floor, compare_boxes
from visionjobs.report.detection_metrics import GROUPS
from visionjobs.report.run_boxes import with_boxes
from visionjobs.report.summary import RunSummary
from visionjobs.runs import create_run
from visionjobs.storage import open_store

IMAGES = 40

JOB = "{task: detection, model: {name: yolov8n, weights: yolov8n.pt}, data: {name: street}, train: {epochs: 0}}"


def boxed_run(job: str, wrong: float, n: int = IMAGES, seed: int = 0, **parts: Any) -> RunSummary:
    """With its boxes, as `with_boxes` reads them."""
    truth = drawn_truth(n)
    found = read_results(write_results(truth, drawn_detections(truth, wrong, seed)), "memory", truth)
    return replace(run_of(truth, found, job=job, **parts), truth=truth, detections=found)


@pytest.fixture(scope="module")
def runs() -> list[RunSummary]:
    """A good run, nearly the same one again, and a bad one."""
    return [boxed_run("good", 0.2), boxed_run("alike", 0.2, seed=1), boxed_run("bad", 0.8)]


def with_value(run: RunSummary, value: float, *keys: str) -> RunSummary:
    """With another value of a metric at .25."""
    metrics = copy.deepcopy(dict(run.metrics))
    found = metrics["metrics"]["floors"]["0.25"]
    for key in keys[:-1]:
        found = found[key]
    found[keys[-1]] = value
    return replace(run, metrics=metrics)


def test_a_pair_is_tested_over_images(runs: list[RunSummary]) -> None:
    pairs = numbers_of(runs)["pairs"]
    assert [(pair["first"][:4], pair["second"][:3]) for pair in pairs] == [
        ("good", "ali"),
        ("good", "bad"),
        ("alik", "bad"),
    ]
    assert [pair["differs"] for pair in pairs] == [False, True, True]
    for pair, (a, b) in zip(pairs, [(0, 1), (0, 2), (1, 2)], strict=True):
        ours = [runs[place].value("floors.0.25.coco.AP50") for place in (a, b)]
        assert pair["ap50_difference"] == pytest.approx(ours[0] - ours[1], abs=1e-12)
        low, high = pair["interval"]
        wide_low, wide_high = pair["interval_over_all_pairs"]
        assert wide_low < low <= pair["ap50_difference"] <= high < wide_high
        assert pair["level_over_all_pairs"] == pytest.approx(1 - 0.05 / 3)
        assert sum(pair[f"images_{who}"] for who in ("first_better", "second_better", "alike")) == IMAGES
    assert pairs[1]["images_first_better"] > 3 * pairs[1]["images_second_better"]


def test_one_pair_has_one_interval_at_95_percent(runs: list[RunSummary]) -> None:
    (pair,) = compare_boxes(runs[:2])
    assert pair.interval == pair.adjusted
    assert pair.level == 0.95


def test_a_run_does_not_differ_from_itself(runs: list[RunSummary]) -> None:
    (pair,) = compare_boxes([runs[0], replace(runs[0], run="again-20260504-101112-ab13")])
    assert (pair.difference, pair.interval, pair.differs, pair.better) == (0, (0, 0), False, (0, 0, IMAGES))


def test_the_page(runs: list[RunSummary]) -> None:
    page = page_of(runs)
    assert "detection on street" in page.text
    assert f"{IMAGES} images of the split val" in page.text
    for key, title in (("coco.AP", "AP"), ("coco.AP50", "AP50"), ("calibration.all.d_ece", "D-ECE")):
        for floor in ("0.001", "0.25"):
            values = [run.value(f"floors.{floor}.{key}") for run in runs]
            best = min(values) if title == "D-ECE" else max(values)
            assert page.tiles[f"Best {title}, at {floor}"] == f"{best:.4f}"
            row = page.row(f"{title}, at {floor}")
            assert [cell.removesuffix(" best") for cell in row[1:]] == [f"{value:.4f}" for value in values]
            assert [cell.endswith("best") for cell in row[1:]] == [
                value == best and len(set(values)) > 1 for value in values
            ]
    assert page.tiles["Pairs that differ"].startswith("2 of 3")
    assert "A difference in AP50 is shown at the 5 % level between good and bad; alike and bad." in page.text
    assert "Bonferroni" in page.text
    assert "has fewer wrong and missing boxes on" in page.after("good - bad")
    assert "pixel" not in page.text.replace("pixels, medium", "").lower()
    assert not any("gap" in cell for cell in page.row("Run"))


def test_errors_are_in_points_and_the_fewest_are_best(runs: list[RunSummary]) -> None:
    values = [12.34, 3.456, 20.0]
    page = page_of([with_value(run, value, "tide", "all", "Miss") for run, value in zip(runs, values, strict=True)])
    row = page.row("Miss: missed, at 0.25")
    assert [cell.removesuffix(" best") for cell in row[1:]] == [f"{value:.2f}" for value in values]
    assert [cell.endswith("best") for cell in row[1:]] == [False, True, False]
    assert all(group.lead.translate(AS_TYPED) in page.text for group in GROUPS)


def test_the_count_based_value_ranks_nothing(runs: list[RunSummary]) -> None:
    row = page_of(runs).row("Count-based ECE, at 0.25")
    values = [run.value("floors.0.25.calibration.all.count_ece") for run in runs]
    assert row[1:] == [f"{value:.4f}" for value in values]
    assert len(set(values)) == 3


def test_classes_by_ap_at_the_lowest_floor(runs: list[RunSummary]) -> None:
    page = page_of(runs)
    assert "AP, at 0.001 by class" in page.text
    for name in CLASSES:
        row, scores = page.row(name), runs[0].values["floors"]["0.001"]["per_class"][name]
        assert row[1].removesuffix(" best") == ("n/a" if scores["AP"] is None else f"{scores['AP']:.4f}")
        assert row[-1] == f"{scores['boxes']:,}"
    assert page.row("train")[1:] == ["n/a", "n/a", "n/a", "0"]


def test_what_was_not_trained_has_no_epochs(runs: list[RunSummary]) -> None:
    page, numbers = page_of(runs), numbers_of(runs)
    assert "Nothing is trained: each run evaluates the weights that its job names." in page.text
    assert "epoch" not in page.text.lower()
    assert "weights at the end of training" not in page.text
    assert numbers["runs"][0]["gap_at_end"] == {}
    assert numbers["runs"][0]["best_epoch"] is None


def test_fine_tuned_runs_have_curves(runs: list[RunSummary]) -> None:
    tuned = [boxed_run("tuned", 0.2, epochs=3), runs[2]]
    page, numbers = page_of(tuned), numbers_of(tuned)
    assert page.row("tuned")[1:]
    assert numbers["runs"][0]["best_epoch"] == 3
    assert "ultralytics" in page.text
    names = [name for name in build_comparison(tuned, CREATED) if name.endswith(".png")]
    assert any("map" in name for name in names)
    assert "figures/floors_0_001_coco_AP_by_run.png" in names


def test_published_figures_stand_beside_ours(runs: list[RunSummary]) -> None:
    page = page_of(runs)
    row = page.row("good: Miss, small, at 0.25")
    ours = runs[0].value("floors.0.25.tide.small.Miss")
    assert row[1:3] == ["36.31", f"{ours:.2f}"]
    assert row[3] == f"{ours - 36.31:+.2f} {'better' if ours < 36.31 else 'worse'}"
    assert len(row) == 4, "there are no intervals"
    assert "confidence interval" not in page.text
    published = numbers_of(runs)["runs"][0]["published"]["floors.0.25.coco.AP"]
    assert published["difference"] == pytest.approx(runs[0].value("floors.0.25.coco.AP") - 0.48)


def test_other_floors(runs: list[RunSummary]) -> None:
    """Each at its own floors; pairs are tested at the highest one in common."""
    other = boxed_run("other", 0.8, floors=(0.001, 0.5))
    assert common_floor([runs[0], other]) == 0.001
    page, pair = page_of([runs[0], other]), numbers_of([runs[0], other])["pairs"][0]
    lowest = [run.value("floors.0.001.coco.AP50") for run in (runs[0], other)]
    assert pair["ap50_difference"] == pytest.approx(lowest[0] - lowest[1], abs=1e-12)
    assert page.row("AP, at 0.25")[2] == "n/a"
    assert page.row("AP, at 0.5")[1] == "n/a"
    nothing = boxed_run("nothing", 0.8, floors=(0.3,))
    page = page_of([runs[0], nothing])
    assert "no confidence floor (detect.floors) in common" in page.after("good - nothing")
    assert "classes" not in page.ids


def test_runs_without_stored_boxes_are_compared_but_not_tested(runs: list[RunSummary]) -> None:
    two = [runs[0], replace(runs[2], detections=None)]
    assert f"bad-20260504-101112-ab12 holds no {RESULTS}: it was deleted" in page_of(two).after("good - bad")
    pair = numbers_of(two)["pairs"][0]
    assert (pair["differs"], pair["ap50_difference"]) == (None, None)
    three = numbers_of([runs[0], runs[1], two[1]])["pairs"]
    assert [pair["level_over_all_pairs"] for pair in three] == [0.95, None, None], "over the pairs that are tested"


def test_few_images_and_no_boxes_prove_nothing(runs: list[RunSummary]) -> None:
    (pair,) = compare_boxes([boxed_run("good", 0.2, n=5), boxed_run("bad", 0.8, n=5)])
    assert (pair.tested, pair.reason) == (False, "it needs 6 images at least, and the split has 5")
    none = [replace(run, truth=run.truth.where(run.truth.crowd)) for run in runs[:2]]
    assert compare_boxes(none)[0].reason == "the split holds no true boxes"


def test_refusals(runs: list[RunSummary]) -> None:
    a, b = runs[:2]
    truth = b.truth
    others = [
        replace(truth, image_ids=truth.image_ids + 1),
        replace(truth, boxes=truth.boxes + 0.5),
        replace(truth, classes=tuple(reversed(truth.classes))),
        truth.where(~truth.crowd),
        drawn_truth(IMAGES - 1),
    ]
    for other in others:
        with pytest.raises(UserError, match=r"not of the same 40 and \d+ images, or are measured on other boxes"):
            build_comparison([a, replace(b, truth=other)], CREATED)
    with pytest.raises(UserError, match="split is not the same: val and test"):
        build_comparison([a, replace(b, metrics=dict(b.metrics) | {"split": "test"})], CREATED)


def test_boxes_are_read_from_the_runs_folder(tmp_path: Path, runs: list[RunSummary]) -> None:
    summary, truth = detection_run(), drawn_truth()
    run = create_run(open_store(str(tmp_path)), parse_job(JOB, "yolo.yaml", "yolo"), "{}")
    assert with_boxes(run, summary) is summary, "older runs, or deleted files"
    found = drawn_detections(truth)
    run.store.write(ANNOTATIONS, write_annotations(truth))
    run.store.write(RESULTS, write_results(truth, found))
    read = with_boxes(run, summary)
    assert (read.run, read.values, read.history) == (summary.run, summary.values, summary.history)
    assert coco_eval(read.truth, read.detections).numbers["AP50"] == pytest.approx(
        coco_eval(truth, found).numbers["AP50"], abs=0.01
    )
    run.store.write(RESULTS, b"[{")
    with pytest.raises(UserError, match=f"{RESULTS} is not valid JSON"):
        with_boxes(run, summary)
