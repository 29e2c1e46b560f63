"""What `visionjobs data` tells of a dataset: what an import left out, images, boxes and pixels by class and split."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from visionjobs.cli.console import err, out, print_wide

if TYPE_CHECKING:
    from visionjobs.data.importing import ImportResult
    from visionjobs.data.manifest import Manifest

SHOWN_REJECTS = 20
SHOWN_OFF_PALETTE = 5


def report_import(result: ImportResult) -> None:
    """What an import did and left out, on stderr; the dataset's address on stdout."""
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
    if m.clipped or m.empty:
        text = f"{m.clipped:,} boxes reached out of their image and were cut, {m.empty:,} had no area and were left out"
        err.print(Text(text, style="yellow"), soft_wrap=True)
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


def print_counts(m: Manifest) -> None:
    """Images by class and split; of a segmentation dataset those with the class, beside its share of the pixels; of a
    detection dataset those with the class, beside the number of its boxes."""
    if m.task == "classification":
        err.print(_images_by_class(m))
        return
    table = _images_and_boxes_by_class(m) if m.task == "detection" else _images_and_pixels_by_class(m)
    print_wide(table, 100)  # two columns a split, long class names
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


def _images_and_boxes_by_class(m: Manifest) -> Table:
    """Crowd regions have a row of their own."""
    splits = list(m.counts)
    table = Table("class", title=f"{m.name} {m.version}: images with the class, its boxes")
    for title in (*splits, "all"):
        table.add_column(title, justify="right")
        table.add_column("boxes", justify="right")
    for name in m.classes:
        images, boxes = ([part[split][name] for split in splits] for part in (m.counts, m.boxes))
        if any(images):
            cells = zip((*images, sum(images)), (*boxes, sum(boxes)), strict=True)
            table.add_row(Text(name), *(text for cell in cells for text in _images_and_boxes(*cell)))
    table.add_section()
    sizes, boxes = [m.split_sizes[split] for split in splits], [sum(m.boxes[split].values()) for split in splits]
    totals = zip((*sizes, sum(sizes)), (*boxes, sum(boxes)), strict=True)
    table.add_row("all", *(f"{number:,}" for pair in totals for number in pair))
    if any(m.crowd.values()):
        crowd = [m.crowd[split] for split in splits]
        table.add_row("crowd regions", *(text for number in (*crowd, sum(crowd)) for text in ("", f"{number:,}")))
    return table


def _images_and_boxes(images: int, boxes: int) -> tuple[str, str]:
    return (f"{images:,}", f"{boxes:,}") if images else ("absent", "")


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
