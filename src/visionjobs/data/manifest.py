"""manifest.json of a packed dataset: what it is made of, and where it lies."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from visionjobs.errors import UserError
from visionjobs.storage import Store

FORMAT: Final = 1

FOLDER = "datasets"
MANIFEST, INDEX, REJECTS = "manifest.json", "index.parquet", "rejects.csv"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _plain_name(value: str) -> str:
    if "/" in value or "\\" in value or value.startswith("."):
        raise ValueError("is not a plain file name")
    return value


class Shard(_Part):
    """One packed file. bytes: its size; rows: the images in it."""

    file: str
    sha256: str
    bytes: int
    rows: int

    _is_a_plain_name = field_validator("file")(_plain_name)


class AnnotationFile(_Part):
    """The annotations of one split, as COCO's JSON. bytes: its size."""

    split: str
    file: str
    sha256: str
    bytes: int

    _is_a_plain_name = field_validator("file")(_plain_name)


class Manifest(_Part):
    """What a packed dataset is made of.

    size: [height, width] in pixels, [] where each image keeps its own; counts: split -> class -> images, of
    segmentation those with at least one pixel of the class; rejected: source files left out;
    parameters: those of the import; source: where it came from, for people; created: UTC, ISO 8601.

    Of a segmentation dataset also: masks, beside shards; colours: [r, g, b] a class, in the order of classes; pixels:
    split -> class -> pixels as packed; sizes: split -> images, which counts does not tell there; off_palette: pixels of
    colours that are no class's, which became Void, in the source's own size.

    Of a detection dataset also: annotations, one file a split; category_ids: COCO's numbers of the classes, in their
    order; sizes, as above (counts: images with at least one box of the class); boxes: split -> class -> boxes; crowd:
    split -> regions of uncounted objects, which are neither in counts nor in boxes; clipped, empty: boxes that reached
    out of their image and were cut, those without an area, which were left out.
    """

    format: Literal[1]
    layout: str
    name: str
    version: str
    classes: list[str]
    size: list[int]
    counts: dict[str, dict[str, int]]
    rejected: int
    shards: list[Shard]
    index_sha256: str
    parameters: dict[str, int | float | str | list[int]]
    source: str
    created: str
    masks: list[Shard] = []
    colours: list[list[int]] = []
    pixels: dict[str, dict[str, int]] = {}
    sizes: dict[str, int] = {}
    off_palette: int = 0
    annotations: list[AnnotationFile] = []
    category_ids: list[int] = []
    boxes: dict[str, dict[str, int]] = {}
    crowd: dict[str, int] = {}
    clipped: int = 0
    empty: int = 0

    @field_validator("created")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value

    @property
    def task(self) -> str:
        """What it can be used for: detection where it has boxes, segmentation where it has masks."""
        if self.annotations:
            return "detection"
        return "segmentation" if self.masks else "classification"

    @property
    def images(self) -> int:
        """Images in all splits."""
        return sum(shard.rows for shard in self.shards)

    @property
    def split_sizes(self) -> dict[str, int]:
        """Split -> images in it."""
        return self.sizes or {split: sum(counts.values()) for split, counts in self.counts.items()}

    @property
    def measured_split(self) -> str:
        """The split that a finished run is measured on: a test split where there is one, else the validation split."""
        return "test" if "test" in self.counts else "val"

    @property
    def bytes(self) -> int:
        """Size of all shards and annotations."""
        shards = (*self.shards, *self.masks)
        return sum(shard.bytes for shard in shards) + sum(file.bytes for file in self.annotations)


def dataset_store(root: Store, name: str, version: str) -> Store:
    """The place of one version of a dataset below the storage root."""
    return root.at(FOLDER, name, version)


def read_manifest(store: Store) -> Manifest:
    """The manifest of the dataset at `store`. Raises MissingObjectError, and UserError where it is not valid."""
    try:
        return Manifest.model_validate_json(store.read(MANIFEST))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{store.address}/{MANIFEST}: {key}: {first['msg']}. It was written by another version of visionjobs, or "
            "changed by hand: import the dataset again."
        ) from error
