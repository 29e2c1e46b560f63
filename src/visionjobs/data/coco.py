"""Detection datasets: images and boxes, in COCO's layout or YOLO's. Raw folder, archive or bucket -> packed dataset."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import PIL
from PIL import ExifTags, Image

from visionjobs.boxes import Truth
from visionjobs.coco_json import write_annotations
from visionjobs.data.coco_check import CheckedBoxes, check_boxes, counted
from visionjobs.data.coco_find import RawBoxes, RawSplit, find_coco
from visionjobs.data.decode import UnusableImageError, decode_stored, quiet_pillow
from visionjobs.data.importing import ImportResult, Parameters, hash_files, open_hashed, unreadable, version_of
from visionjobs.data.manifest import FORMAT, MANIFEST, AnnotationFile, Manifest, dataset_store, read_manifest
from visionjobs.data.pack import FILE_COLUMNS, FileShardWriter, Packed, write_index, write_rejects
from visionjobs.data.parallel import OnProgress, default_threads, ordered_map
from visionjobs.data.source import Reject, Source, open_source
from visionjobs.data.yolo_find import TABLES, find_yolo
from visionjobs.errors import UserError
from visionjobs.storage import Store

LAYOUT = "coco"

SHARD_BYTES = 64_000_000
"""From which size on a shard is closed: large enough for S3, small enough to fetch again."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One image of one split. split: its place in RawBoxes.splits; image: index into that one's truth."""

    path: str
    split: int
    image: int


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _PackedFile:
    task: _Task
    image: Packed
    offset: int
    size: int


def import_coco(
    source: str, name: str, store_root: Store, *, on_progress: OnProgress | None = None, threads: int | None = None,
    shard_bytes: int = SHARD_BYTES, described: str | None = None, archives: Mapping[str, str] | None = None,
) -> ImportResult:  # fmt: skip
    """Check every image and box of `source`, pack the image files as they are and store them under `name`.

    Two raw layouts, see coco_find.py and yolo_find.py. Boxes are cut at the edges of their image, those without an area
    left out, both counted in the manifest. Images without boxes are kept. An image that is missing, cannot be decoded
    or is of another size than its annotations say is left out with its boxes, and told in rejects.csv. The same files
    give the same version and the same shards to the byte, whatever the number of threads; if that version is already
    stored, nothing more is done. `described` replaces the source's address in the manifest; archives: name -> sha256 of
    those that the source was unpacked from, noted there.
    Raises UserError for annotations that are not valid and for a split without a usable image; leaves no dataset behind
    then, nor on Ctrl-C.
    """
    threads = threads or default_threads()
    on_progress = on_progress or (lambda _stage, _done, _total: None)
    parameters: Parameters = {"images": "as they are", "boxes": "cut at the edges", "shard_bytes": shard_bytes}
    with open_source(source) as raw, quiet_pillow():
        found = _find(raw, threads, on_progress)
        hashed = hash_files(raw, found.images, found.rejects, threads, on_progress)
        digests = dict(hashed)
        version = version_of(LAYOUT, sorted({*found.tables, *hashed}), parameters)
        store = dataset_store(store_root, name, version)
        notes = (*found.notes, *_leaks(found, digests))
        if store.exists(MANIFEST):
            return ImportResult(store, read_manifest(store), False, [], notes=notes)
        keys = {split.name: f"annotations-{split.name}.json" for split in found.splits}
        with FileShardWriter(store, shard_bytes, keys.values()) as writer:
            packed = _pack(raw, found, digests, writer, threads=threads, on_progress=on_progress)
            checked = _checked(raw, found, packed)
            shards = writer.finish()
            annotations = [_write_boxes(store, split, keys[split], boxes.truth) for split, boxes in checked.items()]
            index_sha256 = _write_tables(store, found, packed)
            manifest = Manifest(
                format=FORMAT, layout=LAYOUT, name=name, version=version, size=[], **_counted(checked),
                rejected=len(found.rejects), shards=shards, annotations=annotations, index_sha256=index_sha256,
                parameters={**parameters, "pillow": PIL.__version__, **(archives or {})},
                source=described or raw.display, created=datetime.now(UTC).isoformat(timespec="microseconds"),
            )  # fmt: skip
            store.write(MANIFEST, manifest.model_dump_json(indent=2))
    return ImportResult(store, manifest, True, found.rejects, notes=notes)


