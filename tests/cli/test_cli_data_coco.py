"""`visionjobs data ...` with detection datasets: COCO's layout, YOLO's, the download, list, show and sample."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from file_server import Behaviour, serving
from PIL import Image

from visionjobs.data import coco_download
from visionjobs.data.coco_download import Archive
from visionjobs.data.sample_coco import draw_coco
from visionjobs.download import WebFile

Run = Callable[..., Any]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    draw_coco(tmp_path / "raw", scenes={"train": 4, "val": 4})
    return tmp_path / "raw"


def test_import_list_show(visionjobs: Run, raw: Path, tmp_path: Path) -> None:
    """With a box that reaches out of its image, one without an area, and an image that is cut off."""
    path = raw / "annotations" / "instances_val2017.json"
    found = json.loads(path.read_text())
    found["annotations"][0]["bbox"] = [-5, -5, 20, 20]
    found["annotations"][1]["bbox"] = [5, 5, 0, 20]
    path.write_text(json.dumps(found))
    image = raw / "train2017" / "000000100000.jpg"
    image.write_bytes(image.read_bytes()[:1000])

    done = visionjobs("data", "import", "coco", str(raw), "--name", "shapes")
    assert done.status == 0, done.err
    (address,) = done.out.splitlines()
    for text in (
        "7 images of 5 classes (3 train, 4 val)", "1 files were left out", "truncated",
        "1 boxes reached out of their image and were cut, 1 had no area and were left out",
    ):  # fmt: skip
        assert text in done.err
    again = visionjobs("data", "import", "coco", str(raw), "--name", "shapes")
    assert (again.status, again.out) == (0, done.out)
    assert "Nothing to do" in again.err

    listed = visionjobs("data", "list").err
    assert f"shapes {Path(address).name} coco 7 5 own 0 1 20" in listed

    shown = visionjobs("data", "show", "shapes")
    assert shown.status == 0, shown.err
    manifest = json.loads((Path(address) / "manifest.json").read_text())
    train, val = (sum(manifest["boxes"][split].values()) for split in ("train", "val"))
    cells = [cell.strip() for cell in shown.err.split("│ all │")[1].split("│")[:6]]
    assert cells == ["3", str(train), "4", str(val), "7", str(train + val)]
    assert "crowd regions" in shown.err
    drawn = sorted(path.name for path in Path(shown.out.strip()).iterdir())
    assert drawn == ["areas.png", "boxes.png", "images.png", "samples.png"]


def test_a_sample(visionjobs: Run, tmp_path: Path) -> None:
    done = visionjobs("data", "sample", "coco", "--folder", str(tmp_path / "shapes"), "--seed", "3")
    assert done.status == 0, done.err
    assert "coco-sample" in done.out
    assert "64 images of 5 classes (48 train, 16 val)" in done.err
    assert len(list((tmp_path / "shapes" / "train2017").glob("*.jpg"))) == 48


def test_yolos_layout(visionjobs: Run, tmp_path: Path) -> None:
    for part in ("images/val", "labels/val"):
        (tmp_path / "yolo" / part).mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(tmp_path / "yolo" / "images" / "val" / "a.png")
    (tmp_path / "yolo" / "labels" / "val" / "a.txt").write_text("0 .5 .5 .5 .5")
    (tmp_path / "yolo" / "data.yaml").write_text("val: images/val\nnames: [ape]")
    done = visionjobs("data", "import", "coco", str(tmp_path / "yolo"))
    assert done.status == 0, done.err
    assert "1 images of 1 classes (1 val)" in done.err
    (tmp_path / "yolo" / "labels" / "val" / "a.txt").write_text("1 .5 .5 .5 .5")
    wrong = visionjobs("data", "import", "coco", str(tmp_path / "yolo"))
    assert (wrong.status, wrong.out) == (2, "")
    assert "labels/val/a.txt, line 1: the class 1 is none of data.yaml's names" in wrong.err


def zipped(folder: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted((folder / name).iterdir()):
            archive.write(path, f"{name}/{path.name}")
    return buffer.getvalue()


def expect(monkeypatch: pytest.MonkeyPatch, address: str, files: dict[str, bytes]) -> None:
    """Have the command download `files`, as they are here, from `address` instead of the official one."""

    def archive(folder: str) -> Archive:
        data = files[f"/{folder}.zip"]
        return Archive(WebFile(f"{address}/{folder}.zip", len(data), hashlib.sha256(data).hexdigest()), folder)

    defaults = coco_download.download_coco.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "images", {"val": archive("val2017")})
    monkeypatch.setitem(defaults, "annotations", archive("annotations"))


def test_a_download(visionjobs: Run, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server breaks off once; a second call needs none."""
    files = {f"/{folder}.zip": zipped(raw, folder) for folder in ("val2017", "annotations")}
    with serving(Behaviour(files, break_after=[100])) as address:
        expect(monkeypatch, address, files)
        done = visionjobs("data", "import", "coco", str(tmp_path / "coco"), "--download")
    assert done.status == 0, done.err
    assert "4 images of 5 classes (4 val), " in done.err
    assert "annotations/instances_train2017.json is not used" in done.err
    manifest = json.loads((Path(done.out.strip()) / "manifest.json").read_text())
    assert manifest["parameters"]["val2017.zip"] == hashlib.sha256(files["/val2017.zip"]).hexdigest()
    again = visionjobs("data", "import", "coco", str(tmp_path / "coco"), "--download")
    assert (again.status, again.out) == (0, done.out)


def test_a_download_of_another_file(
    visionjobs: Run, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"/{folder}.zip": zipped(raw, folder) for folder in ("val2017", "annotations")}
    with serving(Behaviour(dict.fromkeys(files, b"a login page"))) as address:
        expect(monkeypatch, address, files)
        done = visionjobs("data", "import", "coco", str(tmp_path / "coco"), "--download")
    assert (done.status, done.out) == (4, "")
    assert f"{address}/annotations.zip: the server has 12 bytes for it" in done.err
    assert not list((tmp_path / "storage").rglob("*.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "coco", "RAW", "--size", "64", "64"), "images of coco keep their own size; leave it out"),
        (("import", "coco", "RAW", "--seed", "0"), "the raw files of coco say which split"),
        (("import", "wildlife", "RAW", "--download"), "--download: is for coco"),
        (("import", "coco", "RAW", "--split", "val"), "is for --download"),
        (("import", "coco", "NEW", "--download", "--split", "vall"), "--split vall: expected one of: val, train"),
        (("import", "coco", "RAW/val2017"), "expected COCO's layout"),
        (("import", "coco", "RAW", "--download"), "not from this download"),
        (("show", "coco"), "visionjobs data import coco SOURCE [--download]"),
        (("show", "coco-sample"), "visionjobs data sample coco"),
    ],
)
def test_mistakes(visionjobs: Run, raw: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    places = {"RAW": str(raw), "NEW": str(tmp_path / "new"), "RAW/val2017": str(raw / "val2017")}
    done = visionjobs("data", *(places.get(argument, argument) for argument in arguments))
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert not list((tmp_path / "storage").rglob("*.*"))
    assert not (tmp_path / "new").exists()
