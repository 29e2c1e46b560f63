"""`visionjobs predict RUN IMAGES...`: what a finished run's model says of images."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from visionjobs.cli.console import counting_progress, err, out
from visionjobs.errors import UserError
from visionjobs.runs import Run, open_run
from visionjobs.settings import Settings
from visionjobs.storage import open_store

if TYPE_CHECKING:
    from visionjobs.inference.prediction_files import Tally
    from visionjobs.inference.reading import Found


def predict(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="a finished run, as `visionjobs runs` lists it")],
    images: Annotated[list[str], typer.Argument(help="files, folders and s3:// addresses")],
    out_folder: Annotated[
        str | None, typer.Option("--out", metavar="FOLDER", help="a new folder; predictions/RUN-TIME if not given")
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="keep so many classes an image in predictions.jsonl; all if not given", min=1)
    ] = None,
    batch: Annotated[int | None, typer.Option(help="images at once; as in training if not given", min=1)] = None,
) -> None:
    """Predict images with a finished run's model. The output folder is the last line on stdout.

    It gets predictions.jsonl and predictions.csv, contact sheets, and rejects.csv where images could not be read: they
    are named, the others are predicted, and the exit status is 1. Of classification: labels and probabilities; an image
    whose folder is named like a class has that label, and the accuracy over all such images is told. Of segmentation:
    each class's share of the pixels, masks/ (PNG, the pixel values are the class numbers) and overlays/ (the classes'
    colours over the image), both at the image's own size.
    """
    settings = Settings.from_env()
    run = open_run(open_store(settings.storage, settings.endpoint), run_id)
    target = _target(out_folder, run)
    from visionjobs.inference.reading import find_images

    found = find_images(images, settings.endpoint)
    if found.skipped:
        err.print(f"files passed over, hidden or not named like images: {found.skipped:,}")
    tally = _predict(run, found, target, batch, top)
    _report(tally, found)
    out.print(Text(str(target)))
    if tally.rejected:
        raise typer.Exit(1)


def _target(given: str | None, run: Run) -> Path:
    if given and "://" in given:
        raise UserError(f"--out {given}: expected a local folder")
    path = Path(given) if given else Path("predictions", f"{run.id}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    return path.absolute()


def _predict(run: Run, found: Found, target: Path, batch: int | None, top: int | None) -> Tally:
    from visionjobs.inference.output import new_folder
    from visionjobs.inference.predict import predict_images
    from visionjobs.models.trained import load_trained, this_device

    with new_folder(target) as folder, counting_progress() as bar:
        trained = load_trained(run, this_device())
        task = bar.add_task("predicting", total=len(found.images))
        return predict_images(
            trained,
            found,
            folder,
            batch=batch or trained.spec.train.batch // trained.spec.resources.workers,
            top=top,
            on_progress=lambda done: bar.update(task, completed=done),
        )


def _report(tally: Tally, found: Found) -> None:
    if tally.accuracy is not None:
        unlabelled = tally.predicted - tally.labelled
        others = f"; {unlabelled:,} without a label" if unlabelled else ""
        err.print(f"accuracy {tally.accuracy:.4f}: {tally.right:,} of {tally.labelled:,} labelled images{others}")
    if tally.on_sheets < tally.predicted:
        err.print(f"the contact sheets show the first {tally.on_sheets:,} of {tally.predicted:,} images")
    if tally.rejected:
        total = len(found.images) + len(found.rejects)
        err.print(Text(f"{tally.rejected:,} of {total:,} images could not be used (rejects.csv):", "yellow"))
        for reject in tally.rejects:
            err.print(Text(f"  {reject.path}: {reject.reason}"), soft_wrap=True)
        if tally.rejected > len(tally.rejects):
            err.print("  ...")
