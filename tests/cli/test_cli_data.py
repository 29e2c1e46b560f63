"""`visionjobs data ...` as a person types it: exit status, stdout, stderr, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from visionjobs.data.sample_camvid import draw_camvid

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def visionjobs(tmp_path: Path) -> Run:
    """Runs the command in a storage of its own."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        places = {"VISIONJOBS_STORAGE": str(tmp_path / "storage"), "VISIONJOBS_CACHE": str(tmp_path / "cache")}
        return subprocess.run(
            [sys.executable, "-c", "from visionjobs.cli.app import main; main()", *arguments],
            env={**os.environ, **places, "COLUMNS": "60", **env}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """2 classes of 10 images, and a text file."""
    for label, name in enumerate(("ape", "bear")):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for number in range(10):
            colour = (number * 20, label * 100, 50)
            Image.new("RGB", (30 + number, 20), colour).save(tmp_path / "raw" / name / f"{number}.png")
    (tmp_path / "raw" / "ape" / "notes.txt").write_text("no image")
    return tmp_path / "raw"


def test_import_list_show(visionjobs: Run, raw: Path, tmp_path: Path) -> None:
    done = visionjobs("data", "import", "wildlife", str(raw), "--name", "zoo", "--size", "32", "48")
    assert done.returncode == 0, done.stderr
    (address,) = done.stdout.splitlines()
    assert (Path(address) / "manifest.json").is_file()
    assert Path(address).parent == tmp_path / "storage" / "datasets" / "zoo"
    for text in ("ape/notes.txt", "not an image", "16 train, 4 val", f"{address}/rejects.csv"):
        assert text in done.stderr

    again = visionjobs("data", "import", "wildlife", str(raw), "--name", "zoo", "--size", "32", "48")
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "Nothing to do" in again.stderr

    listed = visionjobs("data", "list")
    assert listed.returncode == 0
    for text in ("zoo", Path(address).name, "32x48"):
        assert text in listed.stderr

    shown = visionjobs("data", "show", "zoo")
    assert shown.returncode == 0, shown.stderr
    assert "bear" in shown.stderr
    folder = Path(shown.stdout.splitlines()[-1])
    assert sorted(path.name for path in folder.iterdir()) == ["counts.png", "samples.png", "shares.png"]
    for path in folder.iterdir():
        with Image.open(path) as figure:
            assert min(figure.size) > 200


def test_import_list_show_of_street_scenes(visionjobs: Run, tmp_path: Path) -> None:
    """Drawn ones, with a label that has strange colours and another of another size."""
    raw = tmp_path / "raw"
    draw_camvid(raw, scenes={"train": 3, "val": 1, "test": 2})
    painted = raw / "train_labels" / "scene_0001_L.png"
    with Image.open(painted) as label:
        label.paste((1, 2, 3), (0, 0, 4, 5))
        label.save(painted)
    Image.new("RGB", (20, 30)).save(raw / "test_labels" / "scene_0001_L.png")
    done = visionjobs("data", "import", "camvid", str(raw), "--name", "streets", "--size", "90", "120")
    assert done.returncode == 0, done.stderr
    (address,) = done.stdout.splitlines()
    for text in (
        "5 images of 32 classes (3 train, 1 val, 1 test)", "1 files were left out", "20x30 pixels",
        f"20 pixels of colours that are no class's became Void: {address}/off_palette.csv", "#010203 (20)",
    ):  # fmt: skip
        assert text in done.stderr
    assert "scene_0001_L.png,20,#010203:20" in (Path(address) / "off_palette.csv").read_text()

    again = visionjobs("data", "import", "camvid", str(raw), "--name", "streets", "--size", "90", "120")
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "Nothing to do" in again.stderr
    assert "20 pixels of colours that are no class's" in again.stderr

    listed = visionjobs("data", "list")
    for text in ("streets", "camvid", Path(address).name, "90x120"):
        assert text in listed.stderr

    shown = visionjobs("data", "show", "streets")
    assert shown.returncode == 0, shown.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.stderr.splitlines() if "│" in line]
    found = {row[0]: row[1:] for row in rows}
    assert [found["all"][at] for at in (0, 2, 4, 6)] == ["3", "1", "1", "5"]
    pixels = json.loads((Path(address) / "manifest.json").read_text())["pixels"]
    share = 100 * pixels["train"]["Road"] / (3 * 90 * 120)
    assert found["Road"][:2] == ["3", f"{share:.2f}"]
    assert found["Truck_Bus"][2:4] == ["absent", ""]  # the second scene of a split has one, and val has only one scene
    assert "Train" not in found
    assert "absent, in no image: Animal, " in shown.stderr


