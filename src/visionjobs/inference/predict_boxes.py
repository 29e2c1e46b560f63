"""What a detector says of images: boxes in a table and drawn on the images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionjobs.data.decode import Decoded
from visionjobs.data.parallel import default_threads, ordered_map
from visionjobs.data.source import Reject
from visionjobs.inference.contact_sheet import Thumbnail, thumbnail_pixels
from visionjobs.inference.detector import Found
from visionjobs.inference.draw_boxes import draw_boxes, draw_thumbnail
from visionjobs.inference.picture_files import QUALITY, PictureNames, suffix_for
from visionjobs.inference.prediction_files import Pair, PredictionFiles
from visionjobs.inference.reading import ImageFile, read_image
from visionjobs.inference.run_detector import RunDetector

BOXES = "boxes"


class Answer(NamedTuple):
    """An image with its boxes, and the name of its picture."""

    image: ImageFile
    decoded: Decoded
    found: Found
    name: str


class Drawn(NamedTuple):
    """file: the picture, below the folder; thumbnail: RGB, where one is wanted."""

    file: str
    thumbnail: npt.NDArray[np.uint8] | None


class BoxFiles(PredictionFiles):
    """predictions.jsonl: a line an image with all its boxes; predictions.csv: a line a box; and boxes/<name>.jpg (.png
    where an image is too long for JPEG), the image with its boxes. Boxes are in pixels of the image as it is shown,
    turned as its EXIF says. top: boxes an image, the most confident ones, all if None."""

    columns = ("image", "class", "score", "x", "y", "width", "height")

    def __init__(self, folder: Path, asked: RunDetector, top: int | None) -> None:
        super().__init__(folder, asked.run.id)
        self._detector, self._top, self._names = asked.detector, top, PictureNames()
        (folder / BOXES).mkdir()

    def read(self, image: ImageFile) -> Decoded | Reject:
        """At its own size."""
        return read_image(image, None)

    def predict(self, pairs: Sequence[Pair]) -> None:
        """The pictures are drawn in threads."""
        found = self._detector.predict([decoded.pixels for _, decoded in pairs])
        answers = [
            Answer(image, decoded, boxes.first(self._top), self._names.new(image.path))
            for (image, decoded), boxes in zip(pairs, found, strict=True)
        ]
        with closing(ordered_map(self._draw, answers, default_threads())) as drawings:
            for answer, drawn in zip(answers, drawings, strict=True):
                self._add(answer, drawn)

    def _draw(self, answer: Answer) -> Drawn:
        """In a thread."""
        _, decoded, found, name = answer
        file = f"{BOXES}/{name}.{suffix_for(decoded.width, decoded.height)}"
        draw_boxes(decoded.pixels, found, self._detector.classes).save(self.folder / file, quality=QUALITY)
        if not self.sheets.wanted:
            return Drawn(file, None)
        small = thumbnail_pixels(decoded.pixels, decoded.width, decoded.height)
        return Drawn(file, draw_thumbnail(small, found, decoded.width))

    def _add(self, answer: Answer, drawn: Drawn) -> None:
        image, decoded, found, _ = answer
        names = [self._detector.classes[category] for category in found.categories.tolist()]
        boxes, scores = found.boxes.round(2).tolist(), found.scores.round(6).tolist()
        rows = list(zip(names, scores, boxes, strict=True))
        line = {
            "image": image.address, "drawn": drawn.file, "height": decoded.height, "width": decoded.width,
            "boxes": [{"class": name, "score": score, "box": box} for name, score, box in rows],
        }  # fmt: skip
        self.write(line, *([image.address, name, score, *box] for name, score, box in rows))
        if drawn.thumbnail is not None and self.sheets.wanted:
            count = f"{len(found)} box{'' if len(found) == 1 else 'es'}"
            first, share = (names[0], scores[0]) if names else ("nothing", None)
            file = image.address.rpartition("/")[2]
            self.sheets.add(Thumbnail(drawn.thumbnail, file, first, share, None, note=count))
