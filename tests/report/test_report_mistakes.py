"""The section on mistakes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from parsed_page import figures_of, section_page

from visionjobs.mistakes import most_confident, three_per_class
from visionjobs.predictions import Predictions
from visionjobs.report.build import build_report
from visionjobs.report.mistakes import class_rows, mistakes
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]


def names_of(run: RunSummary) -> list[str]:
    return list(pngs(run))


def pngs(run: RunSummary) -> dict[str, bytes]:
    return {figure.name: figure.png for figure in figures_of(mistakes(run))}


def hand_made(make_run: MakeRun) -> RunSummary:
    """Five samples of "a", four of them taken for "b"; one right "b"; one "c" taken for "a"."""
    labels, predicted = [0, 0, 0, 0, 0, 1, 2], [1, 1, 1, 1, 0, 1, 0]
    logits = np.zeros((7, 4), np.float32)
    logits[np.arange(7), predicted] = [1, 2, 3, 4, 5, 5, 6]
    paths = tuple(f"photos/{row}.jpg" for row in range(7))
    predictions = Predictions("val", ("a", "b", "c", "d"), paths, np.array(labels), logits)
    run = make_run(names=["a", "b", "c", "d"], full=True, epochs=1)
    assert run.samples is not None
    images = np.arange(5 * 24 * 32 * 3, dtype=np.uint8).reshape(5, 24, 32, 3)
    samples = replace(run.samples, index=np.array([0, 1, 2, 3, 6]), images=images)
    return replace(run, predictions=predictions, samples=samples)


def test_numbers_and_files_by_hand(make_run: MakeRun) -> None:
    page = section_page(mistakes(hand_made(make_run)))
    assert "5 of the 7 samples were misclassified." in page.text
    assert 'No mistakes in "b".' in page.text
    assert 'Only one mistake in "c".' in page.text
    assert "Without any sample: 1 of 4 classes." in page.text
    table = page.tables["Most confident mistakes"][1:]
    assert [row[-1] for row in table] == [f"photos/{row}.jpg" for row in (6, 3, 2, 1, 0)]
    assert table[0][:2] == ["c", "a"]
    assert table[0][2:4] == [f"{np.exp(6) / (np.exp(6) + 3):.4f}", f"{1 / (np.exp(6) + 3):.4f}"]


def test_rows_by_hand(make_run: MakeRun) -> None:
    run = hand_made(make_run)
    assert run.predictions is not None
    assert run.samples is not None
    rows = class_rows(run.predictions, run.samples, three_per_class(run.predictions))
    assert [row.heading for row in rows] == ["a: 4 of 5 wrong", "c: 1 of 1 wrong"]
    shares = [f"({100 * np.exp(s) / (np.exp(s) + 3):.1f} %)" for s in (4, 3, 2)]
    assert [picture.caption for picture in rows[0].pictures] == [("b", share) for share in shares]
    assert (rows[1].pictures[0].image == run.samples.images[4]).all()


def test_a_sheet_by_class_and_one_of_the_most_confident(make_run: MakeRun) -> None:
    assert names_of(hand_made(make_run)) == ["mistakes_by_class_1", "mistakes_most_confident"]


def test_many_classes_take_several_sheets(make_run: MakeRun) -> None:
    run = make_run(names=[f"c{number}" for number in range(12)], full=True, epochs=1, n=240, strength=0.5)
    assert names_of(run) == [*(f"mistakes_by_class_{part}" for part in (1, 2, 3)), "mistakes_most_confident"]


def test_an_image_shows_where_it_was_kept(make_run: MakeRun) -> None:
    run = hand_made(make_run)
    assert run.samples is not None
    white = replace(run.samples, images=np.full_like(run.samples.images, 255))
    without = replace(run.samples, index=np.array([6]), images=run.samples.images[-1:])
    drawn = [pngs(replace(run, samples=samples)) for samples in (run.samples, white, without)]
    for name in ("mistakes_by_class_1", "mistakes_most_confident"):
        assert len({figures[name] for figures in drawn}) == 3


def test_the_most_confident_mistake_is_drawn(make_run: MakeRun) -> None:
    run = make_run(full=True, epochs=1, strength=1.0)
    assert run.samples is not None
    assert run.predictions is not None
    changed = run.samples.images.copy()
    last = int(np.searchsorted(run.samples.index, most_confident(run.predictions)[0]))
    changed[last] = 255 - changed[last]
    other = replace(run, samples=replace(run.samples, images=changed))
    assert pngs(run)["mistakes_most_confident"] != pngs(other)["mistakes_most_confident"]


def test_without_images_the_table_stays(make_run: MakeRun) -> None:
    run = make_run(full=True, epochs=1, strength=1.0, samples=None)
    page = section_page(mistakes(run))
    assert names_of(run) == []
    assert "images of the mistakes were not kept" in page.text
    assert len(page.tables["Most confident mistakes"]) == 13


def test_no_mistakes_at_all(make_run: MakeRun) -> None:
    run = make_run(full=True, epochs=1, strength=60.0)
    page = section_page(mistakes(run))
    assert "None of the 200 samples is a mistake." in page.text
    assert names_of(run) == []


def test_without_predictions_there_is_no_section(make_run: MakeRun) -> None:
    for run in (make_run(epochs=1), make_run(names=["a", "b"], n=0, full=True, epochs=1)):
        assert mistakes(run) is None


def test_odd_names_are_drawn_without_a_warning(make_run: MakeRun) -> None:
    names = ["$x$", "<b>&\"'", "a\nb", "long " * 30, "", "Überläufer", "雪豹 🐆", r"\frac{1}{2}"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = build_report(make_run(names=names, full=True, epochs=1, strength=0.5, copies=2))
    assert "figures/mistakes_by_class_1.png" in files
    assert "<b>&" not in files["report.html"].decode()
