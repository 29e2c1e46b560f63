"""The drawn sample: its layout, its bad files, and that colour alone does not give the class away."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from visionjobs.data.cache import LocalDataset, Split, fetch
from visionjobs.data.catalog import DatasetRef
from visionjobs.data.importing import ImportResult
from visionjobs.data.layouts import LAYOUTS
from visionjobs.data.sample import ensure_sample, make_sample
from visionjobs.data.sample_wildlife import COATS, IMAGES, draw_wildlife
from visionjobs.errors import UserError
from visionjobs.storage import Store, open_store

WILDLIFE = [
    "amur_leopard",
    "amur_tiger",
    "birds",
    "black_bear",
    "brown_bear",
    "dog",
    "people",
    "roe_deer",
    "sika_deer",
    "wild_boar",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(str(tmp_path_factory.mktemp("storage")))


@pytest.fixture(scope="module")
def made(root: Store) -> ImportResult:
    """The sample that `make demo` trains on."""
    return make_sample("wildlife", root)


@pytest.fixture(scope="module")
def dataset(made: ImportResult, tmp_path_factory: pytest.TempPathFactory) -> LocalDataset:
    return fetch(DatasetRef(made.store, made.manifest), tmp_path_factory.mktemp("cache"))


def mean_colours(split: Split) -> np.ndarray:
    return np.concatenate([block.mean((1, 2)) for block in split.blocks()])


def test_the_sample_is_balanced_and_has_the_originals_classes(made: ImportResult) -> None:
    m = made.manifest
    assert (m.name, m.classes) == ("wildlife-sample", WILDLIFE)
    assert sum(sum(counts.values()) for counts in m.counts.values()) == 10 * IMAGES
    assert max(m.counts["val"].values()) - min(m.counts["val"].values()) <= 1
    assert "seed 0" in m.source
    assert "/" not in m.source


def test_its_bad_files_are_rejected_each_for_its_reason(made: ImportResult) -> None:
    told = {reject.path: reject.reason for reject in made.rejects}
    assert list(told) == [
        "amur_leopard/amur_leopard_truncated.jpg", "amur_tiger/amur_tiger_notes.jpg", "birds/birds_copy.jpg",
    ]  # fmt: skip
    for reason, expected in zip(told.values(), ["truncated", "not an image", "duplicate"], strict=True):
        assert reason.startswith(expected)


def test_the_mean_colour_does_not_give_the_class_away(dataset: LocalDataset) -> None:
    train, val = dataset.split("train"), dataset.split("val")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(mean_colours(train), train.labels)
    assert model.score(mean_colours(val), val.labels) < 0.30


def test_the_classes_do_differ_in_texture(dataset: LocalDataset) -> None:
    """A linear model on the mean strength of edges in 4 directions does better than on colour, so there is a signal."""

    def edges(split: Split) -> np.ndarray:
        grey = np.concatenate([block.mean(-1, dtype=np.float32) for block in split.blocks()])
        middle = grey[:, 60:164, 60:164]
        parts = [np.diff(middle, n=n, axis=axis) for n in (1, 2) for axis in (1, 2)]
        parts += [middle[:, 8:] - middle[:, :-8], middle[:, :, 8:] - middle[:, :, :-8]]
        strengths = np.stack([np.abs(part).mean((1, 2)) for part in parts], 1)
        return np.asarray(np.log(strengths / strengths.sum(1, keepdims=True)))

    train, val = dataset.split("train"), dataset.split("val")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(edges(train), train.labels)
    assert model.score(edges(val), val.labels) > 0.40


def test_ensure_sample_draws_once(made: ImportResult, root: Store) -> None:
    stages: list[str] = []
    ref = ensure_sample("wildlife", root, lambda stage, _done, _total: stages.append(stage))
    assert (ref.manifest, ref.address, stages) == (made.manifest, made.store.address, [])


def test_ensure_sample_supplies_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(LAYOUTS["wildlife"], draw_sample=partial(draw_wildlife, images=6))
    monkeypatch.setitem(LAYOUTS, "wildlife", small)
    stages: set[str] = set()
    store = open_store(str(tmp_path / "b" / "datasets" / "wildlife-sample" / "0123456789abcdef"))
    store.write("images-00000.npy", b"an import that did not finish")
    refs = [
        ensure_sample("wildlife", open_store(str(tmp_path / name)), lambda stage, _done, _total: stages.add(stage))
        for name in "ab"
    ]
    assert stages == {"Drawing", "Checking", "Packing"}
    assert refs[0].manifest.images == 60
    assert refs[0].manifest.shards == refs[1].manifest.shards  # the drawing is the same every time


def test_drawing_follows_the_seed_and_not_the_threads(tmp_path: Path) -> None:
    for name, seed, threads in [("a", 0, 1), ("b", 0, 4), ("c", 1, 4)]:
        draw_wildlife(tmp_path / name, seed=seed, images=2, threads=threads)
    a, b, c = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")}
        for name in "abc"
    )
    assert a == b
    assert a.keys() == c.keys()
    assert not any(a[path] == c[path] for path in a if "notes" not in path.name)


def test_raw_files_vary_in_size_and_are_jpeg(tmp_path: Path) -> None:
    draw_wildlife(tmp_path, images=4)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == WILDLIFE == list(COATS)
    sizes = set()
    for path in tmp_path.rglob("*_000?.jpg"):
        with Image.open(path) as image:
            assert image.format == "JPEG"
            sizes.add(image.size)
    assert len(sizes) > 30
    assert {width > height for width, height in sizes} == {True, False}


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UserError, match="is not empty"):
        make_sample("wildlife", open_store(str(tmp_path / "storage")), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    ("layout", "hint"), [("wildlif", 'Did you mean "wildlife"?'), ("zzz", "expected one of: wildlife, camvid")]
)
def test_no_such_layout(root: Store, layout: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        ensure_sample(layout, root)
    assert hint in str(caught.value)
