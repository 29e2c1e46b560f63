"""Pretrained weights: what `model.weights` means, and where its file lies. models/pull.py puts files into storage.

A stored file has `<file>.sha256` beside it, written last, in the format of `sha256sum -c`: a file without one is
not there. Files are read with weights_only=True, after their sha256 was compared; of a detector see yolo_weights.py.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import filelock
from torch.hub import HASH_REGEX

from visionjobs.errors import FinalError, MissingObjectError, StorageError, UserError, nearest
from visionjobs.models import MODELS, model_entry
from visionjobs.models.yolo import check_name
from visionjobs.models.yolo_assets import asset_urls
from visionjobs.spec import JobSpec
from visionjobs.storage import OnBytes, Store, open_store

FOLDER = "weights"
RANDOM = "random"
SIDECAR = ".sha256"

DETECTOR_SUFFIXES = (".pt", ".pth", ".onnx")


@dataclass(frozen=True)
class Source:
    """Where weights come from.

    file: their name in `<storage>/weights`; origin: a URL, an S3 address or an absolute local path; sha256: how theirs
    has to begin ("" where nothing is known).
    """

    file: str
    origin: str
    sha256: str = ""

    @property
    def kind(self) -> Literal["url", "s3", "local"]:
        """A file on a web server, in a bucket, or of this machine."""
        scheme, separator, _ = self.origin.partition("://")
        return "local" if not separator else "s3" if scheme == "s3" else "url"


def published_sources() -> dict[str, Source]:
    """All that torchvision publishes for MODELS, by its full name, such as ResNet18_Weights.IMAGENET1K_V1, and
    ultralytics' detectors, by the names of their files."""
    detectors = {name: Source(name, url) for name, url in asset_urls().items()}
    return detectors | {
        f"{enum.__name__}.{name}": published_source(member.url)
        for enum in [entry.torchvision_weights for entry in MODELS.values()]
        if enum is not None
        for name, member in enum.__members__.items()
    }


def published_source(url: str) -> Source:
    """torchvision's file names carry the first digits of the sha256: resnet18-f37072fd.pth."""
    file = url.rpartition("/")[2]
    digits = HASH_REGEX.search(file)
    return Source(file, url, digits.group(1) if digits else "")


def file_source(text: str, sha256: str = "") -> Source:
    """Weights in a file: `some.pth`, `~/some.pth`, `s3://bucket/prefix/some.pth`. Raises UserError."""
    scheme, separator, rest = text.partition("://")
    if separator and (scheme != "s3" or "/" not in rest or rest.endswith("/")):
        raise UserError(f"{text} is not the address of a weights file; expected a path or s3://bucket/prefix/file.pth")
    origin = text if separator else str(Path(text).expanduser().absolute())
    return Source(origin.rpartition("/")[2], origin, sha256)


def is_file_name(text: str) -> bool:
    """Whether a person means a file or an address, and not one of torchvision's names."""
    return "/" in text or "." in text


def job_source(spec: JobSpec) -> Source | None:
    """What the job's model.weights mean; None for random ones. Raises UserError that lists the valid names."""
    if spec.task == "detection":
        return _detector_source(spec)
    model, enum = spec.model, model_entry(spec).torchvision_weights
    if model.weights == RANDOM:
        return None
    members = enum.__members__ if enum is not None else {}
    name = model.weights.removeprefix(f"{enum.__name__}." if enum is not None else "")
    if name in members:
        source = published_source(members[name].url)
        if model.sha256 and not model.sha256.startswith(source.sha256):
            raise UserError(
                f"{spec.name}: model.sha256 is {model.sha256}, and that of {source.file} begins with {source.sha256}"
            )
        return Source(source.file, source.origin, model.sha256 or source.sha256)
    if is_file_name(model.weights):
        return file_source(model.weights, model.sha256 or "")
    names = [RANDOM, *members]
    raise UserError(
        f'{spec.name}: model.weights: there are no weights "{model.weights}" for {model.name}; expected one of '
        f"{', '.join(names)}, a file or a storage address.{nearest(model.weights, names)}"
    )


