"""Augmentation: how many samples an epoch has, and the copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from parsed_page import figures_of, section_page

from visionjobs.report.augmentation import augmentation
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]


def sheets(run: RunSummary) -> list[str]:
    return [figure.name for figure in figures_of(augmentation(run))]


def text_of(run: RunSummary) -> str:
    return section_page(augmentation(run)).text


def experiment(make_run: MakeRun, facts: dict[str, Any], **parts: Any) -> RunSummary:
    counts = {"train": {"a": 9000, "b": 334}, "val": {"a": 2, "b": 2}}
    return make_run(
        names=["a", "b"], epochs=1, full=True, copies=3, record={"attempts": [{"number": 1, "facts": facts}]},
        **({"dataset": {"classes": ["a", "b"], "counts": counts}} | parts),
    )  # fmt: skip


def test_the_experiments_figure(make_run: MakeRun) -> None:
    text = text_of(experiment(make_run, {"samples_per_epoch": 37336}))
    assert "9,334 \N{RIGHTWARDS ARROW} 37,336 samples in an epoch." in text
    assert "3 augmented copies each" in text
    assert "record tells otherwise" not in text


def test_a_record_that_disagrees_is_told(make_run: MakeRun) -> None:
    text = text_of(experiment(make_run, {"samples_per_epoch": 9334}))
    assert "The record tells otherwise: 9,334 samples in an epoch." in text


def test_without_a_manifest_the_record_tells_the_number(make_run: MakeRun) -> None:
    text = text_of(experiment(make_run, {"samples_per_epoch": 37336}, dataset={}))
    assert "9,334 \N{RIGHTWARDS ARROW} 37,336 samples" in text
    assert "samples in an epoch" not in text_of(experiment(make_run, {}, dataset={}))


@pytest.mark.parametrize("copies", [1, 3, 32])
def test_a_sheet_of_any_number_of_copies(make_run: MakeRun, copies: int) -> None:
    run = make_run(names=["a", "b"], full=True, epochs=1, copies=copies)
    assert sheets(run) == ["augmented_1"]
    shown = min(5, copies)
    assert f"{shown} augmented {'copy' if shown == 1 else 'copies'} of each" in text_of(run)


def test_many_originals_take_several_sheets(make_run: MakeRun) -> None:
    run = make_run(full=True, epochs=1, copies=1)
    assert run.samples is not None
    more = replace(
        run.samples, originals=np.repeat(run.samples.originals, 3, 0),
        original_labels=np.repeat(run.samples.original_labels, 3), augmented=np.repeat(run.samples.augmented, 3, 0),
    )  # fmt: skip
    assert sheets(replace(run, samples=more)) == ["augmented_1", "augmented_2"]


def test_without_augmentation_there_is_no_section(make_run: MakeRun) -> None:
    for run in (make_run(epochs=1), make_run(epochs=1, full=True)):
        assert augmentation(run) is None


def test_augmentation_without_kept_images_tells_the_numbers(make_run: MakeRun) -> None:
    run = experiment(make_run, {"samples_per_epoch": 37336}, samples=None)
    assert sheets(run) == []
    assert "37,336 samples in an epoch" in text_of(run)
