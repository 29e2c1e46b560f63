"""`visionjobs evaluate`: the same numbers again, another split, another dataset; and what a person gets wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import finished_run, start_attempt, tiny_root, tiny_spec

from visionjobs.data.wildlife import import_wildlife
from visionjobs.predictions import Predictions
from visionjobs.runs import Run
from visionjobs.storage import Store


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Run]:
    """A storage with the dataset tiny, a finished run of it, and "held-out": two of its classes, in another order."""
    folder = tmp_path_factory.mktemp("evaluate")
    root = tiny_root(folder)
    for name in ("fox", "bear"):
        shutil.copytree(folder / "raw" / name, folder / "held" / name)
    import_wildlife(str(folder / "held"), "held-out", root, size=(32, 32))
    shutil.copytree(folder / "raw" / "owl", folder / "strange" / "owls")
    shutil.copytree(folder / "raw" / "fox", folder / "strange" / "fox")
    import_wildlife(str(folder / "strange"), "strange", root, size=(32, 32))
    return root, finished_run(root, "train.epochs=4", "published={accuracy: {value: 0.5, source: a paper}}")


@pytest.fixture
def evaluate(storage, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("VISIONJOBS_STORAGE", storage[0].address)
    return lambda *args: visionjobs("evaluate", storage[1].id, *args)


def test_the_same_split_gives_the_same_metrics(storage, evaluate) -> None:
    _, run = storage
    before = {entry.key: run.store.read(entry.key) for entry in run.store.entries()}
    ended = evaluate()
    assert ended.status == 0, ended.err
    folder = Path(ended.out.splitlines()[-1])
    assert ended.out.splitlines() == [f"{run.store.address}/evaluations/val"]
    again = json.loads((folder / "metrics.json").read_text())
    assert again["metrics"] == run.metrics()["metrics"]
    assert again["data"] == {"name": "tiny", "version": run.dataset()["version"]}
    assert f"{again['metrics']['accuracy']:.4f}" in ended.err
    assert "at the run's end" in ended.err
    page = (folder / "report" / "report.html").read_text()
    assert "published 0.5000" in page
    assert "of these samples were trained on" not in page
    after = {key: run.store.read(key) for key in before}
    assert after == before, "the run's own files stay as they are"


def test_every_image_of_the_dataset(evaluate) -> None:
    ended = evaluate("--split", "all")
    folder = Path(ended.out.splitlines()[-1])
    predicted = Predictions.from_parquet((folder / "predictions" / "all.parquet").read_bytes(), "all")
    assert len(predicted) == 60
    assert list(predicted.paths) == sorted(predicted.paths)
    page = (folder / "report" / "report.html").read_text()
    assert "48 of these samples were trained on" in page
    assert "<title>tiny: all of tiny</title>" in page
    assert "at the run's end" not in ended.err


def test_another_dataset_with_some_of_the_classes(storage, evaluate) -> None:
    ended = evaluate("--data", "held-out", "--split", "all")
    assert ended.status == 0, ended.err
    folder = Path(ended.out.splitlines()[-1])
    assert folder.name.startswith("held-out-")
    values = json.loads((folder / "metrics.json").read_text())["metrics"]
    supports = {name: scores["support"] for name, scores in values["per_class"].items()}
    assert supports == {"bear": 15, "deer": 0, "fox": 15, "owl": 0}
    assert values["per_class"]["deer"]["recall"] is None
    predicted = Predictions.from_parquet((folder / "predictions" / "all.parquet").read_bytes(), "all")
    named = [Path(path).parts[0] for path in predicted.paths]
    assert [predicted.classes[label] for label in predicted.labels] == named
    assert values["accuracy"] == predicted.correct.mean() > 0.8
    page = (folder / "report" / "report.html").read_text()
    assert "30 samples of the split all of held-out" in page, "the report says what it is of"
    assert "convnet on tiny" in page
    assert "0.5000" not in page.partition("Training")[0], "no published figure beside another dataset's"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--split", "vall"), 'has train, val, all. Did you mean "val"?'),
        (("--split", "test"), "has train, val, all."),
        (("--data", "strange"), "has classes that the run does not know: owls. The run's classes are: bear, deer,"),
        (("--data", "tinny"), 'Did you mean "tiny"?'),
        (("--version", "0123456789abcdef"), 'There is no version "0123456789abcdef"'),
    ],
)
def test_mistakes(storage, evaluate, args: tuple[str, ...], said: str) -> None:
    before = storage[1].store.folders("evaluations")
    ended = evaluate(*args)
    assert ended.status == 2
    assert said in ended.err
    assert ended.out == ""
    assert storage[1].store.folders("evaluations") == before


def test_a_run_that_does_not_exist(storage, evaluate, visionjobs) -> None:
    ended = visionjobs("evaluate", "tiny-20200101-000000-0000")
    assert ended.status == 2
    assert "There is no run" in ended.err


def test_a_run_without_weights_says_how_to_get_them(storage, evaluate, visionjobs) -> None:
    root, _ = storage
    unfinished = start_attempt(root, tiny_spec()).run
    ended = visionjobs("evaluate", unfinished.id)
    assert ended.status == 2
    assert "has no weights" in ended.err
    assert f"visionjobs run tiny --run {unfinished.id}" in ended.err


def test_damaged_weights_are_not_used(storage, evaluate, visionjobs) -> None:
    root, _ = storage
    run = finished_run(root, "train.epochs=1")
    weights = run.store.read("weights/tiny.pth")
    run.store.write("weights/tiny.pth", weights[:-1] + bytes([weights[-1] ^ 1]))
    ended = visionjobs("evaluate", run.id)
    assert ended.status == 3
    assert "is damaged: its sha256 is" in ended.err