def _detector_source(spec: JobSpec) -> Source | None:
    """A bare file name of ultralytics' means what it publishes, also where such a file lies in the current folder."""
    model = spec.model
    check_name(model.name)
    if model.weights == RANDOM:
        return None
    urls = asset_urls()
    if model.weights in urls:
        named = model.weights.removesuffix(".pt").removesuffix("-oiv7")
        if named != model.name:
            raise UserError(
                f"{spec.name}: model.weights: {model.weights} are for {named}, and model.name is {model.name}"
            )
        return Source(model.weights, urls[model.weights], model.sha256 or "")
    if is_file_name(model.weights) and Path(model.weights).suffix in DETECTOR_SUFFIXES:
        return file_source(model.weights, model.sha256 or "")
    raise UserError(
        f'{spec.name}: model.weights: there are no weights "{model.weights}"; expected {RANDOM}, one of '
        f"{', '.join(urls)}, or a file or storage address that ends with {', '.join(DETECTOR_SUFFIXES)}."
        f"{nearest(model.weights, [RANDOM, *urls])}"
    )


def locate_weights(spec: JobSpec, root: Store, cache: Path, on_bytes: OnBytes | None = None) -> Path | None:
    """A verified local file with the job's weights, None for random ones. One process a node fetches, others wait.

    Names are looked for in `<root>/weights` and fetched into `<cache>/weights`, an S3 address is fetched from where
    it points, a file of this machine is used where it is; one that is not on this machine is looked for by its name
    in `<root>/weights`. Relative paths start at the current folder.
    Raises UserError (not there, with the command that supplies it; another sha256 than the job's; two files of one
    name that differ), FinalError (a damaged file), StorageError (no answer, cache full).
    """
    source = job_source(spec)
    if source is None:
        return None
    if source.kind == "s3":
        folder, _, file = source.origin.rpartition("/")
        return fetch(open_store(folder), file, source.sha256, cache, on_bytes)
    stored, where = stored_sha256(root, source.file), f"{root.at(FOLDER).address}/{source.file}"
    if source.kind == "local" and Path(source.origin).is_file():
        found = sha256_of(Path(source.origin))
        if stored and stored != found and not source.sha256:
            raise UserError(
                f"{spec.name}: model.weights: {source.origin} (sha256 {found}) and {where} ({stored}) differ. Rename "
                "one, or say with model.sha256 which is meant."
            )
        if found.startswith(source.sha256):
            return Path(source.origin)
        stored, where = stored or found, where if stored else source.origin
    if stored is None:
        raise UserError(_missing(spec, source, where))
    if not stored.startswith(source.sha256):
        raise UserError(
            f"{spec.name}: model.weights: {where} has the sha256 {stored}, expected {source.sha256}. Correct "
            "model.sha256, or supply the right file."
        )
    return fetch(root.at(FOLDER), source.file, stored, cache, on_bytes)


def _missing(spec: JobSpec, source: Source, where: str) -> str:
    """What is missing, where it was looked for, and the command that supplies it."""
    looked, target = (where, spec.name) if source.kind == "url" else (f"{source.origin} and {where}", "FILE")
    return (
        f"{spec.name}: model.weights: {spec.model.weights} is missing; looked for at {looked}. "
        f"To supply it: visionjobs weights pull {target}"
    )


def stored_sha256(root: Store, file: str) -> str | None:
    """The sha256 that `<root>/weights/<file>.sha256` gives; None where that is missing. Raises UserError."""
    store = root.at(FOLDER)
    try:
        text = store.read(file + SIDECAR).decode("ascii", "replace")
    except MissingObjectError:
        return None
    digest = text.partition(" ")[0].strip()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise UserError(f"{store.address}/{file}{SIDECAR} does not begin with a sha256: put the file in again")
    return digest


def fetch(store: Store, file: str, sha256: str, cache: Path, on_bytes: OnBytes | None = None) -> Path:
    """`<store>/<file>` as `<cache>/weights/<its sha256>/<file>`, which begins with `sha256`, verified at each call.

    Raises FinalError (another sha256), StorageError (no answer, cache full), MissingObjectError.
    """
    folder = cache / FOLDER
    target = folder / sha256 / file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f"{file}.lock"):
            if target.is_file() and sha256_of(target) == sha256:
                return target
            partial = folder / f"{file}.unverified"
            store.download({file: partial}, on_bytes)
            found = sha256_of(partial)
            if not found.startswith(sha256):
                partial.unlink()
                raise FinalError(
                    f"{store.address}/{file} has the sha256 {found}, expected {sha256}: it is damaged or another file. "
                    "Supply it again: visionjobs weights pull --help"
                )
            target = folder / found / file
            target.parent.mkdir(exist_ok=True)
            return partial.replace(target)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: {error.strerror or error}. The cache folder {cache} must be writable and "
            "have room for the weights; VISIONJOBS_CACHE names another one."
        ) from error


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file. Raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
