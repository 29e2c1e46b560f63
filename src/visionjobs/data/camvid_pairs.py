"""Which image goes with which label, and into which split, in a raw CamVid folder of either layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from visionjobs.data.class_dict import CLASS_DICT
from visionjobs.data.importing import one_level_down
from visionjobs.data.source import Listing, Reject, Source, is_hidden
from visionjobs.errors import UserError

SPLITS = ("train", "val", "test")
"""train and val are needed, test is not."""

ENDING = "_L"
"""Of a label's name: a.png has the label a_L.png."""

EXPECTED = (
    "expected train/ train_labels/ val/ val_labels/ and, if wanted, test/ test_labels/, or images/ labels/ with "
    "train.txt, val.txt and, if wanted, test.txt"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths of an image and its label, relative to the source, and the split they are in."""

    image: str
    label: str
    split: str


@dataclass
class RawPairs:
    """pairs: sorted by the image's path; tables: the other files that decide what is packed; rejects: what is left
    out; splits: those that there are, in the order of SPLITS; belongs: path of an image or a label -> its split."""

    splits: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    belongs: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Everything that decides what is packed, sorted."""
        return sorted([*self.tables, *(path for pair in self.pairs for path in (pair.image, pair.label))])


def find_pairs(raw: Source) -> RawPairs:
    """Every image of `raw` with its label. Raises UserError where a folder or list that is needed is missing."""
    listing = raw.listing()
    folders = {folder for folder in listing.folders if not is_hidden(folder)}
    if any(split in folders for split in SPLITS):
        return _from_split_folders(raw, listing, folders)
    if {"images", "labels"} <= folders:
        return _from_lists(raw, listing)
    found = ", ".join(f"{folder}/" for folder in sorted(folders)[:10]) or "no folder"
    raise UserError(f"{raw.display}: {EXPECTED}; found {found}.{one_level_down(listing.files)}")


def read_text(raw: Source, path: str) -> str:
    """A small text file. Raises UserError where it cannot be read or is not UTF-8."""
    try:
        with raw.open(path) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{raw.display}/{path}: is not UTF-8 text; save it as such") from error
    except OSError as error:
        raise UserError(f"{raw.display}/{path}: cannot be read: {error.strerror or error}") from error


def _from_split_folders(raw: Source, listing: Listing, folders: set[str]) -> RawPairs:
    found = RawPairs()
    for split in SPLITS:
        missing = [folder for folder in (split, f"{split}_labels") if folder not in folders]
        if missing and (split != "test" or len(missing) == 1):
            raise UserError(f"{raw.display}: there is no folder {'/ and no '.join(missing)}/; {EXPECTED}")
        if not missing:
            found.splits.append(split)
    names = _sort_out(listing, [f"{split}{end}" for split in found.splits for end in ("", "_labels")], found)
    for split in found.splits:
        labels = names[f"{split}_labels"]
        found.belongs |= dict.fromkeys((*names[split], *labels), split)
        matched = _match(names[split], labels, f"{split}_labels", (ENDING,), found.rejects)
        found.pairs += [Pair(image, label, split) for image, label in matched.items()]
    found.pairs.sort(key=lambda pair: pair.image)
    return found


def _from_lists(raw: Source, listing: Listing) -> RawPairs:
    found = RawPairs()
    found.splits = [split for split in SPLITS if f"{split}.txt" in listing.files]
    for split in ("train", "val"):
        if split not in found.splits:
            raise UserError(f"{raw.display}: there is no {split}.txt beside images/ and labels/; {EXPECTED}")
    found.tables = [f"{split}.txt" for split in found.splits]
    names = _sort_out(listing, ["images", "labels"], found)
    matched = _match(names["images"], names["labels"], "labels", (ENDING, ""), found.rejects)
    listed = _read_lists(raw, names["images"], found)
    for image, label in matched.items():
        if image in listed:
            found.pairs.append(Pair(image, label, listed[image]))
            found.belongs[label] = listed[image]
        else:
            found.rejects.append(Reject(image, f"in none of the lists {', '.join(found.tables)}"))
    return found


def _sort_out(listing: Listing, folders: Sequence[str], into: RawPairs) -> dict[str, list[str]]:
    """Folder -> the files directly in it. A class_dict.csv joins the tables, the rest the rejects."""
    into.rejects += listing.rejects
    names: dict[str, list[str]] = defaultdict(list)
    for path in listing.files:
        first, *rest = path.split("/")
        if path == CLASS_DICT:
            into.tables.append(path)
        elif path in into.tables:
            continue
        elif not rest or first not in folders:
            into.rejects.append(Reject(path, "no part of the layout" if rest else "beside the folders of the layout"))
        elif len(rest) > 1:
            into.rejects.append(Reject(path, f"in a folder inside {first}; expected {first}/FILE"))
        elif is_hidden(rest[0]):
            into.rejects.append(Reject(path, "a hidden file"))
        else:
            names[first].append(path)
    return names


def _match(
    images: Sequence[str], labels: Sequence[str], folder: str, endings: Sequence[str], rejects: list[Reject]
) -> dict[str, str]:
    """Image -> its label in `folder`, which has the image's name and one of `endings`, whatever the extension."""
    by_stem: dict[str, str] = {}
    for path in sorted(labels, key=lambda path: (not path.lower().endswith(".png"), path)):
        first = by_stem.setdefault(_stem(path), path)
        if first != path:
            rejects.append(Reject(path, f"a second label of that name: {first} is taken"))
    owner: dict[str, str] = {}
    matched = {}
    for image in images:
        label = next((by_stem[_stem(image) + end] for end in endings if _stem(image) + end in by_stem), None)
        if label is None:
            rejects.append(Reject(image, f"no label: expected {folder}/{_stem(image)}{endings[0]}.png"))
        elif label in owner:
            rejects.append(Reject(image, f"its label {label} is that of {owner[label]}, which has the same name"))
        else:
            owner[label], matched[image] = image, label
    for stem, label in by_stem.items():
        if label not in owner and not stem.endswith(endings[-1]):
            rejects.append(Reject(label, f"not the name of a label: expected {folder}/IMAGE{ENDING}.png"))
        elif label not in owner:
            rejects.append(Reject(label, f"a label without an image: nothing is named {stem.removesuffix(ENDING)}"))
    return matched


def _read_lists(raw: Source, images: Sequence[str], into: RawPairs) -> dict[str, str]:
    """Image -> split. A name in a list may have a folder before it, and an extension or none.

    A name without an image joins the rejects. Raises UserError for an image that is listed twice.
    """
    by_name = {_stem(path): path for path in reversed(images)} | {path.partition("/")[2]: path for path in images}
    there = set(images)
    place: dict[str, str] = {}
    for split in into.splits:
        for number, line in enumerate(read_text(raw, f"{split}.txt").splitlines(), 1):
            name = line.strip().replace("\\", "/").rpartition("/")[2]
            if not name:
                continue
            here = f"{split}.txt, line {number}"
            image = by_name.get(name) or by_name.get(_stem(name)) or f"images/{name}"
            if image in place:
                raise UserError(
                    f"{raw.display}/{here}: {name} is already in {place[image]}; an image belongs into one split, once"
                )
            place[image], into.belongs[image] = here, split
            if image not in there:
                into.rejects.append(Reject(image, f"named in {here}, but there is no such image"))
    return {image: into.belongs[image] for image in place}


def _stem(path: str) -> str:
    return PurePosixPath(path).stem
