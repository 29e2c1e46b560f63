"""The table of published figures and ours: its rows, what stands for a job, and any task's metrics by their keys."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from detection_summaries import detection_run
from page_text import PageText
from scene_summaries import scene_run

from visionjobs.jobfile import find_job, load_job, parse_job
from visionjobs.report.reproduce import build_reproduction, differing, table_rows
from visionjobs.report.reproduce_page import Reproduced, metric_of
from visionjobs.report.summary import RunSummary
from visionjobs.spec import flatten

JOBS = Path(__file__).resolve().parents[2] / "jobs"
MakeRun = Callable[..., RunSummary]
CREATED = "2026-05-05T08:00:00+00:00"
PUBLISHED = {
    "accuracy": {"value": 0.5, "source": "table 3"},
    "f1_macro": {"value": 0.99, "source": "table 4"},
    "f1_micro": {"value": 0.7, "source": "table 5"},
}
JOB = """
task: classification
model: {name: resnet18, weights: IMAGENET1K_V1}
data: {name: wildlife}
published: {accuracy: {value: 0.8, source: a table}}
"""


def flat(*sets: str) -> dict[str, Any]:
    return flatten(parse_job(JOB, "resnet.yaml", "resnet", sets).model_dump(mode="json"))


def published_of(job: str) -> dict[str, dict[str, Any]]:
    """What the project's own job file publishes."""
    return load_job(find_job(job, JOBS)).model_dump(mode="json")["published"]


def detection_with(published: dict[str, dict[str, Any]], **parts: Any) -> RunSummary:
    run = detection_run(**parts)
    return replace(run, spec=dict(run.spec) | {"published": published})


def page_of(results: Sequence[Reproduced]) -> PageText:
    return PageText(build_reproduction(results, CREATED)["reproduce.html"].decode())


@pytest.fixture
def run(make_run: MakeRun) -> RunSummary:
    return make_run(full=True, epochs=7)


@pytest.fixture
def results(run: RunSummary) -> list[Reproduced]:
    """A finished run, a failure and a job without a run."""
    return [
        Reproduced("resnet", "classification", PUBLISHED, run),
        Reproduced("resnet_aug", "classification", {"accuracy": PUBLISHED["accuracy"]}, None, "failed: no <b>disk</b>"),
        Reproduced("yolo", "detection", {"AP": {"value": 0.37, "source": "part 2"}}, None, "no finished run"),
    ]


def test_rows_tell_published_and_ours(results: list[Reproduced], run: RunSummary) -> None:
    accuracy, f1, unknown, failed, none = table_rows(results)
    ours = run.value("accuracy")
    assert ours is not None
    assert (accuracy.job, accuracy.metric, accuracy.published, accuracy.ours) == ("resnet", "accuracy", 0.5, ours)
    assert accuracy.difference == pytest.approx(ours - 0.5)
    assert accuracy.interval == run.interval("accuracy")
    assert accuracy.published_within_interval is False
    assert (accuracy.samples, accuracy.epochs, accuracy.state) == (200, 7, "complete")
    assert (accuracy.dataset, accuracy.version, accuracy.run) == ("wildlife", "3f9c2ab41d77", run.run)
    assert f1.published_within_interval is False
    assert (unknown.ours, unknown.difference, unknown.state) == (None, None, "the run has no metric f1_micro")
    assert (failed.ours, failed.run, failed.samples, failed.state) == (None, None, None, "failed: no <b>disk</b>")
    assert none.state == "no finished run"
    within = dict(PUBLISHED["accuracy"], value=ours)
    assert table_rows([replace(results[0], published={"accuracy": within})])[0].published_within_interval is True


def test_csv_and_json_say_the_same(results: list[Reproduced]) -> None:
    files = build_reproduction(results, CREATED)
    rows = json.loads(files["reproduce.json"], parse_constant=pytest.fail)["rows"]
    table = list(csv.DictReader(files["reproduce.csv"].decode().splitlines()))
    assert len(rows) == len(table) == 5
    for row, line in zip(rows, table, strict=True):
        assert {key: "" if value is None else str(value) for key, value in row.items()} == line
    assert table[3]["ours"] == ""
    assert set(files) == {"reproduce.html", "reproduce.csv", "reproduce.json", "figures/published_and_ours.png"}
    assert files == build_reproduction(results, CREATED)


