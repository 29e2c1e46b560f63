"""The report page: what it holds, that it needs nothing from outside, and that it escapes and tells n/a."""

from __future__ import annotations

import base64
import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from parsed_page import ParsedPage, page_of

from visionjobs.errors import UserError
from visionjobs.report.build import build_page, build_report
from visionjobs.report.page import Table
from visionjobs.report.provenance import TOLD_ELSEWHERE, provenance
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]


def addresses(page: ParsedPage) -> Iterator[str]:
    for tag, key, value in page.attributes:
        if key in ("src", "href", "srcset", "action", "data", "poster") and not (tag == "meta" and key == "content"):
            yield value


@pytest.fixture(scope="module")
def page(make_run: MakeRun) -> ParsedPage:
    return page_of(make_run())


def test_it_asks_nothing_of_the_network(make_run: MakeRun) -> None:
    html = build_report(make_run())["report.html"].decode()
    found = list(addresses(ParsedPage(html)))
    assert found
    assert all(address.startswith(("data:", "#")) for address in found)
    assert not any(word in html for word in ("http://", "https://", "url(", "@import", "<script"))


def test_every_link_leads_to_a_heading(page: ParsedPage) -> None:
    ids = {value for _, key, value in page.attributes if key == "id"}
    links = {value[1:] for tag, key, value in page.attributes if (tag, key) == ("a", "href")}
    assert links == ids == {"notes", "results", "training", "overfitting", "confusion", "classes", "calibration",
                            "provenance"}  # fmt: skip


def test_a_run_of_today_has_every_section_in_order(make_run: MakeRun) -> None:
    page = page_of(make_run(full=True, copies=3, epochs=3))
    ids = [value for _, key, value in page.attributes if key == "id"]
    assert ids == ["notes", "results", "training", "overfitting", "dataset", "confusion", "classes", "calibration",
                   "mistakes", "augmentation", "features", "provenance"]  # fmt: skip


def test_a_run_of_the_first_version_has_the_sections_it_has_numbers_for(make_run: MakeRun) -> None:
    run = make_run()
    old = {key: value for key, value in run.values.items() if key not in ("ece", "calibration")}
    page = page_of(make_run(metrics={**run.metrics, "metrics": old}))
    assert [value for _, key, value in page.attributes if key == "id"] == [
        "notes", "results", "training", "overfitting", "confusion", "classes", "provenance"
    ]  # fmt: skip
    assert page.row("ECE (expected calibration error)", "Results")[1] == "n/a"


def test_the_headline_names_run_job_data_and_numbers(page: ParsedPage, make_run: MakeRun) -> None:
    values = make_run().values
    for part in ("resnet-20260504-101112-ab12", "resnet18 on wildlife", "3f9c2ab41d77", "200 samples",
                 f"{values['accuracy']:.4f}", f"{values['nll']:.4f}"):  # fmt: skip
        assert part in page.text


def test_every_metric_has_its_value_and_a_definition(page: ParsedPage, make_run: MakeRun) -> None:
    values = make_run().values
    for title, key in (("Accuracy", "accuracy"), ("Balanced accuracy", "balanced_accuracy"), ("F1, macro", "f1_macro"),
                       ("F1, weighted", "f1_weighted"), ("Loss (negative log-likelihood)", "nll")):  # fmt: skip
        row = page.row(title)
        assert row[1] == f"{values[key]:.4f}"
        assert len(page.rows[page.rows.index(row) + 1]) == 1, "the definition has the next row for itself"
    assert "experiments, question 2, part 3 (c): 'F1-Score', averaging not stated" in page.text


def test_epochs_and_classes_are_told(page: ParsedPage, make_run: MakeRun) -> None:
    run = make_run()
    third = run.history[2]
    assert page.row("3", "Epochs")[1:5] == [
        f"{third[k]:.4f}" for k in ("train_loss", "train_ce", "train_uniform", "val_loss")
    ]
    assert page.row("1", "Epochs")[8:11] == ["31.0 %", "n/a", "1.5 GiB"]
    assert "Epoch 1: data-bound: 31% of the time" in page.text
    scores = run.values["per_class"]["dog"]
    assert page.row("dog", "Classes")[1:] == [f"{scores[k]:.4f}" for k in ("precision", "recall", "f1")] + ["20"]


