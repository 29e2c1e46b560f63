"""Images found in files, folders and buckets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from s3_servers import S3Server

from visionjobs.data.decode import Decoded
from visionjobs.data.source import Reject
from visionjobs.errors import UserError
from visionjobs.inference.reading import Found, find_images, read_image
from visionjobs.storage import Store, open_store

CLASSES = ["bear", "fox"]


def draw(path: Path, size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 10, 10)).save(path, format="PNG")
    return path


def addresses(found: Found) -> list[str]:
    return [image.address for image in found.images]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos` below the current folder: two classes, one folder in another, and what is no image."""
    monkeypatch.chdir(tmp_path)
    for name in ("fox/b.PNG", "fox/a.jpg", "bear/deep/c.webp", "top.jpeg"):
        draw(tmp_path / "photos" / name)
    for name in (".git/d.png", "fox/.e.png", "fox/__MACOSX/f.png", "fox/notes.txt", "Thumbs.db"):
        draw(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_a_folder_is_walked_in_order_without_what_is_hidden_or_no_image(photos: Path) -> None:
    found = find_images(["photos"])
    assert addresses(found) == ["photos/bear/deep/c.webp", "photos/fox/a.jpg", "photos/fox/b.PNG", "photos/top.jpeg"]
    assert (found.skipped, found.rejects) == (5, [])
    assert all(Path(address).is_file() for address in addresses(found))


def test_what_is_given_stays_in_its_order_and_counts_once(photos: Path) -> None:
    found = find_images(["photos/top.jpeg", str(photos / "fox"), "./photos/fox/", "photos/top.jpeg"])
    fox = [f"{photos}/fox/a.jpg", f"{photos}/fox/b.PNG", "photos/fox/a.jpg", "photos/fox/b.PNG"]
    assert addresses(found) == ["photos/top.jpeg", *fox]


def test_a_named_file_is_tried_whatever_its_name(photos: Path) -> None:
    found = find_images(["photos/fox/notes.txt", "photos/.git/d.png"])
    assert addresses(found) == ["photos/fox/notes.txt", "photos/.git/d.png"]
    assert all(isinstance(read_image(image, (4, 6)), Decoded) for image in found.images)


def test_the_label_is_the_folder_s_name_if_that_is_a_class(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [image.label(CLASSES) for image in find_images(["photos"]).images]
    assert labels == [None, "fox", "fox", None]  # bear/deep is no class, and only the folder itself counts
    monkeypatch.chdir(photos / "fox")
    assert [image.label(CLASSES) for image in find_images(["a.jpg", "."]).images] == ["fox", "fox"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.jpg", "missing.jpg: there is no such file or folder"),
        ("photos/top.jpeg/x", "photos/top.jpeg/x: there is no such file or folder"),
        ("https://host/a.jpg", "https://host/a.jpg: expected a file, a folder or an s3:// address"),
        ("/dev/null", "/dev/null: is neither a file nor a folder"),
        ("~no-such-user/a.jpg", "~no-such-user/a.jpg: cannot be looked at"),
        ("a" * 300, "cannot be looked at: File name too long"),
    ],
)
def test_what_does_not_exist_is_refused(photos: Path, given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_images(["photos", given])


def test_no_image_at_all_says_what_was_there(photos: Path) -> None:
    with pytest.raises(UserError, match=r"no image in photos/\.git/x; expected names that end with .*\.jpg"):
        (photos / ".git/x").mkdir()
        find_images(["photos/.git/x"])
    draw(photos / "other/readme.md")
    with pytest.raises(UserError, match="files there that are hidden or named otherwise: 1"):
        find_images([str(photos / "other")])


def test_links_that_lead_nowhere_and_linked_folders_are_rejected_by_name(photos: Path) -> None:
    (photos / "gone.jpg").symlink_to(photos / "nothing")
    (photos / "gone.txt").symlink_to(photos / "nothing")
    (photos / "fox/linked").symlink_to(photos / "bear")
    for loop in ("loop", "fox/loop.jpg"):
        (photos / loop).symlink_to(photos / loop)
    found = find_images(["photos"])
    rejects = ["photos/fox/linked", "photos/fox/loop.jpg", "photos/gone.jpg", "photos/loop"]
    assert [reject.path for reject in found.rejects] == rejects
    assert len(found.images) == 4
    assert found.skipped == 6


def test_a_name_that_is_not_text_is_rejected(photos: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    draw(photos / "fox" / name)
    for given in (["photos"], [f"photos/fox/{name}", "photos"]):
        found = find_images(given)
        assert [reject.path for reject in found.rejects] == ["photos/fox/caf\\udce9.jpg"]
        assert found.rejects[0].reason == "its name is not valid UTF-8 text"


def test_what_cannot_be_decoded_comes_back_with_the_reason(photos: Path) -> None:
    (photos / "fox/text.png").write_text("text")
    (photos / "fox/half.png").write_bytes((photos / "fox/b.PNG").read_bytes()[:40])
    (photos / "fox/gone.png").write_bytes(b"")
    images = find_images([f"photos/fox/{name}.png" for name in ("text", "half", "gone")]).images
    (photos / "fox/gone.png").unlink()
    results = [read_image(image, (4, 4)) for image in images]
    assert all(isinstance(result, Reject) for result in results)
    assert [result.path for result in results] == ["photos/fox/text.png", "photos/fox/half.png", "photos/fox/gone.png"]
    assert results[0].reason.startswith("not an image")
    assert "truncated" in results[1].reason
    assert results[2].reason == "unreadable: No such file or directory"


@pytest.fixture
def bucket(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    seaweedfs.use(monkeypatch)
    store = open_store(f"{seaweedfs.address}/{tmp_path.name}")
    data = draw(tmp_path / "x.png").read_bytes()
    for key in ("fox/b.png", "fox/a.jpg", "bear/c.jpg", "fox/notes.txt", ".hidden/d.png"):
        store.write(key, data)
    return store


@pytest.mark.s3
def test_objects_and_addresses(bucket: Store, seaweedfs: S3Server) -> None:
    top = bucket.address
    seaweedfs.client().put_object(Bucket=seaweedfs.bucket, Key=f"{top.split('/', 3)[3]}/fox/", Body=b"")  # a marker
    found = find_images([f"{top}/fox/b.png", top, f"{top}/fox/"])
    assert addresses(found) == [f"{top}/fox/b.png", f"{top}/bear/c.jpg", f"{top}/fox/a.jpg"]
    assert [image.label(CLASSES) for image in found.images] == ["fox", "bear", "fox"]
    assert (found.skipped, found.rejects) == (3, [])
    bucket.delete(["bear/c.jpg"])
    results = [read_image(image, (4, 4)) for image in found.images]
    assert [isinstance(result, Decoded) for result in results] == [True, False, True]
    assert results[1].path == f"{top}/bear/c.jpg"
    assert results[1].reason.startswith("unreadable: ")


@pytest.mark.s3
def test_an_address_with_nothing_below_it(bucket: Store) -> None:
    for address in (f"{bucket.address}/fo", f"{bucket.address}/fox/b.pn", f"{bucket.address}/fox/b.png/"):
        with pytest.raises(UserError, match="there is no such object, and nothing below it"):
            find_images([address])