def test_a_sample_of_street_scenes(visionjobs: Run, tmp_path: Path) -> None:
    done = visionjobs("data", "sample", "camvid", "--folder", str(tmp_path / "raw"), "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert "camvid-sample" in done.stdout
    assert "40 images of 32 classes (24 train, 8 val, 8 test)" in done.stderr
    assert len(list((tmp_path / "raw" / "train_labels").glob("*_L.png"))) == 24


def test_other_classes_are_told(visionjobs: Run, tmp_path: Path) -> None:
    draw_camvid(tmp_path / "raw", scenes={"train": 1, "val": 1})
    (tmp_path / "raw" / "class_dict.csv").write_text("road,128,64,128\nvoid,0,0,0\n")
    done = visionjobs("data", "import", "camvid", str(tmp_path / "raw"))
    assert done.returncode == 0, done.stderr
    assert "has other classes than CamVid's own 32 (with road, void;" in done.stderr
    assert "2 images of 2 classes (1 train, 1 val)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("import", "wildlif", "x"), 2, 'Did you mean "wildlife"?'),
        (("import", "wildlife", "/no/such/folder"), 2, "there is no such folder or archive"),
        (("import", "wildlife", "RAW", "--name", "No Good"), 2, "expected lower-case letters"),
        (("import", "wildlife", "RAW", "--size", "8", "8"), 2, "16"),
        (("import", "wildlife", "RAW", "--size", "32", "9999"), 2, "16 to 4096"),
        (("sample", "camvit"), 2, 'expected one of: wildlife, camvid, coco. Did you mean "camvid"?'),
        (("import", "camvid", "RAW"), 2, "expected train/ train_labels/"),
        (("import", "camvid", "RAW", "--seed", "0"), 2, "--seed 0: the raw files of camvid say which split"),
        (("show", "camvid"), 2, "visionjobs data import camvid SOURCE"),
        (("show", "camvid-sample"), 2, "visionjobs data sample camvid"),
        (("show", "wildlife"), 2, "visionjobs data import wildlife SOURCE"),
        (("show", "wildlife-sample"), 2, "visionjobs data sample wildlife"),
    ],
)
def test_mistakes(
    visionjobs: Run, raw: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    done = visionjobs("data", *(str(raw) if argument == "RAW" else argument for argument in arguments))
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "storage").rglob("*.*"))


def test_an_empty_class_is_named_and_nothing_is_left(visionjobs: Run, raw: Path, tmp_path: Path) -> None:
    (raw / "dodo").mkdir()
    done = visionjobs("data", "import", "wildlife", str(raw))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{raw}/dodo: this class folder has no files" in done.stderr
    assert not list((tmp_path / "storage").rglob("*.*"))


def test_storage_that_cannot_be_written(visionjobs: Run, raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = visionjobs("data", "import", "wildlife", str(raw), VISIONJOBS_STORAGE=str(tmp_path / "file" / "storage"))
    assert (done.returncode, done.stdout) == (2, "")
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_storage(visionjobs: Run) -> None:
    done = visionjobs("data", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "visionjobs data sample wildlife" in done.stderr
