"""The drawn road scenes: their layout, their classes, and that a model has something to learn from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier

from visionjobs.data.cache import LocalDataset, Split, fetch
from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.catalog import DatasetRef
from visionjobs.data.class_dict import CLASS_DICT, parse_class_dict
from visionjobs.data.colours import NO_CLASS
from visionjobs.data.importing import ImportResult
from visionjobs.data.sample import ensure_sample, make_sample
from visionjobs.data.sample_camvid import SCENES, TABLE, draw_camvid, draw_scene
from visionjobs.data.sample_camvid_things import HEIGHT, WIDTH
from visionjobs.storage import Store, open_store

RARE = ("Child", "LaneMkgsNonDriv", "TrafficLight", "Truck_Bus")
ALWAYS = ("Building", "Car", "Column_Pole", "LaneMkgsDriv", "Road", "Sidewalk", "Sky", "Void")
NEVER = (
    "Animal", "Archway", "Bridge", "CartLuggagePram", "Misc_Text", "MotorcycleScooter", "OtherMoving", "ParkingBlock",
    "RoadShoulder", "SUVPickupTruck", "TrafficCone", "Train", "Tunnel",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(str(tmp_path_factory.mktemp("storage")))


@pytest.fixture(scope="module")
def made(root: Store) -> ImportResult:
    return make_sample("camvid", root)


@pytest.fixture(scope="module")
def dataset(made: ImportResult, tmp_path_factory: pytest.TempPathFactory) -> LocalDataset:
    return fetch(DatasetRef(made.store, made.manifest), tmp_path_factory.mktemp("cache"))


def test_the_sample_is_a_whole_dataset(made: ImportResult) -> None:
    m = made.manifest
    assert (m.name, m.task, m.size, m.sizes) == ("camvid-sample", "segmentation", [90, 120], SCENES)
    assert (m.classes, m.rejected, m.off_palette, made.notes) == (list(CAMVID), 0, 0, ())
    assert "seed 0" in m.source
    assert "/" not in m.source


def test_some_classes_are_everywhere_some_rare_some_never(made: ImportResult) -> None:
    counts = made.manifest.counts
    for split, images in SCENES.items():
        assert [name for name in ALWAYS if counts[split][name] < images] == []
        assert [name for name in RARE if not 0 < counts[split][name] <= images / 4] == []
        assert [name for name in NEVER if counts[split][name]] == []
    assert sum(counts["train"][name] > 0 for name in CAMVID) == len(CAMVID) - len(NEVER)
    shares = made.manifest.pixels["train"]
    assert max(shares, key=lambda name: shares[name]) == "Road"
    assert 0.01 < shares["Void"] / sum(shares.values()) < 0.1


def test_ensure_sample_draws_once(made: ImportResult, root: Store) -> None:
    stages: list[str] = []
    ref = ensure_sample("camvid", root, lambda stage, _done, _total: stages.append(stage))
    assert (ref.manifest, stages) == (made.manifest, [])


def test_the_raw_files_are_in_camvids_own_layout(tmp_path: Path) -> None:
    draw_camvid(tmp_path, scenes={"train": 2, "val": 1})
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        CLASS_DICT, "train/scene_0000.png", "train/scene_0001.png", "train_labels/scene_0000_L.png",
        "train_labels/scene_0001_L.png", "val/scene_0000.png", "val_labels/scene_0000_L.png",
    ]  # fmt: skip
    assert parse_class_dict((tmp_path / CLASS_DICT).read_text(), "x") == CAMVID
    for path in tmp_path.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((WIDTH, HEIGHT), "RGB")
            if path.name.endswith("_L.png"):
                assert NO_CLASS not in TABLE.numbers(np.asarray(image))


def test_drawing_follows_the_seed_and_not_the_threads(tmp_path: Path) -> None:
    for name, seed, threads in [("a", 0, 1), ("b", 0, 4), ("c", 1, 4)]:
        draw_camvid(tmp_path / name, seed=seed, scenes={"train": 2, "val": 1, "test": 1}, threads=threads)
    a, b, c = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.png")}
        for name in "abc"
    )
    assert a == b
    assert a.keys() == c.keys()
    assert not any(a[path] == c[path] for path in a)
    assert len(set(a.values())) == len(a) == 8


@pytest.mark.parametrize("seed", range(3))
def test_what_is_above_is_above(seed: int) -> None:
    """Sky in the upper half, road in the lower, and the image is no flat copy of the label."""
    image, label = draw_scene(seed, np.random.default_rng(seed))
    rows = {name: np.nonzero(label == list(CAMVID).index(name))[0] for name in ("Sky", "Road")}
    assert rows["Sky"].max() < HEIGHT * 0.65
    assert rows["Road"].min() > HEIGHT * 0.35
    for name in ("Sky", "Road", "Building"):
        assert image[label == list(CAMVID).index(name)].std() > 3


def test_a_simple_model_learns_something_and_not_everything(dataset: LocalDataset) -> None:
    """From the colours around a pixel and its height in the picture: better than always saying Road."""

    def pixels(split: Split, step: int) -> tuple[np.ndarray, np.ndarray]:
        images = split.read_all()[:, ::step, ::step].astype(np.float32)
        masks = split.read_masks(np.arange(len(split)))[:, ::step, ::step]
        height = np.broadcast_to(np.linspace(0, 255, images.shape[1])[:, None], masks.shape)
        return np.concatenate([images, height[..., None]], axis=-1).reshape(-1, 4), masks.ravel()

    features, classes = pixels(dataset.split("train"), 5)
    model = RandomForestClassifier(20, max_depth=12, random_state=0).fit(features, classes)
    test, truth = pixels(dataset.split("test"), 5)
    always_road = (truth == list(CAMVID).index("Road")).mean()
    assert always_road + 0.2 < model.score(test, truth) < 0.95
