"""`visionjobs data`: import, sample, list and show datasets."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from visionjobs.cli.console import byte_progress, err, out, print_wide, stage_progress
from visionjobs.errors import UserError
from visionjobs.settings import Settings
from visionjobs.spec import DATASET_NAME
from visionjobs.storage import Store, open_store

if TYPE_CHECKING:
    from visionjobs.data.importing import ImportResult
    from visionjobs.data.manifest import Manifest

SHOWN_REJECTS = 20
SHOWN_OFF_PALETTE = 5

app = typer.Typer(help="Import datasets, draw a sample one, list and show them.", no_args_is_help=True)


@app.command("import")
def import_data(
    layout: Annotated[
        str,
        typer.Argument(
            help="how the raw files are laid out: wildlife (one subfolder a class) or camvid (images and labels in "
            "colours: train/ train_labels/ val/ ..., or images/ labels/ with train.txt val.txt ...)"
        ),
    ],
    source: Annotated[str, typer.Argument(help="a folder, an archive (.zip .tar .tar.gz) or an s3:// address")],
    name: Annotated[str | None, typer.Option(help="what to call the dataset; the layout's name if not given")] = None,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="height and width to pack the images at; 224 224, of camvid 360 480, if not given", min=16),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="of wildlife's split into training and validation; 0 if not given", min=0, max=2**32 - 1),
    ] = None,
) -> None:
    """Check every file, pack the images and store them. The dataset's address is the last line on stdout.

    Files that cannot be used are left out, and listed with the reason in rejects.csv beside the dataset. The same
    import made twice does nothing the second time.
    """
    from visionjobs.data.layouts import LAYOUTS
    from visionjobs.data.sample import check_layout

    chosen = LAYOUTS[check_layout(layout)]
    name = _checked_name(name or layout)
    size = size or chosen.size
    if max(size) > 4096 or min(size) < 16:
        raise UserError(f"--size {size[0]} {size[1]}: expected 16 to 4096 pixels")
    if seed is not None and chosen.has_splits:
        raise UserError(f"--seed {seed}: the raw files of {layout} say which split an image is in; leave it out")
    drawn = {} if chosen.has_splits else {"seed": seed or 0}
    root = _writable_root()
    with stage_progress() as on_progress:
        result = chosen.import_raw(source, name, root, size=size, **drawn, on_progress=on_progress)
    _report(result)


@app.command("sample")
def sample(
    layout: Annotated[str, typer.Argument(help="whose sample: wildlife or camvid")],
    folder: Annotated[Path | None, typer.Option(help="keep the raw files here (a new folder)")] = None,
    seed: Annotated[int, typer.Option(help="of the drawing", min=0)] = 0,
) -> None:
    """Draw a small synthetic dataset and import it as LAYOUT-sample. Its address is the last line on stdout."""
    from visionjobs.data.sample import check_layout, make_sample

    check_layout(layout)
    root = _writable_root()
    with stage_progress() as on_progress:
        result = make_sample(layout, root, folder=folder, seed=seed, on_progress=on_progress)
    _report(result)


@app.command("list")
def list_data() -> None:
    """List the datasets in storage, the newest version of each last."""
    from visionjobs.data.catalog import list_datasets

    settings = Settings.from_env()
    found = list_datasets(open_store(settings.storage, settings.endpoint))
    if not found:
        err.print(
            f"There are no datasets in {settings.storage}. To try everything: visionjobs data sample wildlife|camvid",
            soft_wrap=True,
        )
        return
    titles = ("name", "version", "layout", "images", "classes", "size", "MB", "rejected", "created (UTC)")
    table = Table(*titles, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for ref in found:
        m = ref.manifest
        table.add_row(
            m.name, m.version, m.layout, f"{m.images:,}", str(len(m.classes)), f"{m.size[0]}x{m.size[1]}",
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
    _print_counts(ref.manifest)
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


def _checked_name(name: str) -> str:
    if not re.fullmatch(DATASET_NAME, name):
        raise UserError(f"--name {name}: expected lower-case letters, digits, - and _, at most 63, such as my-animals")
    return name


def _report(result: ImportResult) -> None:
    from visionjobs.data.camvid import OFF_PALETTE

    m = result.manifest
    if not result.new:
        err.print(f"Nothing to do: the same import was made on {m.created[:10]}.", soft_wrap=True)
    for note in result.notes:
        err.print(Text(note, style="yellow"), soft_wrap=True)
    splits = ", ".join(f"{images:,} {split}" for split, images in m.split_sizes.items())
    err.print(
        f"{m.name} {m.version}: {m.images:,} images of {len(m.classes)} classes ({splits}), {m.bytes / 1e6:,.0f} MB",
        soft_wrap=True,
    )
    if m.rejected:
        where = f"{result.store.address}/rejects.csv"
        err.print(Text(f"{m.rejected:,} files were left out: {where}", style="yellow"), soft_wrap=True)
    if result.rejects:
        _print_rejects(result)
    if m.off_palette:
        where = f"{result.store.address}/{OFF_PALETTE}"
        text = f"{m.off_palette:,} pixels of colours that are no class's became Void: {where}"
        err.print(Text(text, style="yellow"), soft_wrap=True)
    if result.off_palette:
        _print_off_palette(result)
    out.print(result.store.address)


def _print_rejects(result: ImportResult) -> None:
    kinds = Counter(reject.reason.split(":")[0].split(" (")[0] for reject in result.rejects)
    table = Table("file", "reason")
    for reject in result.rejects[:SHOWN_REJECTS]:
        table.add_row(Text(reject.path), Text(reject.reason))
    if len(result.rejects) > SHOWN_REJECTS:
        table.add_row("...", "; ".join(f"{number:,} {kind}" for kind, number in kinds.most_common(5)))
    err.print(table)


def _print_off_palette(result: ImportResult) -> None:
    """The labels with most of such pixels."""
    worst = sorted(result.off_palette, key=lambda label: (-label.pixels, label.path))
    table = Table("label", "pixels", "most frequent colours")
    for label in worst[:SHOWN_OFF_PALETTE]:
        colours = ", ".join(f"{colour} ({pixels:,})" for colour, pixels in label.colours)
        table.add_row(Text(label.path), f"{label.pixels:,}", colours)
    if len(worst) > SHOWN_OFF_PALETTE:
        table.add_row("...", f"{sum(label.pixels for label in worst):,}", f"in {len(worst):,} labels")
    err.print(table)


def _print_counts(m: Manifest) -> None:
    """Images by class and split; of a segmentation dataset those with the class, beside its share of the pixels."""
    if m.task == "classification":
        err.print(_images_by_class(m))
        return
    print_wide(_images_and_pixels_by_class(m), 100)  # two columns a split, long class names
    absent = [name for name in m.classes if not any(counts[name] for counts in m.counts.values())]
    if absent:
        err.print(Text(f"absent, in no image: {', '.join(absent)}"), soft_wrap=True)


def _images_by_class(m: Manifest) -> Table:
    table = Table("class", *m.counts, "all", title=f"{m.name} {m.version}")
    for name in m.classes:
        row = [counts[name] for counts in m.counts.values()]
        table.add_row(Text(name), *(f"{number:,}" for number in (*row, sum(row))))
    totals = list(m.split_sizes.values())
    table.add_section()
    table.add_row("all", *(f"{number:,}" for number in (*totals, sum(totals))))
    return table


def _images_and_pixels_by_class(m: Manifest) -> Table:
    splits = list(m.counts)
    table = Table("class", title=f"{m.name} {m.version}: images with the class, its share of the pixels")
    for title in (*splits, "all"):
        table.add_column(title, justify="right")
        table.add_column("%", justify="right")
    area = {split: sum(m.pixels[split].values()) for split in splits}
    for name in m.classes:
        images, pixels = ([part[split][name] for split in splits] for part in (m.counts, m.pixels))
        if not any(images):
            continue
        totals = (*area.values(), sum(area.values()))
        cells = zip((*images, sum(images)), (*pixels, sum(pixels)), totals, strict=True)
        table.add_row(Text(name), *(text for cell in cells for text in _images_and_share(*cell)))
    table.add_section()
    sizes = [m.split_sizes[split] for split in splits]
    table.add_row("all", *(text for number in (*sizes, sum(sizes)) for text in (f"{number:,}", "100")))
    return table


def _images_and_share(images: int, pixels: int, of: int) -> tuple[str, str]:
    if not images:
        return "absent", ""
    share = 100 * pixels / of
    return f"{images:,}", f"{share:.2f}" if share >= 0.005 else "<0.01"
