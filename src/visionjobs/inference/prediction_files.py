"""The files of a prediction, written as the images come: what all tasks write."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from visionjobs.data.camvid_classes import Colour
from visionjobs.data.decode import Decoded
from visionjobs.data.source import Reject
from visionjobs.inference.contact_sheet import PER_SHEET, SHEETS, ContactSheets
from visionjobs.inference.reading import ImageFile

SHOWN_REJECTS = 20

NOT_FINITE = "the model's answer is not finite: nothing comes of it"

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


class PredictionFiles(ABC):
    """predictions.jsonl, predictions.csv, contact-sheet-*.png and, where there are any, rejects.csv in a folder."""

    columns: tuple[str, ...]
    """Of predictions.csv."""

    def __init__(self, folder: Path, run_id: str, colours: Mapping[str, Colour] | None = None) -> None:
        self.tally = Tally()
        self.folder = folder
        self.sheets = ContactSheets(folder, run_id, colours or {})
        self._files = ExitStack()

    def __enter__(self) -> Self:
        self._lines = self._open("predictions.jsonl")
        self._table = csv.writer(self._open("predictions.csv"))  # RFC 4180: lines end with \r\n
        self._table.writerow(self.columns)
        self._rejects: Any = None
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    @abstractmethod
    def read(self, image: ImageFile) -> Decoded | Reject:
        """Decode an image as the model wants it, in a thread; or why it cannot be used."""

    @abstractmethod
    def predict(self, pairs: Sequence[Pair]) -> None:
        """Ask the model of a batch of images: `write` what it says of each one, or `reject` it."""

    def write(self, line: Mapping[str, Any], *rows: Sequence[Any]) -> None:
        """What is said of an image: a line of predictions.jsonl, and the cells of lines of predictions.csv."""
        self._lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._table.writerows(rows)
        self.tally.predicted += 1

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
        self.sheets.finish(self.tally.predicted)

    def _open(self, name: str) -> IO[str]:
        return self._files.enter_context((self.folder / name).open("w", encoding="utf-8", newline=""))
