"""`visionjobs predict RUN IMAGES...`: what a finished run's model says of images."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from visionjobs.cli.console import counting_progress, err, out
from visionjobs.cli.trained import open_trained
from visionjobs.errors import UserError
from visionjobs.runs import Run
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import Store, open_store

if TYPE_CHECKING:
    from visionjobs.inference.prediction_files import Tally
    from visionjobs.inference.reading import Found
    from visionjobs.inference.run_detector import RunDetector
    from visionjobs.models.trained import Trained


def predict(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="a finished run, as `visionjobs runs` lists it")],
    images: Annotated[list[str], typer.Argument(help="files, folders and s3:// addresses")],
    out_folder: Annotated[
        str | None, typer.Option("--out", metavar="FOLDER", help="a new folder; predictions/RUN-TIME if not given")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="keep so many classes (detection: boxes) an image; all if not given", min=1),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="images at once; as in the job if not given", min=1)] = None,
    floor: Annotated[
        float | None, typer.Option(help="detection: least confidence of a box; the job's highest if not given")
    ] = None,
) -> None:
    """Predict images with a finished run's model. The output folder is the last line on stdout.

    It gets predictions.jsonl and predictions.csv, contact sheets, and rejects.csv where images could not be read: they
    are named, the others are predicted, and the exit status is 1. Of classification: labels and probabilities; an image
    whose folder is named like a class has that label, and the accuracy over all such images is told. Of segmentation:
    each class's share of the pixels, masks/ (PNG, the pixel values are the class numbers) and overlays/ (the classes'
    colours over the image), both at the image's own size. Of detection: each box's class, confidence and place (x, y of
    its upper left corner, width, height in pixels of the image as shown), and boxes/, the images with them.
    """
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    run = open_trained(root, run_id)
    _check_floor(run, floor)
    target = _target(out_folder, run)
    from visionjobs.inference.reading import find_images

    found = find_images(images, settings.endpoint)
    if found.skipped:
        err.print(f"files passed over, hidden or not named like images: {found.skipped:,}")
    tally = _predict(partial(_asked, run, root, settings, floor), found, target, batch, top)
    _report(tally, found)
    out.print(Text(str(target)))
    if tally.rejected:
        raise typer.Exit(1)


def _target(given: str | None, run: Run) -> Path:
    if given and "://" in given:
        raise UserError(f"--out {given}: expected a local folder")
    path = Path(given) if given else Path("predictions", f"{run.id}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    return path.absolute()


def _check_floor(run: Run, floor: float | None) -> None:
    task = run.spec().task
    if floor is not None and task != "detection":
        raise UserError(f"--floor is for detection, and the task of run {run.id} is {task}")
    if floor is not None and not 0 < floor < 1:
        raise UserError(f"--floor {floor}: expected a confidence between 0 and 1")


def _asked(run: Run, root: Store, settings: Settings, floor: float | None) -> Trained | RunDetector:
    """The run's model on the GPU, where there is one."""
    from visionjobs.data.parallel import default_threads
    from visionjobs.inference.run_detector import load_run_detector
    from visionjobs.models.trained import load_trained, this_device

    if run.spec().task != "detection":
        return load_trained(run, this_device())
    device, threads = str(this_device()), default_threads()
    return load_run_detector(run, root, settings.cache, floor=floor, device=device, threads=threads)


def _predict(
    load: Callable[[], Trained | RunDetector], found: Found, target: Path, batch: int | None, top: int | None
) -> Tally:
    from visionjobs.inference.output import new_folder
    from visionjobs.inference.predict import predict_images

    with new_folder(target) as folder, counting_progress() as bar:
        asked = load()
        task = bar.add_task("predicting", total=len(found.images))
        spec = asked.spec
        return predict_images(
            asked,
            found,
            folder,
            batch=batch or (spec.detect.batch if spec.task == "detection" else _of_training(spec)),
            top=top,
            on_progress=lambda done: bar.update(task, completed=done),
        )


def _of_training(spec: JobSpec) -> int:
    """With as many images at once the answers are those of the evaluation, to the bit on the CPU."""
    return spec.train.batch // spec.resources.workers


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
