"""The import of raw CamVid data that is not as it should be: what is left out, what is refused, and what is told."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from camvid_files import (
    HEIGHT,
    TABLE,
    WIDTH,
    flat,
    frames,
    image,
    index_of,
    label,
    made,
    mask,
    png,
    run,
    told,
    usual,
)
from import_helpers import picture, write_files
from PIL import Image

from visionjobs.data.manifest import REJECTS
from visionjobs.errors import UserError
from visionjobs.storage import Store, open_store


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "storage"))


def turned(seed: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(picture(seed, WIDTH, HEIGHT), exif=exif)


BAD: dict[str, tuple[dict[str, bytes], dict[str, str]]] = {
    "another size": (
        {"train/x.png": image(50), "train_labels/x_L.png": label(50, 48, 64)},
        {"train_labels/x_L.png": "of another size than its image: 64x48 pixels, and train/x.png has 32x24"},
    ),
    "sides exchanged": (
        {"train/x.png": image(50), "train_labels/x_L.png": label(50, 32, 24)},
        {"train_labels/x_L.png": "of another size than its image: 24x32 pixels, and train/x.png has 32x24"},
    ),
    "no label": ({"val/x.png": image(50)}, {"val/x.png": "no label: expected val_labels/x_L.png"}),
    "no image": (
        {"val_labels/x_L.png": label(50)},
        {"val_labels/x_L.png": "a label without an image: nothing is named x"},
    ),
    "not a label's name": (
        {"val/x.png": image(50), "val_labels/x.png": label(50)},
        {
            "val/x.png": "no label: expected val_labels/x_L.png",
            "val_labels/x.png": "not the name of a label: expected val_labels/IMAGE_L.png",
        },
    ),
    "image cut short": (
        {"train/x.png": image(50)[:300], "train_labels/x_L.png": label(50)},
        {"train/x.png": "truncated"},
    ),
    "label no image": (
        {"train/x.png": image(50), "train_labels/x_L.png": b"text"},
        {"train_labels/x_L.png": "not an image"},
    ),
    "empty label": (
        {"train/x.png": image(50), "train_labels/x_L.png": b""},
        {"train_labels/x_L.png": "empty file"},
    ),
    "JPEG label": (
        {"train/x.png": image(50), "train_labels/x_L.jpg": png(TABLE.paint(mask(50)), "JPEG")},
        {"train_labels/x_L.jpg": "lossy: a label in JPEG may have changed colours; expected PNG"},
    ),
    "JPEG named PNG": (
        {"train/x.png": image(50), "train_labels/x_L.png": png(TABLE.paint(mask(50)), "JPEG")},
        {"train_labels/x_L.png": "lossy: a label in JPEG"},
    ),
    "class numbers": (
        {"train/x.png": image(50), "train_labels/x_L.png": png(mask(50))},
        {"train_labels/x_L.png": "not in colours: its pixels are grey (mode L), class numbers maybe"},
    ),
    "16 bits": (
        {"train/x.png": image(50), "train_labels/x_L.png": png(mask(50).astype(np.uint16))},
        {"train_labels/x_L.png": "has 16 or 32 bits a pixel"},
    ),
    "turned image": (
        {"train/x.png": turned(50), "train_labels/x_L.png": label(50, 32, 24)},
        {"train/x.png": "turned: it is to be shown turned or mirrored (EXIF orientation 6)"},
    ),
    "duplicate": (
        {"train/x.png": image(1), "train_labels/x_L.png": label(50)},
        {"train/x.png": "duplicate: byte-identical to train/f001.png"},
    ),
    "leak": (
        {"val/x.png": image(1), "val_labels/x_L.png": label(1)},
        {"val/x.png": "duplicate: byte-identical to train/f001.png, in ANOTHER split: a leak between train and val"},
    ),
    "one name twice": (
        {"train/f001.jpg": png(picture(50, WIDTH, HEIGHT), "JPEG")},
        {"train/f001.png": "its label train_labels/f001_L.png is that of train/f001.jpg, which has the same name"},
    ),
    "two labels": (
        {"train_labels/f001_L.bmp": png(TABLE.paint(mask(50)), "BMP")},
        {"train_labels/f001_L.bmp": "a second label of that name: train_labels/f001_L.png is taken"},
    ),
    "elsewhere": (
        {"README": b"x", "viz/a.png": image(50), "val/deep/a.png": image(51), "train/.DS_Store": b"x"},
        {
            "README": "beside the folders of the layout",
            "viz/a.png": "no part of the layout",
            "val/deep/a.png": "in a folder inside val; expected val/FILE",
            "train/.DS_Store": "a hidden file",
        },
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_everything_bad_is_left_out_and_told(tmp_path: Path, root: Store, case: str) -> None:
    files, reasons = BAD[case]
    result = made(tmp_path, usual() | files, root)
    assert told(result).keys() == reasons.keys()
    for path, reason in reasons.items():
        assert told(result)[path].startswith(reason)
    stored = list(csv.reader(io.StringIO(result.store.read(REJECTS).decode())))
    assert stored == [["path", "reason"], *sorted([path, reason] for path, reason in told(result).items())]
    assert (result.manifest.rejected, result.manifest.images) == (len(reasons), 8)
    assert len(index_of(result)) == sum(shard.rows for shard in result.manifest.masks) == 8


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_labels_with_a_palette_or_alpha_are_read(tmp_path: Path, root: Store, mode: str) -> None:
    files = usual()
    expected = run(write_files(tmp_path / "rgb", files), root)
    for split, listed in frames().items():
        for stem, seed in listed:
            written = Image.fromarray(mask(seed))
            written.putpalette(TABLE.colours.tobytes())
            written = written if mode == "P" else written.convert("RGBA")
            files[f"{split}_labels/{stem}_L.png"] = png(written)
    result = run(write_files(tmp_path / "raw", files), root)
    assert (result.manifest.off_palette, result.rejects) == (0, [])
    assert [shard.sha256 for shard in result.manifest.masks] == [shard.sha256 for shard in expected.manifest.masks]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, root: Store) -> None:
    source = write_files(tmp_path / "raw", usual() | {"train/x.png": image(50)})
    (source / "train_labels" / "x_L.png").symlink_to("/proc/self/mem")  # opens, and fails with EIO when read
    (reject,) = run(source, root).rejects
    assert (reject.path, reject.reason[:11]) == ("train_labels/x_L.png", "unreadable:")


def without(files: dict[str, bytes], *starts: str) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if not path.startswith(starts)}


REFUSED = {
    "nothing known": ({"a/b.png": b"x"}, r"expected train/ train_labels/ .*; found a/"),
    "one level up": ({f"CamVid/{p}": d for p, d in usual().items()}, "did you mean to import CamVid/ itself"),
    "no val": (without(usual(), "val"), "there is no folder val/ and no val_labels/"),
    "no val labels": (without(usual(), "val_labels"), "there is no folder val_labels/"),
    "no test labels": (without(usual(), "test_labels"), "there is no folder test_labels/"),
    "no val list": (without(flat(), "val.txt"), r"there is no val\.txt beside images/"),
    "empty list": (flat() | {"test.txt": b"\n \n"}, "the split test has no usable image with a label. there are no"),
    "list of other names": (
        flat() | {"val.txt": b"g1\ng2.png\n"},
        r"split val has no usable .* images/g1: named in val.txt, line 1, but there is no such image; images/g2.png",
    ),
    "list with a double": (
        flat() | {"val.txt": b"f005\n\nf001.png"},
        r"val\.txt, line 3: .* already in train.txt, line 1",
    ),
    "list with the same twice": (flat() | {"val.txt": b"f005\nf005.png"}, r"val\.txt, line 2: .* in val.txt, line 1"),
    "list not text": (flat() | {"val.txt": b"\xff\xfe"}, r"val\.txt: is not UTF-8 text"),
    "only bad labels": (
        usual() | {f"val_labels/f00{n}_L.png": label(n, 48, 64) for n in (5, 6)},
        r"split val has no usable .* val_labels/f005_L.png: of another size than its image: 64x48 .*; val_labels/f006",
    ),
    "only bad labels, flat": (
        flat() | {f"labels/f00{n}_L.png": b"x" for n in (5, 6)},
        r"the split val has no usable .* labels/f005_L.png: not an image",
    ),
    "only leaks": (
        usual() | {f"val/f00{n}.png": image(n - 4) for n in (5, 6)},
        r"the split val .* val/f005.png: duplicate: .*f001.png, in ANOTHER split: a leak between train and val",
    ),
    "duplicate colour": (
        usual() | {"class_dict.csv": b"name,r,g,b\nRoad,1,2,3\nSky, 1,2,3"},
        r"class_dict.csv, line 3: Sky has the colour 1,2,3, which Road has already in line 2",
    ),
    "class_dict not text": (usual() | {"class_dict.csv": b"\xff\xfe"}, r"class_dict\.csv: is not UTF-8 text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_is_refused_and_nothing_is_left(tmp_path: Path, root: Store, case: str) -> None:
    files, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        made(tmp_path, files, root)
    assert root.entries() == []


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split_is_refused(tmp_path: Path, root: Store, split: str) -> None:
    source = write_files(tmp_path / "raw", without(usual(), f"{split}/", f"{split}_labels/"))
    for folder in (split, f"{split}_labels"):
        (source / folder).mkdir()
    with pytest.raises(
        UserError, match=f"the split {split} has no usable image with a label. there are no files for it"
    ):
        run(source, root)
    assert root.entries() == []


def test_the_flat_layouts_leftovers_are_told(tmp_path: Path, root: Store) -> None:
    files = flat() | {"images/extra.png": image(50), "labels/extra_L.png": label(50), "labels/lone.png": label(51)}
    files["val.txt"] += b"gone.png\n"
    assert told(made(tmp_path, files, root)) == {
        "images/extra.png": "in none of the lists train.txt, val.txt, test.txt",
        "images/gone.png": "named in val.txt, line 3, but there is no such image",
        "labels/lone.png": "a label without an image: nothing is named lone",
    }
