"""Comparing runs: a page that tells what there is of each run, and needs nothing from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from compared_runs import CREATED, MakeRun, numbers_of, page_of, run_of, three_runs, with_spec
from hypothesis import given
from hypothesis import strategies as st
from page_text import PageText

from visionjobs.report.compare import build_comparison
from visionjobs.report.compare_figures import Curve, Score, class_scores, run_curves, score_bars
from visionjobs.report.compare_page import lies_within
from visionjobs.report.compare_runs import labels
from visionjobs.report.summary import RunSummary

PNG = b"\x89PNG"


@pytest.fixture
def three(make_run: MakeRun) -> list[RunSummary]:
    return three_runs(make_run)


def test_headline_and_table(three: list[RunSummary]) -> None:
    page = page_of(three)
    assert "Comparison of 3 runs" in page.text
    assert "12 samples of the split val" in page.text
    assert "Best accuracy1.0000all95 %: 1.0000 to 1.0000" in "".join(page.text.split("\n"))
    assert page.row("all")[1].startswith("1.0000")
    assert page.row("all")[1].endswith("best")
    low, high = three[1].interval("accuracy") or (0, 0)
    assert page.row("few")[1] == f"0.3333 {low:.4f} to {high:.4f}"
    assert page.after("all") == "all-20260504-101112-ab12"


def test_where_all_are_alike_none_is_best(make_run: MakeRun) -> None:
    page = page_of([run_of(make_run, "one", [0]), run_of(make_run, "two", [2])])
    assert page.row("one")[1].startswith("0.9167")
    assert not any("best" in cell for row in page.rows for cell in row)
    assert "Best accuracy0.9167all runs" in "".join(page.text.split("\n"))


def test_the_best_loss_is_the_lowest(three: list[RunSummary]) -> None:
    page = page_of(three)
    column = page.row("Run").index("Loss (negative log-likelihood)")
    losses = {label: page.row(label)[column] for label in ("all", "few", "most")}
    assert [label for label, text in losses.items() if text.endswith("best")] == ["all"]
    assert losses["few"].startswith(f"{three[1].value('nll'):.4f}")


def test_published_figures_stand_beside_ours(three: list[RunSummary]) -> None:
    page = page_of(three)
    row = page.row("few: Accuracy")
    assert row[1] == "0.8102"
    assert row[3] == "-0.4769 worse"
    assert row[4] == "no"
    assert "experiments, question 2, part 3 (c)" in page.after("few: Accuracy")
    published = numbers_of(three)["runs"][0]["published"]["accuracy"]
    assert (published["value"], published["ours"]) == (0.8102, 1.0)
    assert published["difference"] == pytest.approx(0.1898)


def test_without_published_figures_there_is_no_such_section(three: list[RunSummary]) -> None:
    page = page_of([replace(run, spec=dict(run.spec) | {"published": {}}) for run in three])
    assert "published" not in page.ids
    assert "diamond" not in page.text


def test_training_is_told(three: list[RunSummary]) -> None:
    rows = [
        dict(row, images_per_second=10.0 * (row["epoch"] + 1), seconds=row["epoch"] + 1.0) for row in three[0].history
    ]
    runs = [replace(three[0], history=rows), *three[1:]]
    numbers = numbers_of(runs)["runs"][0]
    last = rows[-1]
    assert numbers["images_per_second"] == pytest.approx((10 * 1 + 20 * 2 + 30 * 3) / (1 + 2 + 3))
    assert numbers["gap_at_end"]["accuracy"] == pytest.approx(last["train_accuracy"] - last["val_accuracy"])
    assert numbers["best_epoch"] == 3
    training = next(row for row in page_of(runs).rows if row[:2] == ["all", "resnet18"])
    assert training[2:4] == ["3", "3"]
    assert training[6:9] == ["23.3", "25 min 8 s", "0"]


def test_settings_that_differ_are_told_and_no_others(three: list[RunSummary]) -> None:
    runs = [with_spec(three[0], "train", lr=0.5), three[1], with_spec(three[2], "train", epochs=7)]
    settings = numbers_of(runs)["settings"]
    assert settings == {"train.lr": [0.5, 0.001, 0.001], "train.epochs": [3, 3, 7]}
    assert page_of(runs).row("train.epochs") == ["train.epochs", "3", "3", "7"]
    assert "The jobs have the same settings" in page_of(three).text


def test_classes_by_run(three: list[RunSummary]) -> None:
    page = page_of(three)
    assert page.row("cat") == ["cat", "1.0000 best", "0.3333", "0.9231", "6"], "F1 = 2 TP / (2 TP + FP + FN)"


def test_runs_of_one_job_have_names_of_their_own(make_run: MakeRun) -> None:
    runs = [run_of(make_run, "same", [number]) for number in range(3)]
    runs = [replace(run, run=f"same-20260504-101112-000{number}") for number, run in enumerate(runs)]
    assert labels(runs) == ("same 0000", "same 0001", "same 0002")
    assert page_of(runs).row("same 0001")
    alike = [replace(run, run=f"same-2026050{number}-101112-0000") for number, run in enumerate(runs)]
    assert labels(alike) == tuple(run.run for run in alike)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 3)), min_size=2, unique=True))
def test_names_tell_runs_apart(parts: list[tuple[str, int, int]]) -> None:
    runs = [RunSummary(f"{job}-2026-{day}-{end}", job, {}, {}, [], {}) for job, day, end in parts]
    assert len(set(labels(runs))) == len(runs)


def test_it_asks_nothing_of_the_network_and_links_lead_to_headings(three: list[RunSummary]) -> None:
    files = build_comparison(three, CREATED)
    html = files["compare.html"].decode()
    assert not any(word in html for word in ("http://", "https://", "url(", "@import", "<script"))
    page = PageText(html)
    assert {link[1:] for link in page.links} == page.ids
    assert page.ids == {"results", "published", "pairs", "training", "classes", "settings", "provenance"}
    assert page.images == [data for name, data in files.items() if name.startswith("figures/")]
    assert len(page.images) == 6
    assert files == build_comparison(three, CREATED), "the same runs give the same bytes"


def test_names_are_escaped(make_run: MakeRun) -> None:
    evil = '<script>alert("$5")</script>&'
    runs = [run_of(make_run, "one", [0]), run_of(make_run, "two", [1])]
    classes = {evil: runs[0].values["per_class"]["cat"]}
    metrics = dict(runs[0].metrics) | {"metrics": dict(runs[0].values) | {"per_class": classes}}
    runs = [replace(run, predictions=None, metrics=metrics) for run in runs]
    html = build_comparison(runs, CREATED)["compare.html"].decode()
    assert "<script" not in html
    assert PageText(html).row(evil)


def test_drawn_sample_is_told(three: list[RunSummary]) -> None:
    page = page_of([with_spec(run, "data", name="wildlife-sample") for run in three])
    assert "The dataset is a drawn sample" in page.text
    row = page.row("few: Accuracy")
    assert (row[1], row[3:]) == ("0.8102", ["n/a drawn sample", "n/a"])
    assert "diamond" not in page.text
    published = numbers_of([with_spec(run, "data", name="wildlife-sample") for run in three])["runs"][0]["published"]
    assert (published["accuracy"]["value"], published["accuracy"]["difference"]) == (0.8102, None)


def test_runs_with_nothing_but_metrics(make_run: MakeRun) -> None:
    runs = [run_of(make_run, job, [0], history=[], record={}) for job in ("one", "two")]
    page = page_of(runs)
    assert next(row for row in page.rows if row[:2] == ["one", "resnet18"])[3:] == ["n/a"] * 6
    assert len(page.images) == 2, "the bars and the classes: there are no curves"
    assert numbers_of(runs)["runs"][0]["gap_at_end"] == {"loss": None, "accuracy": None}


def test_eight_runs_of_different_lengths(make_run: MakeRun) -> None:
    runs = [run_of(make_run, f"job{i}", range(i), history=make_run(epochs=1 + 9 * i).history) for i in range(8)]
    files = build_comparison(runs, CREATED)
    assert len(json.loads(files["compare.json"])["pairs"]) == 28
    assert len(PageText(files["compare.html"].decode()).images) == 6


def test_many_classes_are_a_table_only(make_run: MakeRun) -> None:
    names = [f"class {i}" for i in range(70)]
    runs = [make_run(names=names, n=140, epochs=1, run=f"r-{i}", job=f"job{i}") for i in range(2)]
    files = build_comparison(runs, CREATED)
    assert "figures/f1_by_class.png" not in files
    assert "figures/accuracy_by_run.png" in files
    assert PageText(files["compare.html"].decode()).row("class 69")


@pytest.mark.parametrize(
    ("value", "ends", "inside"),
    [
        (0.5, (0.5, 0.6), True),
        (0.6, (0.5, 0.6), True),
        (0.4, (0.5, 0.6), False),
        (None, (0, 1), None),
        (0.5, None, None),
    ],
)
def test_ends_belong_to_an_interval(value: float | None, ends: tuple[float, float] | None, inside: bool | None) -> None:
    assert lies_within(value, ends) is inside


def test_figures_of_what_is_missing() -> None:
    curves = {"one": Curve([1, 2], [None, 0.5], 2), "nothing": Curve([], [], None)}
    assert run_curves(curves, "loss").startswith(PNG)
    assert score_bars([Score("one", None), Score("two", 3.0, (2.5, 3.5), 4.0)], "loss", "95 %").startswith(PNG)
    assert score_bars([Score("one", 0.5)], "accuracy", "95 %", by_run=False).startswith(PNG)
    assert class_scores(["a"], {"one": [None], "two": [1.0]}, "F1").startswith(PNG)


def test_it_needs_neither_torch_nor_ray_nor_pyplot() -> None:
    code = """
import sys
import visionjobs.report.compare, visionjobs.report.reproduce, visionjobs.report.load
import visionjobs.cli.compare, visionjobs.cli.report, visionjobs.cli.reproduce
print([name for name in ("torch", "ray", "boto3", "scipy", "sklearn", "matplotlib.pyplot") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