def test_the_page(results: list[Reproduced], run: RunSummary) -> None:
    html = build_reproduction(results, CREATED)["reproduce.html"].decode()
    assert not any(word in html for word in ("http://", "https://", "url(", "@import", "<script", "<b>"))
    page = PageText(html)
    assert {link[1:] for link in page.links} == page.ids == {"notes", "figures", "runs"}
    row = page.row("resnet: Accuracy")
    low, high = run.interval("accuracy") or (0, 0)
    assert row[1:3] == ["0.5000", f"{run.value('accuracy'):.4f} {low:.4f} to {high:.4f}"]
    assert row[3].endswith("better")
    assert row[4:6] == ["no", "200"]
    assert row[6:] == ["wildlife version 3f9c2ab41d77", run.run, "7"]
    assert page.after("resnet: Accuracy") == "Published: table 3"
    assert "The run has no metric f1_micro" in page.after("resnet: f1_micro")
    assert page.row("yolo: AP")[1:] == ["0.3700", *["n/a"] * 7]
    assert "resnet_aug: failed: no <b>disk</b>" in page.text
    assert "yolo: no finished run" in page.text
    assert page.after("resnet_aug: Accuracy") == "Published: table 3 Failed: see the notes"
    assert page.after("yolo: AP") == "Published: part 2 No finished run", "the notes say no more"
    assert "Ours as bars, published figures as diamonds" in page.text
    assert page.tiles["Jobs with a finished run"] == "1 of 3"
    assert page.tiles["Figures measured"] == "2 of 5"
    assert len(page.images) == 1


def test_a_sample_is_told_and_not_judged(results: list[Reproduced], run: RunSummary) -> None:
    sample = replace(run, dataset={}, spec=dict(run.spec) | {"data": run.spec["data"] | {"name": "wildlife-sample"}})
    page = page_of([replace(results[0], run=sample)])
    assert "resnet: the dataset wildlife-sample is a drawn sample" in page.text
    assert "Drawn sample: figures do not compare" in page.after("resnet: Accuracy")
    assert page.row("resnet: Accuracy")[3:5] == ["n/a", "n/a"]
    assert page.tiles["Figures measured"] == "2 of 3"
    assert "Ours as bars; no published figures" in page.text
    row = table_rows([replace(results[0], run=sample)])[0]
    assert (row.published, row.ours) == (0.5, run.value("accuracy"))
    assert (row.difference, row.published_within_interval) == (None, None)
    assert "diamonds, but none beside drawn samples" in page_of([results[0], replace(results[0], run=sample)]).text
    assert page.tiles["Largest difference"] == page.tiles["Within our interval"] == "n/a"
    assert "drawn sample" not in page_of(results).text
    assert page_of(results).tiles["Within our interval"] == "0 of 2"


def test_runs_of_other_settings_are_told_on_the_page(results: list[Reproduced]) -> None:
    problem = "no finished run with the job's settings: resnet-1 differs in data.size"
    page = page_of([replace(results[2], problem=problem)])
    assert f"yolo: {problem}" in page.text
    assert page.after("yolo: AP").endswith("No finished run with the job's settings: see the notes")


def test_segmentation_beside_classification(results: list[Reproduced]) -> None:
    run = scene_run("segnet")
    seg = Reproduced("segnet", "segmentation", run.published, run)
    title = metric_of("segmentation", "miou").title
    miou, loss = table_rows([seg])
    assert (miou.metric, miou.title, miou.ours, miou.samples) == ("miou", title, run.value("miou"), 9)
    assert (loss.metric, loss.published, loss.ours, loss.interval) == (
        "loss", 0.8569, run.value("loss"), run.interval("loss"),
    )  # fmt: skip
    page = page_of([seg])
    lower = run.value("loss") < 0.8569
    assert page.row(f"segnet: {loss.title}")[3].endswith("better" if lower else "worse"), "a low loss is a good one"
    assert "accuracy" not in page.text.lower()
    assert f"{title}: {metric_of('segmentation', 'miou').definition}" in page.text
    assert len(table_rows([results[0], seg])) == 5


def test_metrics_are_defined_once(results: list[Reproduced]) -> None:
    text = page_of(results).text
    assert text.count("Accuracy: Share of the samples whose most probable class is the true one.") == 1


