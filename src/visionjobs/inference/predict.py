"""What a finished run's model says of images, in files that are written as the images come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from visionjobs.data.decode import quiet_pillow
from visionjobs.data.parallel import default_threads, ordered_map
from visionjobs.data.source import Reject
from visionjobs.errors import UserError
from visionjobs.inference.predict_boxes import BoxFiles
from visionjobs.inference.predict_classes import ClassFiles
from visionjobs.inference.predict_masks import MaskFiles
from visionjobs.inference.prediction_files import Pair, PredictionFiles, Tally
from visionjobs.inference.reading import Found
from visionjobs.inference.run_detector import RunDetector
from visionjobs.models.trained import Trained


def predict_images(
    asked: Trained | RunDetector, found: Found, folder: Path, *, batch: int, top: int | None = None,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> Tally:  # fmt: skip
    """Predict every image and write the files into `folder`. Only the list of images is held in memory as a whole.

    batch: images at once; with that of training the answers are those of an evaluation, on the CPU to the bit. top:
    classes (of detection: boxes) an image in predictions.jsonl, all if None. on_progress: called with the number of
    images read so far. Raises UserError where no image at all can be predicted.
    """
    with quiet_pillow(), _files(asked, folder, top) as files:
        for reject in found.rejects:
            files.reject(reject)
        for pairs in _batches(found, batch, files, on_progress):
            files.predict(pairs)
        files.finish()
    tally = files.tally
    if not tally.predicted:
        listed = "".join(f"\n  {reject.path}: {reject.reason}" for reject in tally.rejects)
        more = "\n  ..." if tally.rejected > len(tally.rejects) else ""
        raise UserError(f"no image can be used, of {tally.rejected:,}; nothing was written:{listed}{more}")
    return tally


def _files(asked: Trained | RunDetector, folder: Path, top: int | None) -> PredictionFiles:
    if isinstance(asked, RunDetector):
        return BoxFiles(folder, asked, top)
    kind = MaskFiles if asked.spec.task == "segmentation" else ClassFiles
    return kind(folder, asked, top)


def _batches(
    found: Found, batch: int, files: PredictionFiles, on_progress: Callable[[int], None]
) -> Iterator[list[Pair]]:
    """The images that can be read, in order, `batch` at a time; the others are rejected."""
    waiting: list[Pair] = []
    with closing(ordered_map(files.read, found.images, default_threads())) as results:
        for done, (image, result) in enumerate(zip(found.images, results, strict=True), 1):
            if isinstance(result, Reject):
                files.reject(result)
            else:
                waiting.append((image, result))
            if len(waiting) == batch:
                yield waiting
                waiting = []
            on_progress(done)
    if waiting:
        yield waiting
