"""Comparing segmentation runs: mIoU, curves and classes together, and each pair tested over images."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compared_runs import CREATED, numbers_of, page_of
from scene_summaries import CLASSES, scene_run

from visionjobs.errors import UserError
from visionjobs.metrics.image_bootstrap import paired_miou_difference
from visionjobs.report.compare import build_comparison
from visionjobs.report.compare_image_pairs import ImagePair
from visionjobs.report.compare_mask_pairs import compare_masks
from visionjobs.report.reproduce_page import metric_of
from visionjobs.report.summary import RunSummary
from visionjobs.scenes import image_ious


@pytest.fixture(scope="module")
def runs() -> list[RunSummary]:
    """A good run, nearly the same one again, and a bad one."""
    return [scene_run("good", 0.2), scene_run("alike", 0.2, seed=1), scene_run("bad", 0.5)]


def miou_by_hand(confusion: np.ndarray) -> float:
    ious = [
        confusion[k, k] / (confusion[k].sum() + confusion[:, k].sum() - confusion[k, k])
        for k in range(len(confusion))
        if confusion[k].sum()
    ]
    return float(np.mean(ious))


def test_a_pair_is_tested_over_images(runs: list[RunSummary]) -> None:
    pairs = numbers_of(runs)["pairs"]
    assert [(pair["first"][:4], pair["second"][:3]) for pair in pairs] == [
        ("good", "ali"),
        ("good", "bad"),
        ("alik", "bad"),
    ]
    assert [pair["differs"] for pair in pairs] == [False, True, True]
    by_place = [(0, 1), (0, 2), (1, 2)]
    for pair, (a, b) in zip(pairs, by_place, strict=True):
        first, second = (miou_by_hand(runs[place].masks.confusions.sum(axis=0)) for place in (a, b))
        assert pair["miou_difference"] == pytest.approx(first - second, abs=1e-12)
        assert pair["miou_difference"] == pytest.approx(runs[a].value("miou") - runs[b].value("miou"), abs=1e-12)
        low, high = pair["interval"]
        wide_low, wide_high = pair["interval_over_all_pairs"]
        assert wide_low < low <= pair["miou_difference"] <= high < wide_high
        assert pair["level_over_all_pairs"] == pytest.approx(1 - 0.05 / 3)
        better = np.sign(image_ious(runs[a].masks) - image_ious(runs[b].masks))
        counts = [pair[f"images_{who}"] for who in ("first_better", "second_better", "alike")]
        assert counts == [int((better == sign).sum()) for sign in (1, -1, 0)]
    assert pairs[1]["images_first_better"] == 9


def test_one_pair_has_one_interval_at_95_percent(runs: list[RunSummary]) -> None:
    (pair,) = compare_masks(runs[:2])
    expected = paired_miou_difference(runs[0].masks.confusions, runs[1].masks.confusions)
    assert pair.interval == pair.adjusted == (expected.low, expected.high)
    assert pair.level == 0.95


def test_a_run_does_not_differ_from_itself(runs: list[RunSummary]) -> None:
    (pair,) = compare_masks([runs[0], replace(runs[0], run="again-20260504-101112-ab13")])
    assert (pair.difference, pair.interval, pair.differs, pair.better) == (0, (0, 0), False, (0, 0, 9))


@pytest.mark.parametrize(
    ("ends", "differs"),
    [((0.01, 0.2), True), ((-0.2, -0.01), True), ((-0.1, 0.1), False), ((0.0, 0.1), False), (None, False)],
)
def test_a_difference_is_one_where_the_interval_leaves_out_0(ends: tuple[float, float] | None, differs: bool) -> None:
    assert ImagePair(0, 1, 0.1, (1, 0, 0), ends, ends, 0.95).differs is differs


def test_the_page(runs: list[RunSummary]) -> None:
    page = page_of(runs)
    assert "Comparison of 3 runs" in page.text
    assert "9 images of the split test" in page.text
    assert "segmentation on streets" in page.text
    assert "accuracy gap" not in page.text.lower()
    assert "McNemar" not in page.text
    assert "samples" not in page.text.replace("resamples", "")
    assert page.tiles["Pairs that differ"].startswith("2 of 3")
    assert page.tiles[f"Best {metric_of('segmentation', 'miou').title}"].startswith(
        f"{max(run.value('miou') for run in runs):.4f}"
    )
    row = page.row("good - bad")
    assert row[1:4] == ["9", "0", "0"]
    assert row[4].startswith("+0.")
    assert row[6].endswith("different")
    assert page.after("good - bad").endswith("over all pairs the interval leaves out 0: a difference at the 5 % level.")
    assert "98.33 %, for all pairs together" in page.text
    assert "Bonferroni" in page.text
    assert "A difference in mIoU is shown at the 5 % level between good and bad; alike and bad." in page.text


def test_classes_by_iou(runs: list[RunSummary]) -> None:
    page = page_of(runs)
    for name in CLASSES:
        row = page.row(name)
        scores = runs[0].values["per_class"][name]
        shown = "n/a" if scores["iou"] is None else f"{scores['iou']:.4f}"
        assert row[1].removesuffix(" best") == shown
        assert row[-1] == f"{scores['pixels']:,}"
    assert page.row("Train")[1:] == ["n/a", "n/a", "n/a", "0"]
    assert "IoU by class and run" in page.text


def test_curves_gaps_and_published_figures(runs: list[RunSummary]) -> None:
    files, numbers = build_comparison(runs, CREATED), numbers_of(runs)
    names = {name.removeprefix("figures/").removesuffix(".png") for name in files if name.endswith(".png")}
    assert {"miou_by_run", "iou_by_class", "loss_validation", "miou_validation"} <= names
    first, last = numbers["runs"][0], runs[0].history[-1]
    assert first["gap_at_end"] == {
        "loss": pytest.approx(last["val_loss"] - last["train_ce"]),
        "miou": pytest.approx(last["train_miou"] - last["val_miou"]),
    }
    assert first["best_epoch"] == 3
    assert first["metrics"]["miou"] == runs[0].value("miou")
    assert first["intervals"]["miou"] == list(runs[0].interval("miou"))
    assert first["published"]["miou"]["difference"] == pytest.approx(runs[0].value("miou") - 0.2409)
    assert (numbers["images"], numbers["split"], numbers["task"]) == (9, "test", "segmentation")
    assert files == build_comparison(runs, CREATED)


def test_metrics_of_camvid_are_compared_where_there_are_any(runs: list[RunSummary]) -> None:
    assert "camvid11.miou" not in numbers_of(runs)["runs"][0]["metrics"]
    values = dict(runs[0].values) | {"camvid11": {"miou": 0.625, "pixel_accuracy": 0.75}}
    folded = replace(runs[0], metrics=dict(runs[0].metrics) | {"metrics": values})
    first, second = numbers_of([folded, runs[1]])["runs"]
    assert (first["metrics"]["camvid11.miou"], second["metrics"]["camvid11.miou"]) == (0.625, None)
    assert any(cell.startswith("0.6250") for cell in page_of([folded, runs[1]]).row("good"))


def test_runs_without_stored_masks_are_compared_but_not_tested(runs: list[RunSummary]) -> None:
    page = page_of([runs[0], replace(runs[2], masks=None)])
    assert "bad-20260504-101112-ab12 holds no predictions/test.npz" in page.after("good - bad")
    assert page.row("good - bad")[1:] == ["n/a"] * 6
    assert "No pair could be tested." in page.text
    pair = numbers_of([runs[0], replace(runs[2], masks=None)])["pairs"][0]
    assert (pair["differs"], pair["miou_difference"]) == (None, None)
    three = numbers_of([*runs[:2], replace(runs[2], masks=None)])["pairs"]
    assert [pair["level_over_all_pairs"] for pair in three] == [0.95, None, None], "over the pairs that are tested"


def test_a_split_without_pixels(runs: list[RunSummary]) -> None:
    empty = [replace(run, masks=replace(run.masks, confusions=0 * run.masks.confusions)) for run in runs[:2]]
    assert "the split holds no labelled pixels" in page_of(empty).after("good - alike")


def changed(run: RunSummary, **parts: Any) -> RunSummary:
    return replace(run, masks=replace(run.masks, **parts))


def test_refusals(runs: list[RunSummary]) -> None:
    a, b = runs[:2]
    kept = b.masks
    cases = [
        (changed(b, paths=("x.png", *kept.paths[1:])), "not of the same 9 and 9 images"),
        (changed(b, classes=tuple(reversed(kept.classes))), "not of the same 9 and 9 images"),
        (changed(b, confusions=kept.confusions[::-1]), "or are measured on other masks"),
        (
            changed(b, masks=kept.masks[:, ::2]),
            r"not of the same size: 24x32 and 12x32.*--set data.size=\[HEIGHT,WIDTH\]",
        ),
        (replace(b, metrics=dict(b.metrics) | {"split": "val"}), "split is not the same: test and val"),
        (replace(b, metrics=dict(b.metrics) | {"task": "classification"}), "task is not the same"),
    ]
    for other, said in cases:
        with pytest.raises(UserError, match=said):
            build_comparison([a, other], CREATED)


def test_json_has_no_numbers_that_are_none(runs: list[RunSummary]) -> None:
    json.loads(build_comparison(runs, CREATED)["compare.json"], parse_constant=pytest.fail)


def test_few_images_prove_nothing() -> None:
    """Of five images, one pixel better in each, every resample is better: an interval without 0 that means nothing."""
    runs = [scene_run("good", 0.2, n=5), scene_run("bad", 0.5, n=5)]
    (pair,) = compare_masks(runs)
    assert (pair.tested, pair.differs) == (False, False)
    assert pair.reason == "it needs 6 images at least, and the split has 5"
    assert compare_masks([scene_run("good", 0.2, n=6), scene_run("bad", 0.5, n=6)])[0].differs


def test_losses_over_different_pixels_are_not_ranked(runs: list[RunSummary]) -> None:
    spec = {**runs[2].spec, "train": {**runs[2].spec["train"], "ignore": ["Void"]}}
    pages = [
        build_comparison(pair, "2026-05-04T10:11:12+00:00")["compare.html"].decode()
        for pair in (runs[:2], [runs[0], replace(runs[2], spec=spec)])
    ]
    told = "The runs leave different classes out of their losses"
    assert [told in page for page in pages] == [False, True]