def test_detection_has_titles_digits_and_directions() -> None:
    run = detection_with(published_of("yolo"))
    rows = table_rows([Reproduced("yolo", "detection", run.published, run)])
    assert [row.metric for row in rows] == list(run.published)
    ours = {row.metric: row for row in rows}
    for key, row in ours.items():
        assert (row.ours, row.samples, row.epochs, row.interval) == (run.value(key), 12, 0, None), key
        assert row.title != key, "every published figure is a known metric"
        metric = metric_of("detection", key)
        assert metric.higher_is_better == any(name in key for name in (".coco.", "ap50")), key
        assert row.digits == (2 if ".tide." in key else 4), key
    page = page_of([Reproduced("yolo", "detection", run.published, run)])
    miss, ap = ours["floors.0.25.tide.small.Miss"], ours["floors.0.25.coco.AP"]
    shown = page.row(f"yolo: {miss.title}")
    assert shown[1:3] == ["36.31", f"{miss.ours:.2f}"]
    assert shown[3] == f"{miss.ours - 36.31:+.2f} {'better' if miss.ours < 36.31 else 'worse'}"
    assert page.row(f"yolo: {ap.title}")[1:3] == ["0.4800", f"{ap.ours:.4f}"]
    assert "with those that it names" in page.text


def test_points_have_a_figure_of_their_own(results: list[Reproduced]) -> None:
    run = detection_with(published_of("yolo"))
    both = [results[0], Reproduced("yolo", "detection", run.published, run)]
    files = build_reproduction(both, CREATED)
    assert {name for name in files if name.endswith(".png")} == {"figures/published_and_ours.png", "figures/points.png"}
    assert "as diamonds, in points" in page_of(both).text
    assert "figures/points.png" not in build_reproduction(results, CREATED)


def test_the_largest_difference_weighs_points_and_shares_alike() -> None:
    published = {key: {"value": value, "source": "part 1"} for key, value in
                 {"floors.0.25.tide.all.Miss": 21.65, "floors.0.25.coco.AP": 0.48}.items()}  # fmt: skip
    run = detection_with(published)
    values = dict(run.values["floors"]["0.25"]) | {"tide": {"all": {"Miss": 26.65}}, "coco": {"AP": 0.38}}
    run = replace(run, metrics=dict(run.metrics) | {"metrics": {"images": 12, "floors": {"0.25": values}}})
    page = page_of([Reproduced("yolo", "detection", published, run)])
    assert page.tiles["Largest difference"] == "-0.1000"


def test_metrics_of_any_floor_have_titles() -> None:
    published = {"floors.0.5.coco.AP": {"value": 0.3, "source": "part 2"}}
    run = detection_with(published, floors=(0.5,))
    (row,) = table_rows([Reproduced("yolo", "detection", published, run)])
    assert (row.ours, row.title) == (run.value("floors.0.5.coco.AP"), "AP, at 0.5")
    assert metric_of("detection", "floors.0.001.tide.all.Miss").title.endswith("at 0.001")
    assert metric_of("detection", "floors.0.001.tide.all.Mess") is None
    assert metric_of("detection", "AP") is None


def test_nothing_at_all(results: list[Reproduced]) -> None:
    page = page_of([Reproduced("broken", "", {}, None, "failed: not valid YAML")])
    assert page.row("broken")[1:] == ["n/a"] * 8
    assert page.images == []
    assert "runs" not in page.ids


@pytest.mark.parametrize(
    ("sets", "of_run", "keys"),
    [
        ([], [], []),
        ([], ["train.epochs=3", "train.seed=1"], ["train.epochs", "train.seed"]),
        (["train.epochs=3"], ["train.epochs=3"], []),
        ([], ["data.version=0123456789abcdef"], []),
        (["data.version=aaaa"], ["data.version=bbbb"], ["data.version"]),
        ([], ["data.name=zoo"], ["data.name"]),
        ([], ["resources.workers=2", "resources.gpus=0", "limits.attempts=3"], []),
        ([], ["published.accuracy.value=0.1"], []),
        ([], ["model.weights=random"], ["model.weights"]),
        ([], [f"model.sha256={'a' * 64}"], []),
        ([f"model.sha256={'b' * 64}"], [f"model.sha256={'a' * 64}"], ["model.sha256"]),
        (["sweep={metric: val_loss, space: {train.lr: {choice: [0.1, 0.2]}}}"], [], []),
        (["model.weights=/else/mine.pth"], ["model.weights=/else/other.pth"], ["model.weights"]),
        (["model.weights=/else/mine.pth"], ["model.weights=/else/mine.pth", f"model.sha256={'a' * 64}"], []),
    ],
)
def test_which_settings_make_it_another_experiment(sets: list[str], of_run: list[str], keys: list[str]) -> None:
    assert list(differing(flat(*sets), flat(*of_run))) == keys


def test_weights_of_a_relative_path_are_pinned_to_the_full_one(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = flat("model.weights=mine.pth")
    assert differing(wanted, flat(f"model.weights={tmp_path}/mine.pth")) == {}
    assert list(differing(wanted, flat("model.weights=/else/mine.pth"))) == ["model.weights"]
