"""Which images and boxes a raw detection dataset has, in COCO's own layout or in YOLO's (yolo_find.py)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from visionjobs.boxes import Truth
from visionjobs.coco_json import read_annotations
from visionjobs.data.importing import Hashed, one_level_down
from visionjobs.data.source import Listing, Reject, Source, is_hidden
from visionjobs.errors import UserError

SPLITS = ("train", "val", "test")

ANNOTATIONS = "annotations"

_INSTANCES = re.compile(rf"{ANNOTATIONS}/instances_({'|'.join(SPLITS)})([^/]*)\.json")

EXPECTED = (
    "expected COCO's layout (annotations/instances_val2017.json and val2017/, and so for train) or YOLO's (data.yaml, "
    "images/<split>/ and labels/<split>/)"
)


@dataclass(frozen=True)
class RawSplit:
    """name: of SPLITS; source: the annotations' path, for messages; truth: as the source has it; files: the path of
    each image of truth, relative to the source, "" where there is none; in_shares: whether boxes are in shares of the
    image's sides, which are not known yet, instead of pixels."""

    name: str
    source: str
    truth: Truth
    files: tuple[str, ...]
    in_shares: bool = False


@dataclass
class RawBoxes:
    """splits: in the order of SPLITS; tables: the other files that decide what is packed; rejects: what is left out;
    notes: sentences for the user."""

    splits: list[RawSplit] = field(default_factory=list)
    tables: list[Hashed] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> list[str]:
        """Paths of all images that there are, sorted, each once."""
        return sorted({path for split in self.splits for path in split.files if path})


def find_coco(raw: Source, listing: Listing) -> RawBoxes:
    """The splits that have both an annotation file and an images folder. Raises UserError where there is none."""
    found = RawBoxes(rejects=list(listing.rejects))
    annotated = _annotation_files(raw, listing.files)
    folders = folders_of(listing.files)
    if not any(path.startswith("images/") and path.count("/") == 1 for path in listing.files):
        folders.discard("images")  # it holds folders of splits, not images
    searched: dict[str, list[str]] = {}
    for split, (path, suffix) in annotated.items():
        names = (f"{split}{suffix}", f"images/{split}{suffix}", split, f"images/{split}", "images")
        folder = next((name for name in names if name in folders), None)
        if folder is None:
            found.notes.append(f"{path} is not used: there is no folder {names[0]}/ or {names[1]}/ with its images")
            continue
        searched.setdefault(folder, []).append(path)
        found.splits.append(_read_split(raw, split, path, folder, listing.files, found))
    if not found.splits:
        hint = "" if any(path.startswith("images/") for path in listing.files) else one_level_down(listing.files)
        raise UserError(f"{raw.display}: {'; '.join(found.notes) or EXPECTED}.{hint}")
    used = set(found.images)
    for path in listing.files:
        first, _, rest = path.partition("/")
        if path in used or (rest and (is_hidden(first) or first == ANNOTATIONS)):
            continue
        inside = next((tables for folder, tables in searched.items() if path.startswith(f"{folder}/")), None)
        reason = f"not named in {' or '.join(inside)}" if inside else "not in the images folder of a split"
        found.rejects.append(Reject(path, reason))
    return found


def folders_of(files: Iterable[str]) -> set[str]:
    """Every folder with a file below it."""
    folders = set()
    for path in files:
        parent = path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    return folders


def _annotation_files(raw: Source, files: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Split -> (path of its annotations, what follows the split's name in it), in the order of SPLITS."""
    matches = [match for match in map(_INSTANCES.fullmatch, files) if match]
    several = Counter(match[1] for match in matches)
    for split, number in several.items():
        if number > 1:
            paths = " and ".join(match[0] for match in matches if match[1] == split)
            raise UserError(f"{raw.display}: {paths} are both annotations of the split {split}; leave one of them")
    by_split = {match[1]: (match[0], match[2]) for match in matches}
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _read_split(raw: Source, split: str, path: str, folder: str, files: Iterable[str], into: RawBoxes) -> RawSplit:
    source = f"{raw.display}/{path}"
    try:
        with raw.open(path) as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror or error}") from error
    into.tables.append((path, hashlib.sha256(data).digest()))
    truth = read_annotations(data, source)
    there, taken = set(files), dict[str, int]()
    places = []
    for number, name in zip(truth.image_ids.tolist(), truth.paths, strict=True):
        place = _place(name, folder, there)
        if (first := taken.setdefault(place, number)) != number:
            raise UserError(f"{source}: the images {first} and {number} have the same file_name {name}")
        places.append(place)
    boxes = np.bincount(truth.images, minlength=len(places)).tolist()
    for number, place, of_image in zip(truth.image_ids.tolist(), places, boxes, strict=True):
        if place not in there:
            reason = f"named in {path} (image {number}, boxes: {of_image:,}), but there is no such file"
            into.rejects.append(Reject(place, reason))
    return RawSplit(split, path, truth, tuple(place if place in there else "" for place in places))


def _place(name: str, folder: str, there: set[str]) -> str:
    """Path of an image: its name may have folders before it, of which the last ones may be those of `folder`."""
    name = name.replace("\\", "/")
    choices = (f"{folder}/{name}", name, f"{folder}/{name.rpartition('/')[2]}")
    return next((place for place in choices if place in there), choices[0])
