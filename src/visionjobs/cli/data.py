"""`visionjobs data`: import, sample, list and show datasets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from visionjobs.cli.console import byte_progress, err, out, print_wide, stage_progress
from visionjobs.cli.data_tables import print_counts, report_import
from visionjobs.errors import UserError
from visionjobs.settings import Settings
from visionjobs.spec import DATASET_NAME
from visionjobs.storage import OnBytes, Store, open_store

if TYPE_CHECKING:
    from visionjobs.data.layouts import Layout

app = typer.Typer(help="Import datasets, draw a sample one, list and show them.", no_args_is_help=True)


@app.command("import")
def import_data(
    layout: Annotated[
        str,
        typer.Argument(
            help="how the raw files are laid out: wildlife (one subfolder a class), camvid (images and labels in "
            "colours: train/ train_labels/ val/ ..., or images/ labels/ with train.txt val.txt ...) or coco (boxes: "
            "val2017/ annotations/instances_val2017.json, and so for train; or YOLO's data.yaml images/ labels/)"
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            help="a folder, an archive (.zip .tar .tar.gz) or an s3:// address; with --download the folder to "
            "download into, which is kept"
        ),
    ],
    name: Annotated[str | None, typer.Option(help="what to call the dataset; the layout's name if not given")] = None,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="height and width to pack the images at; 224 224, of camvid 360 480, if not given; images of coco "
            "keep their own",
            min=16,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="of wildlife's split into training and validation; 0 if not given", min=0, max=2**32 - 1),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="fetch COCO 2017 from its official address first, or what is missing")
    ] = False,
    split: Annotated[
        list[str] | None,
        typer.Option(help="of --download: val (0.8 GB) or train (19 GB), may be repeated; val if not given"),
    ] = None,
) -> None:
    """Check every file, pack the images and store them. The dataset's address is the last line on stdout.

    Files that cannot be used are left out, and listed with the reason in rejects.csv beside the dataset. The same
    import made twice does nothing the second time.
    """
    from visionjobs.data.layouts import LAYOUTS
    from visionjobs.data.sample import check_layout

    chosen = LAYOUTS[check_layout(layout)]
    options = _import_options(layout, chosen, size, seed)
    splits = _splits(layout, chosen, download, split)
    _import(chosen, source, checked_name(name or layout), options, splits)


def _splits(layout: str, chosen: Layout, download: bool, split: list[str] | None) -> list[str]:
    """Those to be downloaded."""
    if download and not chosen.has_download:
        raise UserError(f"--download: is for coco; the raw files of {layout} cannot be fetched")
    if split and not download:
        raise UserError(f"--split {' '.join(split)}: is for --download; leave it out, or give that too")
    return (split or ["val"]) if download else []


def _import(chosen: Layout, source: str, name: str, options: dict[str, object], splits: list[str]) -> None:
    """splits: to be downloaded into `source` before."""
    root = _writable_root()
    if splits:
        options = options | {"archives": _download(Path(source).expanduser(), splits)}
    with stage_progress() as on_progress:
        result = chosen.import_raw(source, name, root, **options, on_progress=on_progress)
    report_import(result)


def _import_options(layout: str, chosen: Layout, size: tuple[int, int] | None, seed: int | None) -> dict[str, object]:
    """What import_raw is given beside source, name and root."""
    options: dict[str, object] = {}
    if chosen.size is None and size is not None:
        raise UserError(f"--size {size[0]} {size[1]}: images of {layout} keep their own size; leave it out")
    if chosen.size is not None:
        options["size"] = size or chosen.size
    if size and (max(size) > 4096 or min(size) < 16):
        raise UserError(f"--size {size[0]} {size[1]}: expected 16 to 4096 pixels")
    if seed is not None and chosen.has_splits:
        raise UserError(f"--seed {seed}: the raw files of {layout} say which split an image is in; leave it out")
    if not chosen.has_splits:
        options["seed"] = seed or 0
    return options


def _download(folder: Path, splits: list[str]) -> dict[str, str]:
    """Archive -> sha256."""
    from visionjobs.data.coco_download import IMAGES, download_coco

    for split in splits:
        if split not in IMAGES:
            raise UserError(f"--split {split}: expected one of: {', '.join(IMAGES)}")
    with byte_progress() as progress:

        def on_start(what: str, total: int | None) -> OnBytes:
            task = progress.add_task(what, total=total)
            return lambda count: progress.advance(task, count)

        return download_coco(folder, splits, on_start)


@app.command("sample")
def sample(
    layout: Annotated[str, typer.Argument(help="whose sample: wildlife, camvid or coco")],
    folder: Annotated[Path | None, typer.Option(help="keep the raw files here (a new folder)")] = None,
    seed: Annotated[int, typer.Option(help="of the drawing", min=0)] = 0,
) -> None:
    """Draw a small synthetic dataset and import it as LAYOUT-sample. Its address is the last line on stdout."""
    from visionjobs.data.sample import check_layout, make_sample

    check_layout(layout)
    root = _writable_root()
    with stage_progress() as on_progress:
        result = make_sample(layout, root, folder=folder, seed=seed, on_progress=on_progress)
    report_import(result)


@app.command("list")
def list_data() -> None:
    """List the datasets in storage, the newest version of each last."""
    from visionjobs.data.catalog import list_datasets

    settings = Settings.from_env()
    found = list_datasets(open_store(settings.storage, settings.endpoint))
    if not found:
        err.print(
            f"There are no datasets in {settings.storage}. To try everything: "
            "visionjobs data sample wildlife|camvid|coco",
            soft_wrap=True,
        )
        return
    titles = ("name", "version", "layout", "images", "classes", "size", "MB", "rejected", "created (UTC)")
    table = Table(*titles, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for ref in found:
        m = ref.manifest
        table.add_row(
            m.name, m.version, m.layout, f"{m.images:,}", str(len(m.classes)), "x".join(map(str, m.size)) or "own",
            f"{m.bytes / 1e6:,.0f}", str(m.rejected), m.created[:19].replace("T", " "),
        )  # fmt: skip
    print_wide(table, 110)  # a version cut short could not be pinned


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="a name that `visionjobs data list` shows")],
    version: Annotated[str, typer.Option(help="newest, or one that `visionjobs data list` shows")] = "newest",
    folder: Annotated[Path | None, typer.Option(help="where to put the figures; in the cache if not given")] = None,
) -> None:
    """Show a dataset's counts and draw charts of them, and samples.

    The folder of the figures is the last line on stdout.
    """
    from visionjobs.data.cache import fetch
    from visionjobs.data.catalog import find_dataset
    from visionjobs.report.dataset import draw_dataset

    settings = Settings.from_env()
    ref = find_dataset(open_store(settings.storage, settings.endpoint), name, version)
    with byte_progress() as progress:
        task = progress.add_task("Fetching", total=ref.manifest.bytes, visible="://" in ref.address)
        local = fetch(ref, settings.cache, lambda count: progress.advance(task, count))
    print_counts(ref.manifest)
    err.print(Text(f"from {ref.manifest.source}; {ref.manifest.rejected:,} files rejected"), soft_wrap=True)
    target = folder or settings.cache / "figures" / ref.manifest.name / ref.manifest.version
    try:
        draw_dataset(local, target)
    except OSError as error:
        raise UserError(f"{target}: the figures cannot be written: {error.strerror or error}") from error
    out.print(str(target))


def _writable_root() -> Store:
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    root.probe()
    return root


def checked_name(name: str) -> str:
    """`name`, if a dataset may be called so. Raises UserError."""
    if not re.fullmatch(DATASET_NAME, name):
        raise UserError(f"--name {name}: expected lower-case letters, digits, - and _, at most 63, such as my-animals")
    return name
