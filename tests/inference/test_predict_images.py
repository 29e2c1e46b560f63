"""Predictions: equal to those of an evaluation, whatever else lies among the images, in constant memory."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.source import Listing, RawFile, Source
from visionjobs.errors import UserError
from visionjobs.inference.contact_sheet import PER_SHEET, SHEETS
from visionjobs.inference.output import new_folder
from visionjobs.inference.predict import predict_images
from visionjobs.inference.prediction_files import NOT_FINITE, SHOWN_REJECTS, Tally
from visionjobs.inference.reading import Found, ImageFile, find_images
from visionjobs.models.trained import Trained
from visionjobs.predictions import KEY, Predictions


def predict(trained: Trained, found: Found, folder: Path, **options: Any) -> Tally:
    folder.mkdir()
    return predict_images(trained, found, folder, **({"batch": 8} | options))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]


def table(folder: Path, name: str = "predictions.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def probabilities(folder: Path, classes: list[str]) -> np.ndarray:
    return np.array([[row["probabilities"][name] for name in classes] for row in lines(folder)])


@pytest.mark.parametrize("model", ["convnet", "resnet"])
def test_the_probabilities_are_those_of_the_packed_images_to_the_bit(finished, tmp_path: Path, model: str) -> None:
    trained: Trained = getattr(finished, model)
    split = fetch(find_dataset(finished.root, "tiny"), tmp_path / "cache").split("val")
    packed = torch.from_numpy(split.read_all())
    logits = torch.cat([trained.logits(packed[start : start + 8]) for start in range(0, len(packed), 8)]).numpy()
    wanted = Predictions("val", tuple(trained.classes), tuple(split.paths), split.labels, logits)
    found = find_images([str(finished.photos / path) for path in split.paths])
    tally = predict(trained, found, tmp_path / "out")
    np.testing.assert_array_equal(probabilities(tmp_path / "out", trained.classes), wanted.probabilities)
    rows = lines(tmp_path / "out")
    assert [row["confidence"] for row in rows] == wanted.confidence.tolist()
    assert [row["predicted"] for row in rows] == [trained.classes[number] for number in wanted.predicted]
    assert (tally.predicted, tally.labelled, tally.right) == (12, 12, int(wanted.correct.sum()))


def test_the_accuracy_is_the_one_the_run_ended_with(finished, tmp_path: Path) -> None:
    run = finished.resnet.run
    own = Predictions.from_parquet(run.store.read(KEY.format(split="val")), "val")
    found = find_images([str(finished.photos / path) for path in own.paths])
    tally = predict(finished.resnet, found, tmp_path / "out", batch=5)
    assert tally.accuracy == run.metrics()["metrics"]["accuracy"]
    assert 0.3 < tally.accuracy < 1  # else many a mix-up would give the same
    found_here = probabilities(tmp_path / "out", finished.resnet.classes)
    np.testing.assert_allclose(found_here, own.probabilities, atol=1e-5)


def test_json_lines_and_csv_say_the_same(finished, tmp_path: Path) -> None:
    (tmp_path / "x, y").mkdir()
    odd = tmp_path / "x, y" / 'a "quoted", née.png'
    odd.write_bytes((finished.photos / "fox/00.png").read_bytes())
    predict(finished.convnet, find_images([str(finished.photos / "fox"), str(odd)]), tmp_path / "out", top=2)
    text = (tmp_path / "out/predictions.csv").read_bytes().decode()
    assert text.count("\r\n") == text.count("\n") == 17
    assert text.splitlines()[0] == "image,label,predicted,confidence,p_bear,p_deer,p_fox,p_owl"
    rows, cells = lines(tmp_path / "out"), table(tmp_path / "out")
    assert [row["image"] for row in rows] == [cell["image"] for cell in cells]
    assert rows[-1]["image"] == str(odd)
    assert (rows[-1]["label"], cells[-1]["label"], rows[0]["label"]) == (None, "", "fox")
    for row, cell in zip(rows, cells, strict=True):
        everything = {name: float(cell[f"p_{name}"]) for name in finished.convnet.classes}
        assert sum(everything.values()) == pytest.approx(1)
        best = sorted(everything, key=lambda name: -everything[name])
        assert list(row["probabilities"].items()) == [(name, everything[name]) for name in best[:2]]
        assert (
            (row["predicted"], row["confidence"])
            == (best[0], everything[best[0]])
            == (
                cell["predicted"],
                float(cell["confidence"]),
            )
        )
    assert rows[-1]["confidence"] == pytest.approx(rows[0]["confidence"])


def test_bad_images_among_good_ones_change_nothing_for_the_others(finished, tmp_path: Path) -> None:
    good = [finished.photos / f"owl/{number:02}.png" for number in range(12)]
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    mixed = [*good[:3], bad, *good[3:9], finished.photos / "fox/00.png"]
    steps: list[int] = []
    predict(finished.convnet, find_images([*map(str, good[:9])]), tmp_path / "alone")
    tally = predict(finished.convnet, find_images([*map(str, mixed)]), tmp_path / "out", on_progress=steps.append)
    assert lines(tmp_path / "out")[:8] == lines(tmp_path / "alone")[:8]  # the same first batch of 8
    assert steps == list(range(1, 12))
    assert (tally.predicted, tally.rejected) == (10, 1)
    (reject,) = table(tmp_path / "out", "rejects.csv")
    assert reject["image"] == str(bad)
    assert reject["reason"].startswith("not an image")
    assert not (tmp_path / "alone/rejects.csv").exists()


def test_only_the_first_rejects_are_remembered(finished, tmp_path: Path) -> None:
    for number in range(SHOWN_REJECTS + 5):
        (tmp_path / f"{number:02}.png").write_text("no image")
    found = find_images([str(tmp_path), str(finished.photos / "fox/00.png")])
    tally = predict(finished.convnet, found, tmp_path / "out")
    assert (tally.rejected, len(tally.rejects)) == (SHOWN_REJECTS + 5, SHOWN_REJECTS)
    assert len(table(tmp_path / "out", "rejects.csv")) == SHOWN_REJECTS + 5


def test_nothing_readable_is_a_mistake(finished, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no image can be used, of 2; nothing was written:\n  .*gone.png: not a file"):
        predict(finished.convnet, find_images([str(tmp_path)]), tmp_path / "out")


def test_an_answer_that_is_not_finite_is_no_prediction(finished, tmp_path: Path) -> None:
    class Overflowing(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(images), 4)
            logits[1, 2], logits[2, 0] = torch.inf, torch.nan
            return logits

    trained = replace(finished.convnet, model=Overflowing())
    found = find_images([str(finished.photos / "fox")])
    found.images = found.images[:4]
    tally = predict(trained, found, tmp_path / "out")
    assert (tally.predicted, tally.rejected) == (2, 2)
    assert [row["reason"] for row in table(tmp_path / "out", "rejects.csv")] == [NOT_FINITE] * 2
    assert [Path(row["image"]).name for row in lines(tmp_path / "out")] == ["00.png", "03.png"]


def test_ctrl_c_leaves_nothing(finished, tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        if done == 50:
            assert len(list(tmp_path.rglob("predictions.csv"))) == 1  # something was written by now
            raise KeyboardInterrupt

    found = find_images([str(finished.photos)])
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "a/out") as folder:
        predict_images(finished.convnet, found, folder, batch=8, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


class OneForAll(Source):
    """One image under any name."""

    display = "s3://bucket/many"

    def __init__(self, data: bytes) -> None:
        self._data = data

    def listing(self) -> Listing:
        raise NotImplementedError

    def open(self, path: str) -> RawFile:
        return io.BytesIO(self._data)


def test_memory_does_not_grow_with_the_number_of_images(finished, tmp_path: Path) -> None:
    source = OneForAll((finished.photos / "fox/00.png").read_bytes())
    shown = SHEETS * PER_SHEET
    packed_bytes = 48 * 40 * 3

    def peak(images: int, folder: Path) -> int:
        found = Found([ImageFile(source, f"{number:05}.png") for number in range(images)])
        tracemalloc.start()
        try:
            tally = predict(finished.convnet, found, folder)
            assert (tally.predicted, tally.on_sheets) == (images, shown)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(shown, tmp_path / "warm")
    few, many = peak(shown, tmp_path / "few"), peak(shown + 800, tmp_path / "many")
    assert many - few < 100 * packed_bytes
    assert len(list((tmp_path / "many").glob("contact-sheet-*.png"))) == SHEETS
