"""Small raw CamVid datasets for the tests of the import."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from import_helpers import picture, write_files
from PIL import Image

from visionjobs.data.camvid import import_camvid
from visionjobs.data.camvid_classes import CAMVID
from visionjobs.data.colours import ColourTable
from visionjobs.data.importing import ImportResult
from visionjobs.data.manifest import INDEX
from visionjobs.storage import Store

CLASSES = list(CAMVID)
TABLE = ColourTable(CAMVID.values())
HEIGHT, WIDTH = 24, 32

SIZE = (12, 16)
"""That they are imported at."""

CLASS_DICT_TEXT = "name,r,g,b\n" + "\n".join(f"{name},{r}, {g},{b}" for name, (r, g, b) in CAMVID.items())


def png(pixels: np.ndarray | Image.Image, kind: str = "PNG", **how: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def mask(seed: int, height: int = HEIGHT, width: int = WIDTH, classes: int = 32) -> np.ndarray:
    """Class numbers in blocks of 4x4 pixels."""
    blocks = np.random.default_rng(seed).integers(0, classes, (-(-height // 4), -(-width // 4)), np.uint8)
    return np.kron(blocks, np.ones((4, 4), np.uint8))[:height, :width]


def image(seed: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return png(picture(seed, width, height))


def label(seed: int, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    return png(TABLE.paint(mask(seed, height, width)))


def frames(train: int = 4, val: int = 2, test: int = 2) -> dict[str, list[tuple[str, int]]]:
    """Split -> (stem, seed) of its frames."""
    first = {"train": 1, "val": 1 + train, "test": 1 + train + val}
    sizes = {"train": train, "val": val, "test": test}
    return {
        split: [(f"f{number:03d}", number) for number in range(first[split], first[split] + images)]
        for split, images in sizes.items()
        if images
    }


def usual(**sizes: int) -> dict[str, bytes]:
    """Path -> bytes in the layout with folders of splits."""
    files = {"class_dict.csv": CLASS_DICT_TEXT.encode()}
    for split, listed in frames(**sizes).items():
        for stem, seed in listed:
            files[f"{split}/{stem}.png"] = image(seed)
            files[f"{split}_labels/{stem}_L.png"] = label(seed)
    return files


def flat(ending: str = "_L", listed: str = "{}", **sizes: int) -> dict[str, bytes]:
    """Path -> bytes in the layout with lists; `listed`: how a stem stands in a list."""
    files: dict[str, bytes] = {}
    for split, names in frames(**sizes).items():
        for stem, seed in names:
            files[f"images/{stem}.png"] = image(seed)
            files[f"labels/{stem}{ending}.png"] = label(seed)
        files[f"{split}.txt"] = "".join(f"{listed.format(stem)}\n" for stem, _ in names).encode()
    return files


def run(source: Path, root: Store, **options: object) -> ImportResult:
    return import_camvid(str(source), "roads", root, **({"size": SIZE, "rows": 3} | options))  # type: ignore[arg-type]


def made(tmp_path: Path, files: dict[str, bytes], root: Store, **options: object) -> ImportResult:
    return run(write_files(tmp_path / "raw", files), root, **options)


def index_of(result: ImportResult) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(io.BytesIO(result.store.read(INDEX))).to_pylist()
    return rows


def told(result: ImportResult) -> dict[str, str]:
    return {reject.path: reject.reason for reject in result.rejects}


def nearest(numbers: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(numbers).resize((SIZE[1], SIZE[0]), Image.Resampling.NEAREST))
