"""The section on augmentation: how many samples an epoch has, and what the augmented copies look like."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report.figures_sheet import Picture, SheetRow, sheet
from visionjobs.report.formatting import count, plain
from visionjobs.report.page import Block, Figure, Gallery, Section, Text
from visionjobs.report.summary import RunSummary, as_number

COPIES = 5
"""Copies of an image that are shown at most."""

SHEET = 5
"""Images a sheet: it still fits on a printed page."""


def augmentation(run: RunSummary) -> Section | None:
    """Samples in an epoch, and originals beside their copies; None for a run that trained without augmentation."""
    copies = as_number(run.setting("data.copies"))
    drawn = tuple(_sheets(run))
    if not copies and not drawn:
        return None
    blocks: list[Block] = [Text(text) for text in (_epoch(run, int(copies or 0)),) if text]
    blocks += [Gallery(drawn)] if drawn else []
    return Section("augmentation", "Augmentation", tuple(blocks))


def _epoch(run: RunSummary, copies: int) -> str:
    """N images -> N (1 + copies) samples in an epoch, checked against what the record tells."""
    counts = (run.dataset.get("counts") or {}).get("train")
    facts = (run.attempts[-1].get("facts") if run.attempts else None) or {}
    recorded = as_number(facts.get("samples_per_epoch"))
    images = sum(counts.values()) if counts else None if recorded is None else int(recorded) // (1 + copies)
    if images is None or not copies:
        return ""
    samples = images * (1 + copies)
    text = (
        f"{count(images)} training images, {copies} augmented {'copy' if copies == 1 else 'copies'} each besides the "
        f"original (augmentation \N{LEFT DOUBLE QUOTATION MARK}{plain(run.setting('data.augment'))}"
        f"\N{RIGHT DOUBLE QUOTATION MARK}, drawn anew in every epoch): {count(images)} \N{RIGHTWARDS ARROW} "
        f"{count(samples)} samples in an epoch."
    )
    if recorded is not None and recorded != samples:
        text += f" The record tells otherwise: {count(recorded)} samples in an epoch."
    return text


def _sheets(run: RunSummary) -> Iterator[Figure]:
    samples = run.samples
    if samples is None or not len(samples.augmented):
        return
    names = list(run.dataset.get("classes") or (run.predictions.classes if run.predictions else ()))
    shown = min(COPIES, samples.augmented.shape[1])
    rows = []
    for original, label, augmented in zip(samples.originals, samples.original_labels, samples.augmented, strict=True):
        copies = (Picture(image, (f"copy {number}",)) for number, image in enumerate(augmented[:shown], start=1))
        heading = names[label] if 0 <= label < len(names) else ""
        rows.append(SheetRow((Picture(original, ("original",)), *copies), heading))
    for part, start in enumerate(range(0, len(rows), SHEET), start=1):
        caption = f"Training images (left) and {shown} augmented {'copy' if shown == 1 else 'copies'} of each"
        yield Figure(f"augmented_{part}", sheet(rows[start : start + SHEET], 1 + shown), caption)
