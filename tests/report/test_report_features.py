"""Features: point clouds, their numbers, and the Gaussian shift."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parsed_page import figures_of, section_page

from visionjobs.report.features import features
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]
CLOUDS = ["tsne_train_2d", "tsne_val_2d", "tsne_val_3d"]


def drawn(run: RunSummary) -> list[str]:
    return [figure.name for figure in figures_of(features(run))]


def with_features(make_run: MakeRun, numbers: dict[str, Any] | None, **parts: Any) -> RunSummary:
    run = make_run(full=True, epochs=1)
    return make_run(
        full=True, epochs=1, metrics={**run.metrics, "metrics": {**run.values, "features": numbers}}, **parts
    )


def test_three_clouds_and_the_shift(make_run: MakeRun) -> None:
    assert drawn(make_run(full=True, epochs=1)) == [*CLOUDS, "feature_shift"]


def test_the_numbers_of_each_space(make_run: MakeRun) -> None:
    page = section_page(features(make_run(full=True, epochs=1)))
    assert page.tables["Features"][1:] == [
        ["Training", "features", "200", "0.2345", "0.8125"],
        ["Training", "t-SNE in 2 dimensions", "200", "0.3456", "0.7125"],
        ["Validation", "features", "200", "0.2345", "0.8125"],
        ["Validation", "t-SNE in 2 dimensions", "200", "0.3456", "0.7125"],
        ["Validation", "t-SNE in 3 dimensions", "200", "\N{MINUS SIGN}0.0456", "0.7125"],
    ]
    assert 'input of the layer "fc", 512 features a sample' in page.text
    assert "50 principal components, then by t-SNE (perplexity 30, seed 0)" in page.text
    assert "wins the vote of their 5 nearest neighbours" in page.text


def test_the_shift_of_each_class(make_run: MakeRun) -> None:
    page = section_page(features(make_run(full=True, epochs=1)))
    assert page.row("amur_tiger", "Gaussian shift")[1:] == [
        "80", "20", "50", "1.6000", "\N{MINUS SIGN}0.2000", "0.1200", "0.0900"
    ]  # fmt: skip


def test_a_class_without_samples_has_no_shift(make_run: MakeRun) -> None:
    missing = {"train_n": 4, "val_n": 0, "dimensions": 0, "cross_entropy": None, "entropy": None, "divergence": None,
               "chance": None}  # fmt: skip
    present = {**missing, "val_n": 3, "dimensions": 2, "cross_entropy": 1.0, "entropy": 0.5, "divergence": 0.5}
    run = with_features(make_run, {"shift": {"per_class": {"a": present, "b": missing}}})
    page = section_page(features(run))
    assert page.row("b", "Gaussian shift")[1:] == ["4", "0", "0", "n/a", "n/a", "n/a", "n/a"]
    assert page.row("a", "Gaussian shift")[-2:] == ["0.5000", "n/a"]
    assert "feature_shift" in drawn(run)
    assert "feature_shift" not in drawn(with_features(make_run, {"shift": {"per_class": {"b": missing}}}))


@pytest.mark.parametrize("numbers", [None, {}])
def test_clouds_without_numbers(make_run: MakeRun, numbers: dict[str, Any] | None) -> None:
    run = with_features(make_run, numbers)
    assert drawn(run) == CLOUDS
    assert "n/a principal components" in section_page(features(run)).text


def test_captions_tell_how_many_samples_are_shown(make_run: MakeRun) -> None:
    numbers = dict(make_run(full=True, epochs=1).values["features"])
    numbers["train"] = {**numbers["train"], "n": 300, "tsne_2d": {"n": 200, "silhouette": 0.125, "knn_accuracy": None}}
    run = with_features(make_run, numbers)
    assert [figure.caption for figure in figures_of(features(run))][:2] == [
        "t-SNE of the features of 200 of 300 training samples in 2 dimensions; silhouette 0.125",
        "t-SNE of the features of 200 validation samples in 2 dimensions; silhouette 0.346",
    ]
    table = section_page(features(run)).tables["Features"]
    assert [row[2:] for row in table[1:3]] == [["300", "0.2345", "0.8125"], ["200", "0.1250", "n/a"]]


def test_numbers_without_clouds(make_run: MakeRun) -> None:
    run = make_run(full=True, epochs=1, embeddings={})
    assert drawn(run) == ["feature_shift"]
    assert "principal components" not in section_page(features(run)).text
    assert "Features" in section_page(features(run)).tables


def test_some_clouds_are_missing(make_run: MakeRun) -> None:
    embeddings = dict(make_run(full=True, epochs=1).embeddings)
    embeddings["val_2d"] = np.empty((0, 2), np.float32)
    del embeddings["train_labels"]
    assert drawn(make_run(full=True, epochs=1, embeddings=embeddings)) == ["tsne_val_3d", "feature_shift"]


def test_a_model_without_features_has_no_section(make_run: MakeRun) -> None:
    for run in (make_run(epochs=1), with_features(make_run, None, embeddings={})):
        assert features(run) is None