def _find(raw: Source, threads: int, on_progress: OnProgress) -> RawBoxes:
    listing = raw.listing()
    is_yolo = any(table in listing.files for table in TABLES) or (
        "labels" in listing.folders and "annotations" not in listing.folders
    )
    found = find_yolo(raw, listing, threads, on_progress) if is_yolo else find_coco(raw, listing)
    if not {split.name for split in found.splits} & {"val", "test"}:
        raise UserError(
            f"{raw.display}: there is only a train split; a val or test split is needed to measure on. "
            f"{' '.join(found.notes)}".rstrip()
        )
    first = found.splits[0]
    if len(set(first.truth.classes)) < len(first.truth.classes):
        raise UserError(f"{raw.display}/{first.source}: two categories have the same name; give each its own")
    for split in found.splits:
        mine, other = ({*zip(t.category_ids.tolist(), t.classes, strict=True)} for t in (split.truth, first.truth))
        if mine != other:
            raise UserError(
                f"{raw.display}: {first.source} and {split.source} have different categories, such as "
                f"{min(mine ^ other)}; all splits need the same ones"
            )
    return found


def _leaks(found: RawBoxes, digests: Mapping[str, bytes]) -> list[str]:
    """Sentences about images that are in two splits, byte for byte."""
    notes = []
    seen: dict[bytes, tuple[str, str]] = {}
    for split in found.splits:
        here = {path: digests[path] for path in split.files if path in digests}
        again = {path: seen[digest] for path, digest in here.items() if digest in seen}
        if again:
            path, (other, original) = next(iter(again.items()))
            notes.append(
                f"a leak: {len(again):,} images of {split.name} are in {other} too, byte for byte, such as {path} "
                f"({original})"
            )
        for path, digest in here.items():
            seen.setdefault(digest, (split.name, path))
    return notes


def _pack(
    raw: Source, found: RawBoxes, digests: Mapping[str, bytes], writer: FileShardWriter,
    *, threads: int, on_progress: OnProgress,
) -> list[_PackedFile]:  # fmt: skip
    """Decode in parallel, write in order."""
    tasks = sorted(
        (_Task(path, number, image) for number, split in enumerate(found.splits)
         for image, path in enumerate(split.files) if path in digests),
        key=lambda task: (task.path, task.split),
    )  # fmt: skip
    packed = []
    with closing(ordered_map(partial(_read, raw, found.splits, digests), tasks, threads)) as results:
        for done, (task, result) in enumerate(zip(tasks, results, strict=True), 1):
            if isinstance(result, Reject):
                found.rejects.append(result)
            else:
                shard, row, offset = writer.add(result.data)
                image = Packed(task.path, digests[task.path], -1, shard, row, result.width, result.height)
                packed.append(_PackedFile(task, image, offset, len(result.data)))
            on_progress("Packing", done, len(tasks))
    return packed


def _read(raw: Source, splits: Sequence[RawSplit], digests: Mapping[str, bytes], task: _Task) -> _File | Reject:
    """An image's file, if all of it can be decoded and it is of the size that its annotations say."""
    split = splits[task.split]
    try:
        with open_hashed(raw, (task.path, digests[task.path])) as file:
            data = file.read()
        height, width, _ = decode_stored(io.BytesIO(data)).shape
    except UnusableImageError as error:
        return Reject(task.path, str(error))
    except OSError as error:
        return unreadable(task.path, error)
    said = tuple(split.truth.image_sizes[task.image].tolist())
    turn = _turn(data)
    if turn != 1 and (split.in_shares or said == (width, height) != (height, width)):
        reason = f"turned: it is to be shown turned or mirrored (EXIF orientation {turn}); save it as it is to be seen"
        return Reject(task.path, reason)
    if all(said) and said != (height, width):
        reason = f"of another size than {split.source} says: {width}x{height} pixels, not {said[1]}x{said[0]}"
        return Reject(task.path, reason)
    return _File(data, width, height)


