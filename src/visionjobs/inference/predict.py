"""What a finished run's model says of images: JSON lines, CSV and contact sheets, written as the images come."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from visionjobs.data.decode import Decoded, quiet_pillow
from visionjobs.data.parallel import default_threads, ordered_map
from visionjobs.data.source import Reject
from visionjobs.errors import UserError
from visionjobs.inference.contact_sheet import PER_SHEET, SHEETS, ContactSheets, Thumbnail, thumbnail_pixels
from visionjobs.inference.reading import Found, ImageFile, read_image
from visionjobs.models.trained import Trained
from visionjobs.predictions import Predictions

SHOWN_REJECTS = 20

NOT_FINITE = "the model's answer is not finite: no probabilities come of it"

Pair = tuple[ImageFile, Decoded]


@dataclass
class Tally:
    """What was done. predicted, labelled, right, rejected: numbers of images; right: of the labelled ones;
    rejects: the first of those rejected."""

    predicted: int = 0
    labelled: int = 0
    right: int = 0
    rejected: int = 0
    rejects: list[Reject] = field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        """Over the labelled images, None where there is none."""
        return self.right / self.labelled if self.labelled else None

    @property
    def on_sheets(self) -> int:
        """Images that the contact sheets show."""
        return min(self.predicted, SHEETS * PER_SHEET)


@dataclass(frozen=True)
class Prediction:
    """Of one image. probabilities: of the classes in their order, as floats; label: None where it is not known."""

    image: str
    label: str | None
    predicted: str
    confidence: float
    probabilities: dict[str, float]


class Writer:
    """predictions.jsonl, predictions.csv, contact-sheet-*.png and, where there are any, rejects.csv in a folder."""

    def __init__(self, folder: Path, trained: Trained, top: int | None) -> None:
        self.tally = Tally()
        self._folder, self._classes, self._top = folder, trained.classes, top
        self._sheets = ContactSheets(folder, trained.run.id)
        self._files = ExitStack()

    def __enter__(self) -> Writer:
        self._lines = self._open("predictions.jsonl")
        self._table = csv.writer(self._open("predictions.csv"))  # RFC 4180: lines end with \r\n
        self._table.writerow(["image", "label", "predicted", "confidence", *(f"p_{name}" for name in self._classes)])
        self._rejects: Any = None
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, prediction: Prediction, decoded: Decoded) -> None:
        """Write one line of each, and a thumbnail while there is room."""
        p, tally = prediction, self.tally
        tally.predicted += 1
        tally.labelled += p.label is not None
        tally.right += p.label == p.predicted
        ranked = dict(sorted(p.probabilities.items(), key=lambda item: -item[1])[: self._top])
        row = {"image": p.image, "label": p.label, "predicted": p.predicted, "confidence": p.confidence}
        self._lines.write(json.dumps(row | {"probabilities": ranked}, ensure_ascii=False) + "\n")
        self._table.writerow([*row.values(), *p.probabilities.values()])
        if self._sheets.wanted:
            pixels = thumbnail_pixels(decoded.pixels, decoded.width, decoded.height)
            name = p.image.rpartition("/")[2]
            self._sheets.add(Thumbnail(pixels, name, p.predicted, p.confidence, p.label))

    def reject(self, reject: Reject) -> None:
        """Write that this image could not be predicted."""
        if self._rejects is None:
            self._rejects = csv.writer(self._open("rejects.csv"))
            self._rejects.writerow(["image", "reason"])
        self._rejects.writerow([reject.path, reject.reason])
        self.tally.rejected += 1
        if len(self.tally.rejects) < SHOWN_REJECTS:
            self.tally.rejects.append(reject)

    def finish(self) -> None:
        """Draw the sheets."""
        self._sheets.finish(self.tally.predicted)

    def _open(self, name: str) -> IO[str]:
        return self._files.enter_context((self._folder / name).open("w", encoding="utf-8", newline=""))


def predict_images(
    trained: Trained, found: Found, folder: Path, *, batch: int, top: int | None = None,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> Tally:  # fmt: skip
    """Predict every image and write the files into `folder`. Only the list of images is held in memory as a whole.

    batch: images at once; with that of training the answers are those of an evaluation, on the CPU to the bit. top:
    classes an image in predictions.jsonl, all if None. on_progress: called with the number of images read so far.
    Raises UserError where no image at all can be predicted.
    """
    with Writer(folder, trained, top) as writer:
        for reject in found.rejects:
            writer.reject(reject)
        for pairs in _batches(trained, found, batch, writer, on_progress):
            for prediction, (_, decoded) in zip(_answers(trained, pairs), pairs, strict=True):
                if isinstance(prediction, Reject):
                    writer.reject(prediction)
                else:
                    writer.add(prediction, decoded)
        writer.finish()
    tally = writer.tally
    if not tally.predicted:
        listed = "".join(f"\n  {reject.path}: {reject.reason}" for reject in tally.rejects)
        more = "\n  ..." if tally.rejected > len(tally.rejects) else ""
        raise UserError(f"no image can be used, of {tally.rejected:,}; nothing was written:{listed}{more}")
    return tally


def _batches(
    trained: Trained, found: Found, batch: int, writer: Writer, on_progress: Callable[[int], None]
) -> Iterator[list[Pair]]:
    """The images that can be read, in order, `batch` at a time; the others go to the writer."""
    waiting: list[Pair] = []
    read = partial(read_image, size=trained.packed_size)
    with quiet_pillow(), closing(ordered_map(read, found.images, default_threads())) as results:
        for done, (image, result) in enumerate(zip(found.images, results, strict=True), 1):
            if isinstance(result, Reject):
                writer.reject(result)
            else:
                waiting.append((image, result))
            if len(waiting) == batch:
                yield waiting
                waiting = []
            on_progress(done)
    if waiting:
        yield waiting


def _answers(trained: Trained, pairs: list[Pair]) -> Iterator[Prediction | Reject]:
    """One for each image. The probabilities are computed where those of an evaluation are."""
    pixels = torch.from_numpy(np.stack([decoded.pixels for _, decoded in pairs]))
    answers = Predictions(
        split="",
        classes=tuple(trained.classes),
        paths=tuple(image.address for image, _ in pairs),
        labels=np.full(len(pairs), -1, np.int64),  # not known, and not asked for below
        logits=trained.logits(pixels).cpu().numpy(),
    )
    with np.errstate(invalid="ignore"):
        probabilities = answers.probabilities
    for number, (image, _) in enumerate(pairs):
        if not np.isfinite(answers.logits[number]).all():
            yield Reject(image.address, NOT_FINITE)
            continue
        yield Prediction(
            image=image.address,
            label=image.label(trained.classes),
            predicted=trained.classes[answers.predicted[number]],
            confidence=float(answers.confidence[number]),
            probabilities=dict(zip(trained.classes, probabilities[number].tolist(), strict=True)),
        )
