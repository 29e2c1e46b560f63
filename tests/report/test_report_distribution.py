"""Class distribution: bars, pies, table and sentences."""

from __future__ import annotations

from collections.abc import Callable

from parsed_page import figures_of, section_page

from visionjobs.report.distribution import distribution
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]


def figures(run: RunSummary) -> set[str]:
    return {figure.name for figure in figures_of(distribution(run))}


def test_bars_and_pies_of_the_full_set_and_of_each_split(make_run: MakeRun) -> None:
    assert figures(make_run(full=True, epochs=1)) == {
        f"class_{kind}_{name}" for kind in ("bars", "pie") for name in ("full_set", "training", "validation")
    }


def test_the_numbers_and_shares(make_run: MakeRun) -> None:
    dataset = {"name": "d", "classes": ["a", "b"], "size": [24, 32],
               "counts": {"train": {"a": 60, "b": 20}, "val": {"a": 5, "b": 15}}}  # fmt: skip
    page = section_page(distribution(make_run(names=["a", "b"], full=True, epochs=1, dataset=dataset)))
    assert page.row("a", "Images by class")[1:] == ["65 (65.0 %)", "60 (75.0 %)", "5 (25.0 %)"]
    assert "d: 100 images, packed at 32 x 24 pixels (width x height): 80 for training, 20 for validation." in page.text
    assert '"a" (65 images), has 1.86 times the images of the smallest, "b" (35)' in page.text
    assert 'differs by at most 50.00 percentage points ("a")' in page.text


def test_equal_classes_are_told_as_such(make_run: MakeRun) -> None:
    dataset = {"name": "d", "classes": ["a", "b"],
               "counts": {"train": {"a": 8, "b": 8}, "val": {"a": 2, "b": 2}}}  # fmt: skip
    text = section_page(distribution(make_run(names=["a", "b"], full=True, epochs=1, dataset=dataset))).text
    assert "Each class has 10 images." in text
    assert "Training and validation hold the classes in the same shares." in text
    assert "percentage points" not in text


def test_many_classes_have_bars_only(make_run: MakeRun) -> None:
    names = [f"class {number}" for number in range(40)]
    run = make_run(names=names, full=True, epochs=1, n=80)
    assert figures(run) == {f"class_bars_{name}" for name in ("full_set", "training", "validation")}
    assert "Pies are left out" in section_page(distribution(run)).text
    fewer = make_run(names=names[:39], full=True, epochs=1, n=78)
    assert len(figures(fewer)) == 6


def test_a_class_without_images_and_a_split_without_any(make_run: MakeRun) -> None:
    dataset = {"classes": ["a", "b"], "counts": {"train": {"a": 4}, "val": {}, "test": {"a": 1, "b": 0}}}
    run = make_run(names=["a", "b"], full=True, epochs=1, dataset=dataset)
    page = section_page(distribution(run))
    assert page.row("b", "Images by class")[1:] == ["0 (0.0 %)", "0 (0.0 %)", "0", "0 (0.0 %)"]
    assert 'The class "b" has no images at all.' in page.text
    assert "class_bars_validation" in figures(run)
    assert "class_pie_validation" not in figures(run)
    assert "percentage points" not in page.text


def test_one_class_is_not_compared_with_itself(make_run: MakeRun) -> None:
    text = section_page(distribution(make_run(names=["only"], full=True, epochs=1, n=9))).text
    assert not any(words in text for words in ("times the images", "percentage points", "Each class has"))


def test_without_a_manifest_there_is_no_section(make_run: MakeRun) -> None:
    assert distribution(make_run(full=True, epochs=1, dataset={})) is None
    assert distribution(make_run(full=True, epochs=1, dataset={"classes": ["a"]})) is None
