"""Predicted masks: class numbers, colours and sizes of the files, whatever else lies among the images."""

from __future__ import annotations

import csv
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scene_summaries import CLASSES, COLOURS, dataset
from torch import Tensor, nn

from visionjobs.data.loader import IMAGENET_MEAN, IMAGENET_STD
from visionjobs.errors import UserError
from visionjobs.inference import picture_files
from visionjobs.inference.predict import predict_images
from visionjobs.inference.prediction_files import NOT_FINITE, Tally
from visionjobs.inference.reading import find_images
from visionjobs.jobfile import build_spec
from visionjobs.models.trained import Trained
from visionjobs.runs import Run
from visionjobs.storage import open_store

INK = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [250, 250, 10], [10, 250, 250]], np.uint8)
"""A photo's colour for each class, which the model below knows."""


class NearestColour(nn.Module):
    """The class whose ink is nearest; not finite where an image's first pixel is pure white."""

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(values)[None, :, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        rgb = 255 * (images * std + mean)
        inks = torch.from_numpy(INK).float()
        logits = -((rgb[:, None] - inks[None, :, :, None, None]) ** 2).sum(2)
        bad = (rgb[:, :, 0, 0] > 254).all(1)
        return logits.masked_fill(bad[:, None, None, None], torch.nan)


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    tree = {"name": "streets", "task": "segmentation", "model": {"name": "segnet"},
            "data": {"name": "streets", "size": [24, 32]}}  # fmt: skip
    run = Run("streets-20260504-101112-ab12", open_store(str(tmp_path / "storage")))
    return Trained(run, build_spec(tree, "streets", ()), dataset(), NearestColour().eval(), torch.device("cpu"))


def numbers(height: int, width: int) -> np.ndarray:
    """A mask of straight blocks: sky above road, a car at the left."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 4] = 1
    mask[height // 2 :, : width // 4] = 2
    return mask


def photo(path: Path, height: int = 24, width: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(INK[numbers(height, width)]).save(path)
    return path


def predict(trained: Trained, folder: Path, *given: Path, **options: Any) -> Tally:
    folder.mkdir()
    return predict_images(trained, find_images([*map(str, given)]), folder, **({"batch": 4} | options))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]


def table(folder: Path, name: str = "predictions.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("height", "width"), [(24, 32), (96, 128), (120, 64), (12, 16)])
def test_masks_have_the_images_own_size(trained: Trained, tmp_path: Path, height: int, width: int) -> None:
    predict(trained, tmp_path / "out", photo(tmp_path / "in/street.png", height, width))
    with Image.open(tmp_path / "out/masks/street.png") as mask:
        assert (mask.mode, mask.size) == ("P", (width, height))
        assert mask.getpalette()[:15] == [value for colour in COLOURS for value in colour]
        wrong = np.asarray(mask) != numbers(height, width)
    assert wrong.mean() <= (0.0 if height == 24 else 0.06), "only beside the boundaries, where the image was resized"
    with Image.open(tmp_path / "out/overlays/street.jpg") as over:
        assert (over.mode, over.size) == ("RGB", (width, height))


def test_the_overlay_is_of_the_image_in_its_own_size(trained: Trained, tmp_path: Path) -> None:
    pixels = INK[numbers(240, 320)]
    pixels[200:204, 200:204] = 255  # too small for the model to see
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/street.png")
    predict(trained, tmp_path / "out", tmp_path / "in")
    with Image.open(tmp_path / "out/overlays/street.jpg") as over:
        shown = np.asarray(over).astype(int)
    assert np.abs(shown[201:203, 201:203] - (255 + np.array(COLOURS[0])) / 2).max() < 20
    assert np.abs(shown[220, 250] - (INK[0].astype(int) + COLOURS[0]) / 2).max() < 20


def test_lines_and_table_tell_the_shares(trained: Trained, tmp_path: Path) -> None:
    paths = [photo(tmp_path / f"in/{name}.png") for name in ("a", "b, c")]
    tally = predict(trained, tmp_path / "out", *paths)
    assert (tally.predicted, tally.rejected, tally.accuracy) == (2, 0, None)
    rows, cells = lines(tmp_path / "out"), table(tmp_path / "out")
    counts = np.bincount(numbers(24, 32).reshape(-1), minlength=5) / (24 * 32)
    for path, row, cell in zip(paths, rows, cells, strict=True):
        assert row["image"] == cell["image"] == str(path)
        assert (row["height"], row["width"]) == (24, 32)
        assert (tmp_path / "out" / row["mask"]).is_file()
        assert (tmp_path / "out" / row["overlay"]).is_file()
        assert row["mask"] == cell["mask"] == f"masks/{path.stem}.png"
        assert list(row["shares"].items()) == [("Road", counts[0]), ("Sky", counts[1]), ("Car", counts[2])]
        assert [float(cell[f"share_{name}"]) for name in CLASSES] == counts.tolist()
    predict(trained, tmp_path / "top", *paths, top=1)
    assert [list(row["shares"]) for row in lines(tmp_path / "top")] == [["Road"], ["Road"]]


def test_images_of_one_name_have_files_of_their_own(trained: Trained, tmp_path: Path) -> None:
    given = [photo(tmp_path / name) for name in ("a/x.png", "a/x-2.png", "b/x.png", "c/X.bmp")]
    predict(trained, tmp_path / "out", *given)
    rows = lines(tmp_path / "out")
    assert [row["mask"] for row in rows] == ["masks/x.png", "masks/x-2.png", "masks/x-3.png", "masks/X-4.png"]
    assert len(list((tmp_path / "out/overlays").iterdir())) == 4


def test_a_very_long_name_is_cut(trained: Trained, tmp_path: Path) -> None:
    given = photo(tmp_path / f"{'é' * 125}.png")
    predict(trained, tmp_path / "out", given)
    assert [path.name for path in (tmp_path / "out/masks").iterdir()] == [f"{'é' * 100}.png"]


def test_bad_images_and_answers_are_rejected_among_the_others(trained: Trained, tmp_path: Path) -> None:
    good = [photo(tmp_path / f"in/{number}.png") for number in range(6)]
    bad, white = tmp_path / "in/bad.png", tmp_path / "in/white.png"
    bad.write_text("no image")
    Image.new("RGB", (32, 24), "white").save(white)
    tally = predict(trained, tmp_path / "out", good[0], bad, white, *good[1:])
    assert (tally.predicted, tally.rejected) == (6, 2)
    assert [row["image"] for row in lines(tmp_path / "out")] == [*map(str, good)]
    reasons = {Path(row["image"]).name: row["reason"] for row in table(tmp_path / "out", "rejects.csv")}
    assert reasons["white.png"] == NOT_FINITE
    assert reasons["bad.png"].startswith("not an image")
    assert len(list((tmp_path / "out/masks").iterdir())) == 6
    with pytest.raises(UserError, match="no image can be used, of 2; nothing was written"):
        predict(trained, tmp_path / "none", bad, white)


@pytest.mark.parametrize(("change", "reason"), [("delete", "unreadable: No such file"), ("resize", "was changed")])
def test_an_image_that_changes_meanwhile_is_rejected(
    trained: Trained, tmp_path: Path, change: str, reason: str
) -> None:
    given = [photo(tmp_path / f"in/{number}.png") for number in range(2)]

    class Meddling(NearestColour):
        def forward(self, images: Tensor) -> Tensor:
            given[0].unlink() if change == "delete" else photo(given[0], 48, 32)
            return super().forward(images)

    tally = predict(replace(trained, model=Meddling()), tmp_path / "out", *given)
    assert (tally.predicted, tally.rejected) == (1, 1)
    assert reason in tally.rejects[0].reason


def test_images_too_long_for_jpeg(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "LONGEST_JPEG", 31)
    predict(trained, tmp_path / "out", photo(tmp_path / "street.png"))
    with Image.open(tmp_path / "out/overlays/street.png") as over:
        assert over.size == (32, 24)


def test_the_sheet_explains_the_colours_that_occur(trained: Trained, tmp_path: Path) -> None:
    predict(trained, tmp_path / "out", photo(tmp_path / "street.png"))
    with Image.open(tmp_path / "out/contact-sheet-001.png") as sheet:
        seen = {tuple(colour) for _, colour in sheet.convert("RGB").getcolors(sheet.width * sheet.height)}
    assert {tuple(COLOURS[k]) for k in (0, 1, 2)} <= seen
    assert tuple(COLOURS[3]) not in seen


def test_memory_does_not_grow_with_the_number_of_images(trained: Trained, tmp_path: Path) -> None:
    photos = [photo(tmp_path / f"in/{number:03}.png", 96, 128) for number in range(72)]

    def peak(given: list[Path], folder: Path) -> int:
        tracemalloc.start()
        try:
            predict(trained, folder, *given)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(photos[:8], tmp_path / "warm")
    few, many = peak(photos[:8], tmp_path / "few"), peak(photos, tmp_path / "many")
    kept_thumbnails = 64 * 168 * 168 * 3
    assert many - few < kept_thumbnails + 2**20
