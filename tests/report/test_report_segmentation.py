"""The report of a segmentation run: its numbers, what is n/a, and what it does without parts of the run."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from parsed_page import ParsedPage, figures_of, page_of, section_page
from scene_summaries import CLASSES, scene_run

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.metrics.segmentation import SegmentationResult
from visionjobs.report.build import build_page, build_report
from visionjobs.report.class_ious import class_ious
from visionjobs.report.iou_bins import iou_bins
from visionjobs.report.overfitting import loss_gap
from visionjobs.report.pixel_confusion import pixel_confusion
from visionjobs.report.pixel_distribution import pixel_distribution
from visionjobs.report.segmentation import remarks, tiles
from visionjobs.report.summary import RunSummary


@pytest.fixture(scope="module")
def run() -> RunSummary:
    return scene_run()


@pytest.fixture(scope="module")
def page(run: RunSummary) -> ParsedPage:
    return page_of(run)


def with_values(run: RunSummary, **values: Any) -> RunSummary:
    return replace(run, metrics={**run.metrics, "metrics": {**run.values, **values}})


def measured(matrix: list[list[int]], names: tuple[str, ...]) -> dict[str, Any]:
    return SegmentationResult(np.array(matrix, np.int64), names, 0.5, 3).to_dict()


def test_every_section_is_there_in_order(page: ParsedPage) -> None:
    assert [value for _, key, value in page.attributes if key == "id"] == [
        "notes", "results", "training", "overfitting", "dataset", "classes", "iou_bins", "confusion", "boundaries",
        "samples", "worst_classes", "augmentation", "provenance",
    ]  # fmt: skip


def test_the_page_speaks_of_images_of_the_test_split(page: ParsedPage) -> None:
    assert "9 images of the split test" in page.text
    assert "on the 9 images of the split test of streets" in page.text
    assert "how far a figure hangs on which images happened to be evaluated" in page.text
    assert "the split val" not in page.text


def test_results_hold_ours_and_the_published(page: ParsedPage, run: RunSummary) -> None:
    for title, key in (("Pixel accuracy", "pixel_accuracy"), ("Mean accuracy", "mean_accuracy"),
                       ("Mean Dice", "mean_dice"), ("Frequency-weighted IoU", "fwiou"),
                       ("Boundary F", "boundary.f")):  # fmt: skip
        row = page.row(title, "Results")
        assert row[1].startswith(f"{run.value(key):.4f}")
        assert row[2:] == ["n/a", "n/a"]
        assert len(page.rows[page.rows.index(row) + 1]) == 1, "the definition has the next row for itself"
    low, high = run.interval("miou") or (0, 0)
    assert f"{low:.4f} to {high:.4f}" in page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert page.row("mIoU", "Results")[2] == "0.2409"
    assert page.row("Loss (cross-entropy)", "Results")[2] == "0.8569"


def test_camvids_eleven_classes_are_told_for_camvid_alone(page: ParsedPage, run: RunSummary) -> None:
    assert "11 classes" not in page.text
    names = tuple(CAMVID)
    matrix = np.random.default_rng(0).integers(0, 50, (32, 32))
    values = measured(matrix.tolist(), names)
    camvid = with_values(run, **values)
    assert tiles(camvid)[1].value == f"{values['camvid11']['miou']:.4f}"
    rows = page_of(replace(camvid, masks=None, scenes=None, dataset={}))
    for title, key in (("mIoU, 11 classes", "camvid11"), ("mIoU, 31 classes", "camvid31")):
        assert rows.row(title, "Results")[1] == f"{values[key]['miou']:.4f}"
    table = rows.tables["11 classes"][1:]
    assert len(table) == 11
    pavement = values["camvid11"]["per_class"]["Pavement"]
    assert table[4] == ["Pavement", *(f"{pavement[k]:.4f}" for k in ("recall", "iou", "dice", "precision")),
                        f"{pavement['pixels']:,}"]  # fmt: skip


def test_a_published_figure_of_eleven_classes_has_a_row_anywhere(run: RunSummary) -> None:
    spec = {**run.spec, "published": {"camvid11.miou": {"value": 0.6, "source": "a paper"}}}
    assert page_of(replace(run, spec=spec)).row("mIoU, 11 classes", "Results")[1:] == ["n/a", "0.6000", "n/a"]


def test_epochs_tell_both_losses_and_the_learning_rate(page: ParsedPage, run: RunSummary) -> None:
    first = run.history[0]
    keys = ("train_loss", "train_ce", "val_loss", "train_miou", "val_miou", "train_pixel_accuracy",
            "val_pixel_accuracy")  # fmt: skip
    assert page.row("1", "Epochs")[1:9] == [*(f"{first[key]:.4f}" for key in keys), "0.001"]


def test_the_learning_rate_is_drawn_where_it_changes(run: RunSummary) -> None:
    def names(rows: list[Any]) -> set[str]:
        return {figure.name for figure in build_page(replace(run, history=rows)).figures()}

    assert "learning_rate" not in names(list(run.history))
    assert "learning_rate" in names([{**row, "lr": 0.1 / (row["epoch"] + 1)} for row in run.history])


def test_overfitting_is_by_cross_entropy_and_miou(page: ParsedPage, run: RunSummary) -> None:
    last = run.history[-1]
    assert loss_gap(run, last) == pytest.approx(last["val_loss"] - last["train_ce"])
    row = page.row("End", "Over-fitting")
    assert row[4] == f"{last['train_ce']:.4f}"
    assert row[-1] == "+0.0500"
    assert page.tables["Over-fitting"][0][-1] == "Gap in mIoU"
    assert page.row("Highest validation mIoU", "Over-fitting")[1] == "3"
    assert "without class weights, label smoothing and auxiliary head" in page.text


def test_an_absent_class_is_not_available_and_never_zero(page: ParsedPage) -> None:
    assert page.row("Train", "Classes")[1:] == [*["n/a"] * 4, "0"]
    assert page.row("Train", "Boundaries")[1:] == [*["n/a"] * 3, "0"]
    assert page.row("Train", "Pixels and images by class")[1:] == ["absent", "0"] * 3
    assert 'Without pixels in this split: the class "Train".' in page.text
    assert "Absent, without a pixel in any split: Train." in page.text
    assert "Absent from the training images: Train." in page.text


def test_remarks_name_what_was_never_predicted_and_off_palette_pixels(run: RunSummary) -> None:
    values = measured([[5, 0, 0], [3, 0, 0], [0, 0, 0]], ("road", "sky", "car"))
    told = list(remarks(replace(with_values(run, **values), dataset={"off_palette": 1234})))
    assert len(told) == 3
    assert 'Without pixels in this split: the class "car"' in told[0]
    assert 'Never predicted: the class "sky".' in told[1]
    assert told[2].startswith("1,234 pixels")
    two = measured([[5, 0, 0], [0, 0, 0], [0, 0, 0]], ("road", "sky", "car"))
    assert 'the 2 classes "sky", "car"' in next(iter(remarks(with_values(run, **two))))


def test_classes_by_hand(run: RunSummary) -> None:
    values = measured([[8, 2, 0], [1, 4, 0], [5, 0, 0]], ("road", "sky", "car"))
    page = section_page(class_ious(with_values(run, **values)))
    assert page.row("road", "Classes")[1:] == ["0.8000", "0.5000", "0.6667", "0.5714", "10"]
    assert page.row("car", "Classes")[1:] == ["0.0000", "0.0000", "0.0000", "n/a", "5"]


def test_bins_hold_their_lower_bound_and_name_their_classes(run: RunSummary) -> None:
    values = measured([[8, 2, 0, 0], [1, 4, 0, 0], [5, 0, 0, 0], [0, 0, 0, 3]], ("road", "sky", "car", "tree"))
    section = iou_bins(with_values(run, **values))
    rows = section_page(section).tables["IoU bins"][1:]
    assert len(rows) == 10
    assert rows[5] == ["0.5 to 0.6", "2", "0.6190", "0.8000", "road, sky"]
    assert rows[0] == ["0.0 to 0.1", "1", "n/a", "0.0000", "car"]
    assert rows[9] == ["0.9 to 1.0", "1", "1.0000", "1.0000", "tree"]
    assert rows[1] == ["0.1 to 0.2", "0", "n/a", "n/a", "none"]
    assert [figure.name for figure in figures_of(section)] == ["iou_bins"]


def test_the_matrix_leaves_out_classes_that_do_not_occur(run: RunSummary) -> None:
    values = measured([[8, 0, 2, 0], [0, 0, 0, 0], [4, 0, 4, 2], [0, 0, 0, 0]], ("a", "b", "c", "d"))
    section = pixel_confusion(with_values(run, **values))
    (figure,) = figures_of(section)
    assert "1 class neither there nor predicted" in figure.caption
    assert section_page(section).tables["Most confused pairs"] == [
        ["True class", "Predicted class", "Pixels", "Share of the true class", "Share of all wrong pixels"],
        ["c", "a", "4", "40.0 %", "50.0 %"],
        ["a", "c", "2", "20.0 %", "25.0 %"],
        ["c", "d", "2", "20.0 %", "25.0 %"],
    ]


def test_a_large_matrix_scrolls_instead_of_shrinking(run: RunSummary) -> None:
    values = measured(np.ones((32, 32), int).tolist(), tuple(CAMVID))
    (figure,) = figures_of(pixel_confusion(with_values(run, **values)))
    assert figure.min_width == 32 * 28


def test_the_dataset_has_pixels_and_images_of_each_split(run: RunSummary) -> None:
    section = pixel_distribution(run)
    page = section_page(section)
    assert (
        "streets: 27 images, packed at 32 x 24 pixels (width x height): 9 for training, 9 for validation" in page.text
    )
    assert page.row("Road")[1:] == ["4,000 (51.9 %)", "9"] * 3
    names = [figure.name for figure in figures_of(section)]
    assert names[:6] == [f"class_{unit}_{split}" for unit in ("pixels", "images")
                         for split in ("training", "validation", "test")]  # fmt: skip
    assert names[6:] == ["example_0", "example_1", "example_2", "example_4"]
    assert "logarithmic axis" in page.text


def test_a_class_that_only_some_splits_have(run: RunSummary) -> None:
    pixels = {"train": dict(zip(CLASSES, (9000, 4, 9, 9, 2), strict=True)),
              "test": dict(zip(CLASSES, (9, 0, 9, 9, 2), strict=True))}  # fmt: skip
    page = section_page(pixel_distribution(replace(run, dataset={**run.dataset, "pixels": pixels}, scenes=None)))
    assert "Without a pixel in test, though not in all splits: Sky." in page.text
    assert page.row("Sky")[1] == "4 (<0.1 %)"
    assert "any split" not in page.text


@pytest.mark.parametrize(
    ("missing", "absent"),
    [
        ({"masks": None, "scenes": None}, {"samples", "worst_classes", "augmentation"}),
        ({"dataset": {}}, {"dataset", "worst_classes", "augmentation"}),
        ({"metrics": {}, "masks": None, "scenes": None}, {"classes", "iou_bins", "confusion", "boundaries", "samples"}),
        ({"history": []}, {"overfitting"}),
    ],
)
def test_without_a_part_of_the_run(run: RunSummary, missing: dict[str, Any], absent: set[str]) -> None:
    page = page_of(replace(run, **missing))
    assert not absent & {value for _, key, value in page.attributes if key == "id"}
    if "history" in missing:
        assert "No epoch was completed." in page.text
    if "metrics" in missing:
        assert "not evaluated yet" in page.text
        assert page.row("mIoU", "Results")[1:] == ["n/a", "0.2409", "n/a"]


def test_an_evaluation_on_the_training_images_is_marked(run: RunSummary) -> None:
    """Its number comes from the sizes of the splits: images that hold a class overlap."""
    page = page_of(replace(run, metrics={**run.metrics, "split": "train"}))
    assert "9 of these images were trained on" in page.text


def test_long_and_many_names_and_odd_ones(run: RunSummary) -> None:
    names = tuple(f"{'a very long name of a class ' * 3}<b>{number}</b>" for number in range(100))
    values = measured((np.eye(100, dtype=int) * 9).tolist(), names)
    files = build_report(replace(with_values(run, **values), dataset={}, masks=None, scenes=None))
    page = ParsedPage(files["report.html"].decode())
    assert "<b>" not in files["report.html"].decode()
    assert page.row(names[99], "Classes")[-1] == "9"


def test_the_embedded_figures_are_the_files_and_the_bytes_are_the_same_again(run: RunSummary) -> None:
    files = build_report(run)
    page = ParsedPage(files["report.html"].decode())
    images = [value for tag, key, value in page.attributes if (tag, key) == ("img", "src")]
    embedded = [base64.b64decode(image.removeprefix("data:image/png;base64,"), validate=True) for image in images]
    assert embedded == [data for name, data in files.items() if name.endswith(".png")]
    assert files == build_report(run)


def test_it_needs_neither_torch_nor_ray(run: RunSummary) -> None:
    code = """
import pickle, sys
from visionjobs.report.build import build_report
files = build_report(pickle.load(sys.stdin.buffer))
print(len(files), [name for name in ("torch", "ray", "boto3", "matplotlib.pyplot") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(run), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{len(build_report(run))} []\n".encode()), done.stderr.decode()