def _turn(data: bytes) -> int:
    """EXIF's orientation, 1 for upright."""
    with Image.open(io.BytesIO(data)) as image:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _checked(raw: Source, found: RawBoxes, packed: Sequence[_PackedFile]) -> dict[str, CheckedBoxes]:
    """Split -> its boxes, of the images that were packed. Raises UserError for every split that has no image left."""
    sizes = [np.zeros((len(split.files), 2), np.int64) for split in found.splits]
    for entry in packed:
        sizes[entry.task.split][entry.task.image] = entry.image.height, entry.image.width
    checked, problems = {}, []
    for split, mine in zip(found.splits, sizes, strict=True):
        kept = mine[:, 0] > 0
        if kept.any():
            checked[split.name] = check_boxes(split.truth, mine, kept, split.in_shares)
        else:
            reasons = [
                f"{r.path}: {r.reason}" for r in found.rejects if r.path in split.files or split.source in r.reason
            ]
            why = "; ".join(reasons[:3]) or "there are no files for it"
            problems.append(f"{raw.display}: the split {split.name} has no usable image. {why}")
    if problems:
        raise UserError("\n".join(problems))
    return checked


def _counted(checked: Mapping[str, CheckedBoxes]) -> dict[str, Any]:
    """The manifest's classes, category_ids, counts, boxes, sizes, crowd, clipped and empty."""
    truths = {split: boxes.truth for split, boxes in checked.items()}
    first = next(iter(truths.values()))
    numbers = {split: counted(truth) for split, truth in truths.items()}
    return {
        "classes": list(first.classes),
        "category_ids": first.category_ids.tolist(),
        "counts": {split: images for split, (images, _) in numbers.items()},
        "boxes": {split: boxes for split, (_, boxes) in numbers.items()},
        "sizes": {split: len(truth.image_ids) for split, truth in truths.items()},
        "crowd": {split: int(truth.crowd.sum()) for split, truth in truths.items()},
        "clipped": sum(boxes.clipped for boxes in checked.values()),
        "empty": sum(boxes.empty for boxes in checked.values()),
    }


def _write_boxes(store: Store, split: str, key: str, truth: Truth) -> AnnotationFile:
    data = write_annotations(truth)
    store.write(key, data)
    return AnnotationFile(split=split, file=key, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def _write_tables(store: Store, found: RawBoxes, packed: Sequence[_PackedFile]) -> str:
    """rejects.csv and the index. Returns the index's sha256."""
    boxes = Counter[str]()
    for split in found.splits:
        of_image = np.bincount(split.truth.images, minlength=len(split.files)).tolist()
        boxes.update(dict(zip(split.files, of_image, strict=True)))
    found.rejects[:] = sorted(
        (Reject(r.path, f"{r.reason}; its boxes ({boxes[r.path]:,}) go with it" if boxes.get(r.path) else r.reason)
         for r in found.rejects),
        key=lambda reject: reject.path,
    )  # fmt: skip
    write_rejects(store, ((reject.path, reject.reason) for reject in found.rejects))
    splits = [found.splits[entry.task.split] for entry in packed]
    ids = [int(split.truth.image_ids[entry.task.image]) for split, entry in zip(splits, packed, strict=True)]
    columns = zip(
        FILE_COLUMNS, (ids, [entry.offset for entry in packed], [entry.size for entry in packed]), strict=True
    )
    return write_index(store, [entry.image for entry in packed], [split.name for split in splits], dict(columns))
