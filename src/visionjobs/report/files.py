"""A page and what belongs to it, put where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from visionjobs.storage import Store

FIGURES = "figures"


def _free() -> None:
    """Nobody else may want to write here."""


def replace_page(store: Store, files: Mapping[str, bytes], page: str, fence: Callable[[], None] = _free) -> None:
    """Write a page and what belongs to it, so that whoever opens it meanwhile finds the old page or the new one.

    The page comes last, as it is whole without the other files; then the old page's figures that it no longer has go.
    `fence` is called before each write; what it raises ends the writing.
    """
    for key in sorted(files, key=lambda key: key == page):
        fence()
        store.write(key, files[key])
    gone = [entry.key for entry in store.entries(FIGURES) if entry.key not in files]
    fence()
    store.delete(gone)