def test_provenance_is_told(page: ParsedPage) -> None:
    assert page.row("Dataset")[1] == "wildlife, version 3f9c2ab41d77"
    assert page.row("Code")[1] == "version 0.1.0, source 9f0c11d2a7b3, commit dc1f45b0a1c2"
    assert page.row("GPU-hours")[1] == "0"
    assert page.row("Time, all attempts")[1] == "25 min 8 s"
    assert page.row("Attempt")[2:] == ["Time", "Workers", "Threads a worker", "GPUs", "From step", "To step"]
    assert ["1", "2026-05-04 10:11:12 UTC", "12 min 34 s", "2", "1", "0", "n/a", "120"] in page.rows
    assert page.row("cpu")[1] == "AMD EPYC 9V74"
    assert page.row("memory")[1] == "24.0 GiB"
    assert page.row("resident: train: bytes")[1] == "144 MiB"
    assert page.row("image")[1] == "n/a"
    assert "label_smoothing: 0.1" in page.text


def test_every_row_of_provenance_says_what_it_tells(make_run: MakeRun) -> None:
    """A record with nothing unusual in it leaves no row without a name."""
    run = make_run()
    bare = replace(run, record={key: value for key, value in run.record.items() if key in TOLD_ELSEWHERE})
    labels = [row[0].text for block in provenance(bare).blocks if isinstance(block, Table) for row in block.rows]
    assert labels
    assert all(labels)


def test_notes_tell_warnings_dropped_samples_and_changes(page: ParsedPage) -> None:
    assert "the code has changed since attempt 1" in page.text
    assert "left out of training: 8 of 1,000 samples" in page.text
    assert "train.epochs was changed from 5 to 10" in page.text
    assert "A note of the record." in page.text


def test_without_dropped_samples_there_is_no_such_note(make_run: MakeRun) -> None:
    page = page_of(make_run(epochs=1, record={"attempts": [{"number": 1, "facts": {"dropped_per_epoch": 0}}]}))
    assert "left out of training" not in page.text
    assert page.row("dropped per epoch")[1] == "0"


def test_a_failure_is_told(make_run: MakeRun) -> None:
    page = page_of(make_run(epochs=1, record={"message": "the loss of step 3 (epoch 1) is not finite"}))
    assert "The run stopped: the loss of step 3" in page.text
    assert "drawn sample" not in page.text


def test_published_figures_beside_a_drawn_sample_are_marked(make_run: MakeRun) -> None:
    spec = {**make_run(epochs=1).spec, "data": {"name": "wildlife-sample"}}
    assert "do not compare" in page_of(make_run(epochs=1, spec=spec)).text
    assert "do not compare" not in page_of(make_run(epochs=1, spec={**spec, "published": {}})).text
    page = page_of(make_run(epochs=1, spec=spec))
    assert page.row("Accuracy")[2:] == ["0.8102", "n/a"]
    assert build_page(make_run(epochs=1)).tiles[0].detail.startswith("published 0.8102 (")
    assert build_page(make_run(epochs=1, spec=spec)).tiles[0].detail == ""


def test_a_record_may_hold_anything(make_run: MakeRun) -> None:
    record = {"a": {"b": {}, "c": [], "d": [1, 2.5, None], "e": [{"f": True}, [1, 2]]}, "g": float("nan")}
    rows = page_of(make_run(epochs=1, record=record)).rows
    for row in (["a: b", "n/a"], ["a: c", "n/a"], ["a: d", "1, 2.5, n/a"], ["a: e 1: f", "yes"], ["a: e 2", "1, 2"],
                ["g", "n/a"]):  # fmt: skip
        assert row in rows


