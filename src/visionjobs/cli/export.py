"""`visionjobs export RUN`: a finished run's model as an ONNX or TorchScript file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from visionjobs.cli.console import byte_progress, err, out
from visionjobs.cli.trained import open_trained
from visionjobs.errors import UserError
from visionjobs.runs import Run
from visionjobs.settings import Settings
from visionjobs.spec import JobSpec
from visionjobs.storage import OnBytes, Store, open_store

if TYPE_CHECKING:
    from visionjobs.inference.export import Export
    from visionjobs.inference.export_check import Check, Format


def export(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="a finished run, as `visionjobs runs` lists it")],
    kind: Annotated[Literal["onnx", "torchscript"], typer.Option("--format", help="what the file is for")],
    file: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="a file or s3:// address; else in the run's folder")
    ] = None,
) -> None:
    """Export a finished run's model, normalisation included. The file's address is the last line on stdout.

    It takes RGB images between 0 and 1 (float32, batch x 3 x height x width) and gives logits (batch x classes, of
    segmentation x height x width too); class names and size are in its metadata. It is written only if it gives torch's
    logits on real images of the run's dataset; else the exit status is 1. Of a detector that was fine-tuned the file
    (onnx alone) is like one of ultralytics' own exports: boxes in pixels and confidences, before NMS.
    """
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    run = open_trained(root, run_id)
    place = None if file is None else _place(file, settings)
    from visionjobs.inference.export_check import SUFFIX

    spec = run.spec_now()
    store, key = place or (run.store.at("export"), f"{spec.name}{SUFFIX[kind]}")
    if spec.task == "detection":
        _export_boxes(run, spec, kind, (store, key), root, settings)
    else:
        _export_logits(run, kind, (store, key), root, settings)


def _export_logits(run: Run, kind: Format, place: tuple[Store, str], root: Store, settings: Settings) -> None:
    import torch

    from visionjobs.inference.export import export_model
    from visionjobs.inference.export_check import real_images
    from visionjobs.models.trained import load_trained

    trained = load_trained(run, torch.device("cpu"))
    with _fetching(trained.dataset.bytes) as on_bytes:
        images, source = real_images(trained, root, settings.cache, on_bytes)
    with err.status("exporting and checking"):
        written = export_model(trained, kind, images, *place)
    _tell(written, _difference(written.check), source)


def _export_boxes(
    run: Run, spec: JobSpec, kind: Format, place: tuple[Store, str], root: Store, settings: Settings
) -> None:
    from visionjobs.inference.export_boxes import TOLERANCE, check_exportable, detection_images, export_detector

    check_exportable(run, spec, kind)
    with _fetching(None) as on_bytes:
        images, source = detection_images(run, spec, root, settings.cache, on_bytes)
    with err.status("exporting and checking"):
        written = export_detector(run, spec, images, *place)
    check = written.check
    difference = (
        f"boxes differ from torch's by at most {check.pixels:.1e} pixels (allowed: {check.allowed:.1e}), confidences "
        f"by {check.confidence:.1e} ({TOLERANCE:.1e}),"
    )
    _tell(written, difference, source)


def _tell(written: Export[Any], difference: str, source: str) -> None:
    err.print(Text(f"{difference} on {written.check.images} images of {source}, together and alone"), soft_wrap=True)
    err.print(Text(f"{written.bytes / 1e6:,.1f} MB, sha256 {written.sha256}"), soft_wrap=True)
    out.print(Text(written.address))


def _difference(check: Check) -> str:
    from visionjobs.inference.export_check import EXACT

    if check.limits == EXACT:
        return f"logits differ from torch's by at most {check.difference:.1e} (allowed: {check.allowed:.1e})"
    return (
        f"logits differ from torch's by at most {check.allowed:.1e} in {check.within:.1%} of the pixels (at least "
        f"{check.limits.within:.0%} must), and the class is the same in {check.same:.2%} (at least "
        f"{check.limits.same:.0%} must), as rounding may move the maximum of a pooling window and unpooling with it,"
    )


def _place(file: str, settings: Settings) -> tuple[Store, str]:
    """The store and the key that a file's path or address means."""
    address = file if "://" in file else str(Path(file).absolute())
    parent, _, name = address.rpartition("/")
    if not name or parent == "s3:/" or ("://" not in file and Path(address).is_dir()):
        raise UserError(f"--out {file}: expected the name of a file, such as model.onnx")
    return open_store(parent or "/", settings.endpoint), name


@contextmanager
def _fetching(total: int | None) -> Iterator[OnBytes]:
    """A bar that shows itself once something has to be fetched."""
    with byte_progress() as progress:
        task = progress.add_task("fetching the dataset", total=total, visible=False)
        yield lambda count: progress.update(task, advance=count, visible=True)
