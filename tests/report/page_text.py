"""A page as a reader sees it: its text, its tables, what it links to and shows."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}
AS_TYPED = str.maketrans({"\N{ZERO WIDTH SPACE}": "", "\N{NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-"})


class PageText(HTMLParser):
    """text: all of it; rows: the cells of each table row; tiles: label -> value. As one would type them. Asserts that
    elements nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.tiles: dict[str, str] = {}
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.images: list[bytes] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if given.get("id"):
            self.ids.add(given["id"] or "")
        if tag == "a":
            self.links.add(given["href"] or "")
        if tag == "img":
            data = (given["src"] or "").removeprefix("data:image/png;base64,")
            self.images.append(base64.b64decode(data, validate=True))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        seen = data.translate(AS_TYPED)
        self.text += seen
        if self.open and self.open[-1] == "dt":
            self.tiles[seen] = ""
        elif self.open and self.open[-1] == "dd" and not self.tiles[list(self.tiles)[-1]]:
            self.tiles[list(self.tiles)[-1]] = seen
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {seen.strip()}".strip()

    def row(self, first: str) -> list[str]:
        """The row with this first cell."""
        return next(row for row in self.rows if row and row[0] == first)

    def after(self, first: str) -> str:
        """What stands across the page below the row with this first cell."""
        at = next(number for number, row in enumerate(self.rows) if row and row[0] == first)
        return " ".join(self.rows[at + 1])
