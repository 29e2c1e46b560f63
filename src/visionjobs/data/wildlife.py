"""The wildlife layout: one subfolder a class, photos in it. Raw folder, archive or bucket -> packed dataset."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import PIL

from visionjobs.data.decode import Decoded, UnusableImageError, decode, quiet_pillow
from visionjobs.data.importing import (
    Hashed,
    ImportResult,
    Parameters,
    hash_files,
    one_level_down,
    open_hashed,
    unreadable,
    version_of,
    without_duplicates,
)
from visionjobs.data.manifest import FORMAT, MANIFEST, Manifest, dataset_store, read_manifest
from visionjobs.data.pack import ROWS, Packed, ShardWriter, count, write_index, write_rejects
from visionjobs.data.parallel import OnProgress, default_threads, ordered_map
from visionjobs.data.source import Listing, Reject, Source, is_hidden, open_source
from visionjobs.errors import UserError
from visionjobs.storage import Store

LAYOUT = "wildlife"


def import_wildlife(
    source: str, name: str, store_root: Store, *, size: tuple[int, int] = (224, 224), seed: int = 0,
    val_fraction: float = 0.2, on_progress: OnProgress | None = None, threads: int | None = None, rows: int = ROWS,
    described: str | None = None,
) -> ImportResult:  # fmt: skip
    """Check every file of `source`, pack the images at `size` (height, width) and store them under `name`.

    The same files with the same parameters give the same version and the same shards to the byte, whatever the
    number of threads; if that version is already stored, nothing more is done. Files that cannot be used are left
    out and told in the result and in rejects.csv. Raises UserError where a class cannot be split into training and
    validation, and leaves no dataset behind then, nor on Ctrl-C. Every file is read twice, so that neither memory nor
    the local disk grows with the dataset. `described` replaces the source's address in the manifest.
    """
    threads = threads or default_threads()
    on_progress = on_progress or (lambda _stage, _done, _total: None)
    parameters: Parameters = {
        "size": list(size), "seed": seed, "val_fraction": val_fraction, "resize": "bilinear", "rows": rows,
    }  # fmt: skip
    with open_source(source) as raw, quiet_pillow():
        classes, files, rejects = _sort_out(raw.listing(), raw)
        hashed = hash_files(raw, files, rejects, threads, on_progress)
        version = version_of(LAYOUT, hashed, parameters)
        store = dataset_store(store_root, name, version)
        if store.exists(MANIFEST):
            return ImportResult(store, read_manifest(store), False, [])
        hashed = without_duplicates(hashed, rejects, _remark)
        with ShardWriter(store, size, rows) as writer:
            images = _pack(raw, hashed, classes, writer, rejects, threads=threads, on_progress=on_progress)
            _check_classes(images, classes, rejects, raw)
            splits = _split([image.label for image in images], val_fraction, seed, classes)
            shards = writer.finish()
            rejects.sort(key=lambda reject: reject.path)
            write_rejects(store, ((reject.path, reject.reason) for reject in rejects))
            manifest = Manifest(
                format=FORMAT, layout=LAYOUT, name=name, version=version, classes=classes, size=list(size),
                counts=count(images, splits, classes), rejected=len(rejects), shards=shards,
                index_sha256=write_index(store, images, splits), parameters={**parameters, "pillow": PIL.__version__},
                source=described or raw.display, created=datetime.now(UTC).isoformat(timespec="microseconds"),
            )  # fmt: skip
            store.write(MANIFEST, manifest.model_dump_json(indent=2))
    return ImportResult(store, manifest, True, rejects)


def _sort_out(listing: Listing, raw: Source) -> tuple[list[str], list[str], list[Reject]]:
    """(classes, files directly in a class folder, rejects). Raises UserError below 2 classes, or for an empty one."""
    rejects = list(listing.rejects)
    files = []
    for path in listing.files:
        parts = path.split("/")
        if is_hidden(parts[0]) and len(parts) > 1:
            rejects.append(Reject(path, f"in {parts[0]}, a hidden folder"))
        elif len(parts) == 1:
            rejects.append(Reject(path, "directly in the source, outside of every class folder"))
        elif len(parts) > 2:
            rejects.append(Reject(path, f"in a folder inside the class folder {parts[0]}; expected {parts[0]}/FILE"))
        else:
            files.append(path)
    classes = [folder for folder in listing.folders if not is_hidden(folder)]
    if len(classes) < 2:
        found = f"only {classes[0]}" if classes else "none"
        raise UserError(
            f"{raw.display}: expected at least 2 class folders, found {found}.{one_level_down(listing.files)}"
        )
    filled = {path.split("/")[0] for path in files}
    for folder in classes:
        if folder not in filled:
            inner = one_level_down([path for path in listing.files if path.startswith(f"{folder}/")])
            raise UserError(f"{raw.display}/{folder}: this class folder has no files; add images or delete it.{inner}")
    return classes, files, rejects


def _remark(original: str, path: str) -> str:
    """Of one image under two labels at least one is wrong, so say it."""
    return "" if original.partition("/")[0] == path.partition("/")[0] else ", in ANOTHER class"


def _pack(
    raw: Source, hashed: list[Hashed], classes: list[str], writer: ShardWriter, rejects: list[Reject],
    *, threads: int, on_progress: OnProgress,
) -> list[Packed]:  # fmt: skip
    """Decode in parallel, write in order."""
    labels = {folder: label for label, folder in enumerate(classes)}
    images = []
    with closing(ordered_map(partial(_decode_one, raw, writer.size), hashed, threads)) as results:
        for done, ((path, digest), result) in enumerate(zip(hashed, results, strict=True), 1):
            if isinstance(result, Reject):
                rejects.append(result)
            else:
                shard, row = writer.add(result.pixels)
                label = labels[path.split("/")[0]]
                images.append(Packed(path, digest, label, shard, row, result.width, result.height))
            on_progress("Packing", done, len(hashed))
    return images


def _decode_one(raw: Source, size: tuple[int, int], hashed: Hashed) -> Decoded | Reject:
    try:
        with open_hashed(raw, hashed) as file:
            return decode(file, size)
    except UnusableImageError as error:
        return Reject(hashed[0], str(error))
    except OSError as error:
        return unreadable(hashed[0], error)


def _check_classes(images: list[Packed], classes: list[str], rejects: list[Reject], raw: Source) -> None:
    """Raises UserError for every class that cannot be split."""
    found = Counter(image.label for image in images)
    problems = []
    for label, folder in enumerate(classes):
        if found[label] < 2:
            why = "; ".join([f"{r.path}: {r.reason}" for r in rejects if r.path.startswith(f"{folder}/")][:3])
            problems.append(
                f"{raw.display}/{folder}: this class folder has {found[label] or 'no'} usable image"
                f"{'' if found[label] == 1 else 's'}, and a split into training and validation needs at least 2. "
                f"{why}".rstrip()
            )
    if problems:
        raise UserError("\n".join(problems))


def _split(labels: list[int], val_fraction: float, seed: int, classes: list[str]) -> list[str]:
    """Stratified: "train" or "val" for each image, every class in (nearly) the same proportion."""
    from sklearn.model_selection import train_test_split

    try:
        _, val = train_test_split(range(len(labels)), test_size=val_fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        raise UserError(
            f"{len(labels)} images of {len(classes)} classes cannot be split {1 - val_fraction:.0%} to "
            f"{val_fraction:.0%} with every class on both sides: {error}. Add images."
        ) from error
    held_out = set(val)
    return ["val" if index in held_out else "train" for index in range(len(labels))]
