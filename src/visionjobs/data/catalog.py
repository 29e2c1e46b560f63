"""Which datasets the storage holds: `<storage>/datasets/<name>/<version>/`."""

from __future__ import annotations

from dataclasses import dataclass

from visionjobs.data.layouts import LAYOUTS
from visionjobs.data.manifest import FOLDER, MANIFEST, Manifest, dataset_store, read_manifest
from visionjobs.errors import MissingObjectError, UserError, nearest
from visionjobs.storage import Store

SAMPLE_SUFFIX = "-sample"


@dataclass(frozen=True)
class DatasetRef:
    """A packed dataset in storage; it can be pickled."""

    store: Store
    manifest: Manifest

    @property
    def address(self) -> str:
        """Where it lies."""
        return self.store.address


def find_dataset(root: Store, name: str, version: str = "newest") -> DatasetRef:
    """The dataset `name`, in the version given or the one imported last.

    Raises UserError saying what is missing, where it was looked for and which command supplies it.
    """
    if version != "newest":
        try:
            store = dataset_store(root, name, version)
            return DatasetRef(store, read_manifest(store))
        except MissingObjectError as error:
            raise UserError(_no_version(root, name, version)) from error
    if found := versions(root, name):
        return found[-1]
    raise UserError(_no_dataset(root, name))


def list_datasets(root: Store) -> list[DatasetRef]:
    """Every version of every dataset, by name, the newest of each name last."""
    return [ref for name in root.folders(FOLDER) for ref in versions(root, name)]


def supply_command(name: str) -> str:
    """The command that supplies the dataset `name`."""
    layout = name.removesuffix(SAMPLE_SUFFIX)
    if name.endswith(SAMPLE_SUFFIX) and layout in LAYOUTS:
        return f"visionjobs data sample {layout}"
    if name in LAYOUTS:
        option = " [--download]" if LAYOUTS[name].has_download else ""
        return f"visionjobs data import {name} SOURCE{option}"
    return f"visionjobs data import {'|'.join(LAYOUTS)} SOURCE --name {name}"


def versions(root: Store, name: str) -> list[DatasetRef]:
    """All versions of a dataset, oldest first. A folder without a manifest is an import that did not finish."""
    found = []
    for version in root.folders(f"{FOLDER}/{name}"):
        store = dataset_store(root, name, version)
        if store.exists(MANIFEST):
            found.append(DatasetRef(store, read_manifest(store)))
    return sorted(found, key=lambda ref: (ref.manifest.created, ref.manifest.version))


def _no_dataset(root: Store, name: str) -> str:
    names = sorted({ref.manifest.name for ref in list_datasets(root)})
    held = f"The datasets there are: {', '.join(names)}." if names else "There is no dataset yet."
    return (
        f'There is no dataset "{name}" in {root.at(FOLDER).address}. {held}{nearest(name, names)} '
        f"To supply it: {supply_command(name)}"
    )


def _no_version(root: Store, name: str, version: str) -> str:
    there = [ref.manifest.version for ref in versions(root, name)]
    if not there:
        return _no_dataset(root, name)
    return (
        f'There is no version "{version}" of the dataset "{name}" in {root.at(FOLDER, name).address}. '
        f"The versions there are, newest last: {', '.join(there)}.{nearest(version, there)} "
        f'Give one of them, or "newest".'
    )