def with_metrics(run: RunSummary, **values: Any) -> dict[str, Any]:
    return {**run.metrics, "metrics": {**run.values, **values}}


@pytest.mark.parametrize(
    ("key", "title", "published", "ours", "expected"),
    [
        ("accuracy", "Accuracy", 0.8, 0.85, "+0.0500better"),
        ("accuracy", "Accuracy", 0.8, 0.75, "\N{MINUS SIGN}0.0500worse"),
        ("nll", "Loss (negative log-likelihood)", 0.8, 0.75, "\N{MINUS SIGN}0.0500better"),
        ("nll", "Loss (negative log-likelihood)", 0.8, 0.85, "+0.0500worse"),
        ("accuracy", "Accuracy", 0.8, 0.80001, "0.0000"),
        ("accuracy", "Accuracy", 0.8, None, "n/a"),
    ],
)
def test_the_difference_has_the_right_sign_and_word(
    make_run: MakeRun, key: str, title: str, published: float, ours: float | None, expected: str
) -> None:
    run = make_run(epochs=1)
    spec = {**run.spec, "published": {key: {"value": published, "source": "a table"}}}
    run = make_run(epochs=1, spec=spec, metrics=with_metrics(run, **{key: ours}))
    results = next(block for block in build_page(run).sections[1].blocks if isinstance(block, Table))
    difference = next(row for row in results.rows if row[0].text == title)[3]
    assert difference.text + "".join(difference.details) == expected


def test_a_published_figure_without_a_metric_shows(make_run: MakeRun) -> None:
    spec = {**make_run(epochs=1).spec, "published": {"acuracy": {"value": 0.81, "source": "a table"}}}
    assert page_of(make_run(epochs=1, spec=spec)).row("acuracy")[1:] == ["n/a", "0.8100", "n/a"]


def test_a_published_figure_of_one_class(make_run: MakeRun) -> None:
    run = make_run(epochs=1)
    spec = {**run.spec, "published": {"per_class.dog.recall": {"value": 0.5, "source": "a table"}}}
    row = page_of(make_run(epochs=1, spec=spec)).row("per_class.dog.recall")
    assert row[1:3] == [f"{run.values['per_class']['dog']['recall']:.4f}", "0.5000"]


EVIL = "<b>&\"'</b><script>alert(1)</script>"


def test_names_are_escaped_wherever_they_stand(make_run: MakeRun) -> None:
    run = make_run(epochs=1)
    evil = make_run(
        names=[EVIL, '<b>&"', "$x_1$", "line\nbreak"],
        epochs=1,
        absent=[1],
        job=EVIL,
        run=EVIL,
        spec={**run.spec, "data": {"name": EVIL}, "published": {EVIL: {"value": 1.0, "source": EVIL}}},
        record={"warnings": [EVIL], "notes": [EVIL], EVIL: EVIL, "hardware": {EVIL: [EVIL]}},
        history=[{**run.history[0], "diagnosis": EVIL}],
    )
    html = build_report(evil)["report.html"].decode()
    assert "<b>" not in html
    assert "<script" not in html
    page = ParsedPage(html)
    assert page.row(EVIL)
    assert page.row('<b>&"', "Classes")[1:] == ["n/a", "n/a", "n/a", "0"]
    assert page.text.count(EVIL) >= 8


def test_a_run_that_has_nothing_yet(make_run: MakeRun) -> None:
    files = build_report(make_run(metrics={}, history=[], record={}))
    page = ParsedPage(files["report.html"].decode())
    assert list(files) == ["report.html"]
    assert "No epoch was completed." in page.text
    assert "not evaluated yet" in page.text
    assert page.row("Accuracy")[1:] == ["n/a", "0.8102", "n/a"]
    assert page.row("GPU-hours")[1] == "n/a"
    assert "Notes" not in page.text


