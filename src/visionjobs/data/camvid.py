"""The CamVid layout: images and labels in colours. Raw folder, archive or bucket -> packed dataset with masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.camvid_decode import PairDecoder
from visionjobs.data.camvid_pairs import Pair, RawPairs, find_pairs, read_text
from visionjobs.data.class_dict import CLASS_DICT, Palette, read_palette
from visionjobs.data.colours import OffPalette
from visionjobs.data.decode import quiet_pillow
from visionjobs.data.importing import ImportResult, Parameters, hash_files, version_of, without_duplicates
from visionjobs.data.manifest import FORMAT, MANIFEST, Manifest, dataset_store, read_manifest
from visionjobs.data.pack import Packed, ShardWriter, write_index, write_rejects
from visionjobs.data.parallel import OnProgress, default_threads, ordered_map
from visionjobs.data.source import Reject, Source, open_source
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.storage import Store

LAYOUT = "camvid"

SIZE = (360, 480)
"""Height and width to pack at: half of CamVid's own, as SegNet was trained (Badrinarayanan et al., TPAMI 2017)."""

SHARD_BYTES = 40_000_000
"""Of a shard of images, about: large enough for S3, small enough to fetch again."""

OFF_PALETTE = "off_palette.csv"
"""path, pixels, colours of every label with colours that are no class's; beside rejects.csv, where there is any."""


@dataclass(frozen=True, slots=True)
class _PackedPair:
    """pixels: of each class in the mask, int64 [K]."""

    image: Packed
    split: str
    pixels: npt.NDArray[np.int64]
    off_palette: OffPalette | None


