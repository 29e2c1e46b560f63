"""What a classifier says of images: the probability of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from visionjobs.data.decode import Decoded
from visionjobs.data.source import Reject
from visionjobs.inference.contact_sheet import Thumbnail, thumbnail_pixels
from visionjobs.inference.prediction_files import NOT_FINITE, Pair, PredictionFiles
from visionjobs.inference.reading import ImageFile, read_image
from visionjobs.models.trained import Trained
from visionjobs.predictions import Predictions


class ClassFiles(PredictionFiles):
    """An image whose folder is named like a class has that label. top: classes an image in predictions.jsonl, all if
    None."""

    def __init__(self, folder: Path, trained: Trained, top: int | None) -> None:
        super().__init__(folder, trained.run.id)
        self.trained = trained
        self.columns = ("image", "label", "predicted", "confidence", *(f"p_{name}" for name in trained.classes))
        self._top = top

    def read(self, image: ImageFile) -> Decoded | Reject:
        """As the dataset was packed."""
        return read_image(image, self.trained.packed_size)

    def predict(self, pairs: Sequence[Pair]) -> None:
        """The probabilities are computed where those of an evaluation are."""
        pixels = torch.from_numpy(np.stack([decoded.pixels for _, decoded in pairs]))
        answers = Predictions(
            split="",
            classes=tuple(self.trained.classes),
            paths=tuple(image.address for image, _ in pairs),
            labels=np.full(len(pairs), -1, np.int64),  # not known, and not asked for below
            logits=self.trained.logits(pixels).cpu().numpy(),
        )
        with np.errstate(invalid="ignore"):
            _ = answers.probabilities  # kept by `answers`
        for number, pair in enumerate(pairs):
            if np.isfinite(answers.logits[number]).all():
                self._add(answers, number, pair)
            else:
                self.reject(Reject(pair[0].address, NOT_FINITE))

    def _add(self, answers: Predictions, number: int, pair: Pair) -> None:
        """Write one line of each file, and a thumbnail while there is room."""
        image, decoded = pair
        classes = self.trained.classes
        label, predicted = image.label(classes), classes[answers.predicted[number]]
        confidence = float(answers.confidence[number])
        probabilities = dict(zip(classes, answers.probabilities[number].tolist(), strict=True))
        self.tally.labelled += label is not None
        self.tally.right += label == predicted
        ranked = dict(sorted(probabilities.items(), key=lambda item: -item[1])[: self._top])
        row = {"image": image.address, "label": label, "predicted": predicted, "confidence": confidence}
        self.write(row | {"probabilities": ranked}, [*row.values(), *probabilities.values()])
        if self.sheets.wanted:
            shown = thumbnail_pixels(decoded.pixels, decoded.width, decoded.height)
            self.sheets.add(Thumbnail(shown, image.address.rpartition("/")[2], predicted, confidence, label))