def test_missing_values_of_an_epoch_are_told_as_such(make_run: MakeRun) -> None:
    history = [{"epoch": 0, "train_loss": 1.5}, {"epoch": 1, "train_loss": float("nan"), "val_accuracy": None}]
    files = build_report(make_run(history=history))
    page = ParsedPage(files["report.html"].decode())
    assert page.row("1", "Epochs")[1:] == ["1.5000", *["n/a"] * 10]
    assert page.row("2", "Epochs")[1:] == ["n/a"] * 11
    assert "figures/loss.png" in files
    assert "figures/accuracy.png" not in files


def test_a_split_without_samples(make_run: MakeRun) -> None:
    page = page_of(make_run(names=["a", "b"], n=0, epochs=1))
    assert page.row("Accuracy")[1] == "n/a"
    assert page.row("a", "Classes")[1:] == ["n/a", "n/a", "n/a", "0"]


@pytest.mark.parametrize(
    ("classes", "epochs", "smoothing"),
    [(10, 1, 0.0), (10, 1, 0.1), (10, 60, 0.1), (40, 1, 0.1), (40, 60, 0.0), (1, 1, 0.0), (2, 60, 0.1)],
)
def test_any_size_of_run(make_run: MakeRun, classes: int, epochs: int, smoothing: float) -> None:
    run = make_run(names=[f"class {i}" for i in range(classes)], epochs=epochs, smoothing=smoothing, n=4 * classes)
    page = page_of(run)
    assert len([row for row in page.tables["Classes"] if row[0].startswith("class ")]) == classes
    assert page.row(str(epochs), "Epochs")[3] == f"{run.history[-1]['train_uniform']:.4f}"
    assert page.row("1", "Epochs")[3] == ("0.0000" if not smoothing else "0.2100")


def test_the_embedded_figures_are_the_files(make_run: MakeRun, page: ParsedPage) -> None:
    files = build_report(make_run())
    images = [value for tag, key, value in page.attributes if (tag, key) == ("img", "src")]
    embedded = [base64.b64decode(image.removeprefix("data:image/png;base64,"), validate=True) for image in images]
    names = ["loss", "accuracy", "throughput", "loss_gap", "accuracy_gap", "confusion_matrix",
             "confusion_matrix_shares", "reliability"]  # fmt: skip
    assert embedded == [files[f"figures/{name}.png"] for name in names]
    assert list(files) == ["report.html", *(f"figures/{name}.png" for name in names)]
    assert all(value for tag, key, value in page.attributes if (tag, key) == ("img", "alt"))


def test_the_same_run_gives_the_same_bytes(make_run: MakeRun) -> None:
    assert build_report(make_run(full=True, copies=2)) == build_report(make_run(full=True, copies=2))


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([0.1, 0.5, 0.4], 2), ([0.5, 0.5], 1), ([None, 0.2], 2), ([math.nan, 0.2], 2), ([None], None), ([], None)],
)
def test_the_best_epoch_is_counted_from_one(make_run: MakeRun, accuracies: list[Any], best: int | None) -> None:
    rows = [{"epoch": epoch, "val_accuracy": accuracy} for epoch, accuracy in enumerate(accuracies)]
    assert make_run(history=rows).best_epoch("val_accuracy") == best


def test_an_unknown_task_is_a_clear_error(make_run: MakeRun) -> None:
    run = make_run(epochs=1)
    with pytest.raises(UserError, match=r"'pottery'; known: classification"):
        build_report(make_run(epochs=1, metrics={**run.metrics, "task": "pottery"}))


def test_a_report_needs_neither_torch_nor_ray_nor_a_global_pyplot(make_run: MakeRun) -> None:
    run = make_run(epochs=2, full=True, copies=1)
    code = """
import pickle, sys
from visionjobs.report.build import build_report
import matplotlib
before = matplotlib.rcParams.copy()
files = build_report(pickle.load(sys.stdin.buffer))
assert matplotlib.rcParams.copy() == before
print(len(files), [name for name in ("torch", "ray", "boto3", "matplotlib.pyplot") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(run), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{len(build_report(run))} []\n".encode()), done.stderr.decode()
