"""What a segmentation model says of images: masks, and the masks' colours over the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from visionjobs.data.decode import Decoded
from visionjobs.data.parallel import default_threads, ordered_map
from visionjobs.data.source import Reject
from visionjobs.inference.contact_sheet import Thumbnail, thumbnail_pixels
from visionjobs.inference.overlay import Pixels, overlay, palette_image
from visionjobs.inference.picture_files import QUALITY, PictureNames, suffix_for
from visionjobs.inference.prediction_files import NOT_FINITE, Pair, PredictionFiles
from visionjobs.inference.reading import ImageFile, read_image
from visionjobs.models.trained import Trained

MASKS, OVERLAYS = "masks", "overlays"


class Answered(NamedTuple):
    """An image with its mask, uint8 [h, w] at the size that the model was fed, and the name of its files."""

    image: ImageFile
    decoded: Decoded
    mask: Pixels
    name: str


class Drawn(NamedTuple):
    """mask, overlay: their files, below the folder; pixels: of each class, in the image's own size; thumbnail: of the
    overlay, where one is wanted."""

    mask: str
    overlay: str
    pixels: list[int]
    thumbnail: Pixels | None


class MaskFiles(PredictionFiles):
    """masks/<name>.png: mode P, the class numbers as pixel values, the dataset's colours as palette; and
    overlays/<name>.jpg (.png where an image is too long for JPEG). Both have the image's own size, and are drawn one
    image a thread at a time. top: classes an image in predictions.jsonl, all that occur if None."""

    def __init__(self, folder: Path, trained: Trained, top: int | None) -> None:
        dataset = trained.dataset
        colours = {name: (r, g, b) for name, (r, g, b) in zip(dataset.classes, dataset.colours, strict=True)}
        super().__init__(folder, trained.run.id, colours)
        self.trained = trained
        self.columns = ("image", "mask", "overlay", "height", "width", *(f"share_{name}" for name in trained.classes))
        self._top, self._names = top, PictureNames()
        for name in (MASKS, OVERLAYS):
            (folder / name).mkdir()

    def read(self, image: ImageFile) -> Decoded | Reject:
        """As the dataset was packed."""
        return read_image(image, self.trained.packed_size)

    def predict(self, pairs: Sequence[Pair]) -> None:
        """Only the class numbers cross the bus: the most probable class is found on the device."""
        logits = self.trained.logits(torch.from_numpy(np.stack([decoded.pixels for _, decoded in pairs])))
        finite = torch.isfinite(logits).flatten(1).all(1).cpu().numpy()
        masks = logits.argmax(1).to(torch.uint8).cpu().numpy()
        answers = list(self._answers(pairs, masks, finite))
        wanted = [answer for answer in answers if isinstance(answer, Answered)]
        with closing(ordered_map(self._draw, wanted, default_threads())) as drawings:
            for answer in answers:
                drawn = answer if isinstance(answer, Reject) else next(drawings)
                if isinstance(answer, Answered) and isinstance(drawn, Drawn):
                    self._add(answer, drawn)
                elif isinstance(drawn, Reject):
                    self.reject(drawn)

    def _answers(
        self, pairs: Sequence[Pair], masks: Pixels, finite: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ) -> Iterator[Answered | Reject]:
        for (image, decoded), mask, good in zip(pairs, masks, finite, strict=True):
            yield (
                Answered(image, decoded, mask, self._names.new(image.path))
                if good
                else Reject(image.address, NOT_FINITE)
            )

    def _draw(self, answer: Answered) -> Drawn | Reject:
        """In a thread. The image is read once more, in its own size: a batch of large ones would not fit in memory."""
        height, width = answer.decoded.height, answer.decoded.width
        whole = read_image(answer.image, (height, width))
        if isinstance(whole, Reject):
            return whole
        if (whole.height, whole.width) != (height, width):
            return Reject(answer.image.address, "was changed while it was predicted")
        small = palette_image(answer.mask, self.trained.dataset.colours)
        mask = small.resize((width, height), Image.Resampling.NEAREST)
        over = overlay(Image.fromarray(whole.pixels), mask)
        files = (f"{MASKS}/{answer.name}.png", f"{OVERLAYS}/{answer.name}.{suffix_for(width, height)}")
        mask.save(self.folder / files[0])
        over.save(self.folder / files[1], quality=QUALITY)
        thumbnail = thumbnail_pixels(np.asarray(over), width, height) if self.sheets.wanted else None
        return Drawn(*files, mask.histogram()[: len(self.trained.classes)], thumbnail)

    def _add(self, answer: Answered, drawn: Drawn) -> None:
        address, decoded = answer.image.address, answer.decoded
        total = decoded.height * decoded.width
        shares = {name: n / total for name, n in zip(self.trained.classes, drawn.pixels, strict=True)}
        ranked = sorted((item for item in shares.items() if item[1]), key=lambda item: -item[1])
        row = {
            "image": address, "mask": drawn.mask, "overlay": drawn.overlay,
            "height": decoded.height, "width": decoded.width,
        }  # fmt: skip
        self.write(row | {"shares": dict(ranked[: self._top])}, [*row.values(), *shares.values()])
        if drawn.thumbnail is not None and self.sheets.wanted:
            (largest, share), occurring = ranked[0], tuple(name for name, _ in ranked)
            name = address.rpartition("/")[2]
            self.sheets.add(Thumbnail(drawn.thumbnail, name, largest, share, None, occurring))