def import_camvid(
    source: str, name: str, store_root: Store, *, size: tuple[int, int] = SIZE, on_progress: OnProgress | None = None,
    threads: int | None = None, rows: int | None = None, described: str | None = None,
) -> ImportResult:  # fmt: skip
    """Check every image and label of `source`, pack them at `size` (height, width) and store them under `name`.

    Two raw layouts, see camvid_pairs.py; the classes are those of class_dict.csv, CamVid's own where there is none.
    Images are resized bilinear, masks nearest. Pixels of colours that are no class's become Void, and are told in the
    result, in off_palette.csv and in the manifest. What cannot be used is left out and told in rejects.csv. The same
    files with the same parameters give the same version and the same shards to the byte, whatever the number of
    threads; if that version is already stored, nothing more is done. `rows`: images a shard, as many as make
    SHARD_BYTES if not given. `described` replaces the source's address in the manifest.
    Raises UserError for a split without a usable image; leaves no dataset behind then, nor on Ctrl-C.
    """
    threads = threads or default_threads()
    on_progress = on_progress or (lambda _stage, _done, _total: None)
    rows = rows or max(1, SHARD_BYTES // (size[0] * size[1] * 3))
    parameters: Parameters = {"size": list(size), "resize": "bilinear", "labels": "nearest", "rows": rows}
    with open_source(source) as raw, quiet_pillow():
        found = find_pairs(raw)
        palette = _palette(raw, found)
        hashed = hash_files(raw, found.files, found.rejects, threads, on_progress)
        version = version_of(LAYOUT, hashed, parameters)
        store = dataset_store(store_root, name, version)
        if store.exists(MANIFEST):
            return ImportResult(store, read_manifest(store), False, [], notes=palette.notes)
        pairs = _to_pack(found, dict(hashed))
        decoder = PairDecoder(raw, size, palette, dict(hashed))
        with (
            _deleted_on_error(store, OFF_PALETTE),
            ShardWriter(store, size, rows) as images,
            ShardWriter(store, size, rows, "masks") as masks,
        ):
            packed = _pack(pairs, decoder, images, masks, found.rejects, threads=threads, on_progress=on_progress)
            _check_splits(packed, found, raw)
            off = [entry.off_palette for entry in packed if entry.off_palette]
            shards, mask_shards = images.finish(), masks.finish()
            index_sha256 = _write_tables(store, packed, found.rejects, off)
            manifest = Manifest(
                format=FORMAT, layout=LAYOUT, name=name, version=version, size=list(size),
                **_counted(packed, found.splits, palette), rejected=len(found.rejects), shards=shards,
                masks=mask_shards, index_sha256=index_sha256, parameters={**parameters, "pillow": PIL.__version__},
                source=described or raw.display, created=datetime.now(UTC).isoformat(timespec="microseconds"),
            )  # fmt: skip
            store.write(MANIFEST, manifest.model_dump_json(indent=2))
    return ImportResult(store, manifest, True, found.rejects, off, palette.notes)


def _palette(raw: Source, found: RawPairs) -> Palette:
    if CLASS_DICT in found.tables:
        return read_palette(read_text(raw, CLASS_DICT), f"{raw.display}/{CLASS_DICT}")
    return Palette(dict(CAMVID))


def _to_pack(found: RawPairs, digests: Mapping[str, bytes]) -> list[Pair]:
    """Pairs that can be read, without those whose image is byte-identical to another one's."""
    readable = {pair.image: pair for pair in found.pairs if pair.image in digests and pair.label in digests}

    def remark(original: str, path: str) -> str:
        splits = readable[original].split, readable[path].split
        return "" if splits[0] == splits[1] else f", in ANOTHER split: a leak between {splits[0]} and {splits[1]}"

    kept = without_duplicates([(image, digests[image]) for image in readable], found.rejects, remark)
    return [readable[image] for image, _ in kept]


def _pack(
    pairs: list[Pair], decoder: PairDecoder, images: ShardWriter, masks: ShardWriter, rejects: list[Reject],
    *, threads: int, on_progress: OnProgress,
) -> list[_PackedPair]:  # fmt: skip
    """Decode in parallel, write in order."""
    packed = []
    with closing(ordered_map(decoder, pairs, threads)) as results:
        for done, (pair, result) in enumerate(zip(pairs, results, strict=True), 1):
            if isinstance(result, Reject):
                rejects.append(result)
            else:
                shard, row = images.add(result.image.pixels)
                masks.add(result.mask)
                image = Packed(pair.image, result.sha256, -1, shard, row, result.image.width, result.image.height)
                packed.append(_PackedPair(image, pair.split, result.pixels, result.off_palette))
            on_progress("Packing", done, len(pairs))
    return packed


def _check_splits(packed: list[_PackedPair], found: RawPairs, raw: Source) -> None:
    """Raises UserError for every split that has nothing left."""
    filled = {entry.split for entry in packed}
    problems = []
    for split in found.splits:
        if split not in filled:
            mine = [f"{r.path}: {r.reason}" for r in found.rejects if found.belongs.get(r.path) == split]
            why = "; ".join(mine[:3]) or "there are no files for it"
            problems.append(f"{raw.display}: the split {split} has no usable image with a label. {why}")
    if problems:
        raise UserError("\n".join(problems))


def _counted(packed: list[_PackedPair], splits: list[str], palette: Palette) -> dict[str, Any]:
    """The manifest's classes, colours, counts, pixels, sizes and off_palette."""
    classes = list(palette.colours)
    per_split = {split: np.array([entry.pixels for entry in packed if entry.split == split]) for split in splits}

    def named(numbers: npt.NDArray[np.integer]) -> dict[str, int]:
        return dict(zip(classes, numbers.tolist(), strict=True))

    return {
        "classes": classes,
        "colours": [list(colour) for colour in palette.colours.values()],
        "counts": {split: named((pixels > 0).sum(axis=0)) for split, pixels in per_split.items()},
        "pixels": {split: named(pixels.sum(axis=0)) for split, pixels in per_split.items()},
        "sizes": {split: len(pixels) for split, pixels in per_split.items()},
        "off_palette": sum(entry.off_palette.pixels for entry in packed if entry.off_palette),
    }


def _write_tables(store: Store, packed: list[_PackedPair], rejects: list[Reject], off: list[OffPalette]) -> str:
    """rejects.csv, the index and, where there is something to tell, off_palette.csv. Returns the index's sha256."""
    rejects.sort(key=lambda reject: reject.path)
    write_rejects(store, ((reject.path, reject.reason) for reject in rejects))
    if off:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("path", "pixels", "colours"))
        for label in off:
            writer.writerow((label.path, label.pixels, " ".join(f"{colour}:{n}" for colour, n in label.colours)))
        store.write(OFF_PALETTE, text.getvalue())
    return write_index(store, [entry.image for entry in packed], [entry.split for entry in packed])


@contextmanager
def _deleted_on_error(store: Store, key: str) -> Iterator[None]:
    """As the shards: left by an exception, the file goes, unless another import has completed the same dataset."""
    try:
        yield
    except BaseException:
        with suppress(VisionjobsError):  # what made the import fail is the one to tell
            if not store.exists(MANIFEST):
                store.delete([key])
        raise
