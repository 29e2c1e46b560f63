"""The figures of `visionjobs data show` for a detection dataset."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionjobs.boxes import Truth
from visionjobs.data.cache import LocalDataset, fetch
from visionjobs.data.catalog import DatasetRef
from visionjobs.data.coco import import_coco
from visionjobs.data.coco_dataset import BoxSplit, open_boxes
from visionjobs.data.sample_coco import draw_coco
from visionjobs.report.dataset import draw_dataset
from visionjobs.report.dataset_boxes import COLOURS, PANEL, areas_figure, sample, samples_sheet
from visionjobs.storage import open_store

BARS = (0, 114, 178)
"""Their colour."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> LocalDataset:
    folder = tmp_path_factory.mktemp("boxes")
    draw_coco(folder / "raw", scenes={"train": 8, "val": 4})
    result = import_coco(str(folder / "raw"), "shapes", open_store(str(folder / "storage")))
    return fetch(DatasetRef(result.store, result.manifest), folder / "cache")


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


Box = tuple[float, float, float, float]


def one_box(box: Box, *, crowd: bool = False, name: str = "ape", area: float = 5) -> BoxSplit:
    """A black image of 104 x 52 pixels with one box: drawn five times as large."""
    buffer = io.BytesIO()
    Image.new("RGB", (104, 52)).save(buffer, "PNG")
    file = np.frombuffer(buffer.getvalue(), np.uint8)
    truth = Truth(
        image_ids=np.array([4]), paths=("a.png",), image_sizes=np.array([[52, 104]]), category_ids=np.array([1]),
        classes=(name,), annotation_ids=np.array([1]), images=np.array([0]), categories=np.array([0]),
        boxes=np.array([box], np.float64), areas=np.array([area]), crowd=np.array([crowd]),
    )  # fmt: skip
    return BoxSplit("val", truth, [file], np.array([0]), np.array([0]), np.array([len(file)]))


def test_every_figure_is_written(dataset: LocalDataset, tmp_path: Path) -> None:
    paths = draw_dataset(dataset, tmp_path / "figures")
    assert [path.name for path in paths] == ["boxes.png", "images.png", "areas.png", "samples.png"]
    for path in paths:
        with Image.open(path) as figure:
            assert figure.width > 700
            assert figure.height > 200


def test_a_box_is_drawn_where_it_is() -> None:
    drawn = sample(one_box((20, 20, 40, 20)), 0)
    assert (drawn.shape, PANEL) == ((260, 520, 3), 520)
    colour = tuple(int(COLOURS[0][start : start + 2], 16) for start in (1, 3, 5))
    rows, columns = np.nonzero((drawn == colour).all(axis=2))
    assert (columns.min(), columns.max(), rows.max()) == (100, 300, 200)
    inside = drawn[110:190, 110:290]
    assert (inside == 0).all(), "a frame, not a filled box; its name stands above it"
    assert ((drawn[80:100] > 200).all(axis=2)).any()


def test_a_crowd_region_is_grey_and_called_so() -> None:
    drawn = sample(one_box((20, 20, 40, 20), crowd=True), 0)
    plain = sample(one_box((20, 20, 40, 20)), 0)
    grey = (drawn == 0x55).all(axis=2)
    assert grey[150, 100]
    assert grey.sum() > (plain == plain[150, 100]).all(axis=2).sum(), "its name is longer"


@pytest.mark.parametrize("box", [(0, 0, 104, 52), (100, 0, 4, 4), (0.2, 51, 0.4, 1), (90, 48, 14, 4)])
def test_names_stay_inside_the_image(box: Box) -> None:
    """A long one too: its plate is drawn whole, above the box or at the upper edge."""
    drawn = sample(one_box(box, name="a rather long name"), 0)
    plate = (drawn == tuple(int(COLOURS[0][start : start + 2], 16) for start in (1, 3, 5))).all(axis=2)
    assert plate.sum() > 1500


def test_bars_of_areas_are_counted_by_size() -> None:
    """One object just below and one at the limit between small and medium are in two bars, on its two sides."""
    small, medium = one_box((0, 0, 5, 5), area=1023.9).truth, one_box((0, 0, 5, 5), area=1024).truth
    columns = [(opened(areas_figure({"val": truth})) == BARS).all(axis=2).any(axis=0) for truth in (small, medium)]
    first, second = (np.flatnonzero(one) for one in columns)
    assert abs(int(first.max()) - int(second.min())) <= 2
    assert len(np.intersect1d(first[:-2], second[2:])) == 0


def test_no_boxes_at_all(dataset: LocalDataset) -> None:
    split = open_boxes(dataset, "val")
    nothing = split.truth.where(np.zeros(len(split.truth), np.bool_))
    empty = BoxSplit("val", nothing, dataset.shards, *np.zeros((3, 4), np.int64))
    assert opened(areas_figure({"val": nothing})).shape[1] == 960
    assert opened(samples_sheet(empty)).shape[1] == 1056


def test_a_huge_object(dataset: LocalDataset) -> None:
    """Its bar lies within the axes."""
    figure = opened(areas_figure({"val": one_box((0, 0, 5, 5), area=3e7).truth}))
    assert (figure == BARS).all(axis=2).any()
