"""Finding datasets, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_pack import manifest

from visionjobs.data.catalog import find_dataset, list_datasets, supply_command
from visionjobs.errors import UserError
from visionjobs.storage import Store, open_store


@pytest.fixture
def root(tmp_path: Path) -> Store:
    root = open_store(str(tmp_path))
    for name, version, day in [
        ("zoo", "b" * 16, 2),
        ("zoo", "a" * 16, 3),
        ("zoo", "c" * 16, 1),
        ("birds", "d" * 16, 9),
    ]:
        described = manifest(name=name, version=version, created=f"2026-01-0{day}T00:00:00+00:00")
        root.at("datasets", name, version).write("manifest.json", described.model_dump_json())
    root.at("datasets", "zoo", "e" * 16).write("images-00000.npy", b"an import that did not finish")
    return root


def test_newest_is_the_one_created_last(root: Store) -> None:
    ref = find_dataset(root, "zoo")
    assert ref.manifest.version == "a" * 16
    assert ref.address == root.at("datasets", "zoo", "a" * 16).address


@pytest.mark.parametrize("version", ["a" * 16, "b" * 16, "c" * 16])
def test_a_pinned_version(root: Store, version: str) -> None:
    assert find_dataset(root, "zoo", version).manifest.version == version


def test_list_is_sorted_and_leaves_out_the_unfinished(root: Store) -> None:
    found = [(ref.manifest.name, ref.manifest.version[0]) for ref in list_datasets(root)]
    assert found == [("birds", "d"), ("zoo", "c"), ("zoo", "b"), ("zoo", "a")]


def test_list_of_an_empty_storage(tmp_path: Path) -> None:
    assert list_datasets(open_store(str(tmp_path / "nothing"))) == []


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("zooo", "newest", ['"zooo"', "/datasets", "birds, zoo", 'Did you mean "zoo"?', "data import", "--name zooo"]),
        ("wildlife", "newest", ["visionjobs data import wildlife SOURCE"]),
        ("wildlife-sample", "newest", ["visionjobs data sample wildlife"]),
        ("zoo", "a" * 15, ['"zoo"', f"{'c' * 16}, {'b' * 16}, {'a' * 16}", f'Did you mean "{"a" * 16}"?']),
        ("zoo", "e" * 16, ["There is no version"]),
        ("none", "a" * 16, ['There is no dataset "none"']),
    ],
)
def test_what_is_missing_where_and_what_to_do(root: Store, name: str, version: str, expected: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        find_dataset(root, name, version)
    for text in expected:
        assert text in str(caught.value)


def test_an_empty_storage_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no dataset yet"):
        find_dataset(open_store(str(tmp_path)), "wildlife")


@pytest.mark.parametrize("name", ["../zoo", "..", "zoo/../../x", ""])
def test_a_name_cannot_lead_out_of_the_storage(root: Store, name: str) -> None:
    with pytest.raises(UserError):
        find_dataset(root, name, "a" * 16)
    with pytest.raises(UserError):
        find_dataset(root, name)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("wildlife", "visionjobs data import wildlife SOURCE"),
        ("wildlife-sample", "visionjobs data sample wildlife"),
        ("camvid", "visionjobs data import camvid SOURCE"),
        ("camvid-sample", "visionjobs data sample camvid"),
        ("coco", "visionjobs data import coco SOURCE [--download]"),
        ("coco-sample", "visionjobs data sample coco"),
        ("mine", "visionjobs data import wildlife|camvid|coco SOURCE --name mine"),
        ("mine-sample", "visionjobs data import wildlife|camvid|coco SOURCE --name mine-sample"),
    ],
)
def test_supply_command(name: str, command: str) -> None:
    assert supply_command(name) == command
