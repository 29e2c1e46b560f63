"""A page as a reader sees it: its text, its tables, what it links to and shows."""

from __future__ import annotations

import base64

from parsed_page import ParsedPage

AS_TYPED = str.maketrans({"\N{ZERO WIDTH SPACE}": "", "\N{NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-"})


class PageText(ParsedPage):
    """text, and the cells in rows, as one would type them; tiles: label -> value."""

    def __init__(self, html: str) -> None:
        self.tiles: dict[str, str] = {}
        super().__init__(html)
        self.ids = {value for _, key, value in self.attributes if key == "id"}
        self.links = {value for tag, key, value in self.attributes if (tag, key) == ("a", "href")}
        shown = [value for tag, key, value in self.attributes if (tag, key) == ("img", "src")]
        self.images = [base64.b64decode(data.removeprefix("data:image/png;base64,"), validate=True) for data in shown]

    def handle_data(self, data: str) -> None:
        seen = data.translate(AS_TYPED)
        self.text += seen
        if self.open and self.open[-1] == "dt":
            self.tiles[seen] = ""
        elif self.open and self.open[-1] == "dd" and not self.tiles[list(self.tiles)[-1]]:
            self.tiles[list(self.tiles)[-1]] = seen
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {seen.strip()}".strip()

    def after(self, first: str) -> str:
        """What stands across the page below the row with this first cell."""
        at = next(number for number, row in enumerate(self.rows) if row and row[0] == first)
        return " ".join(self.rows[at + 1])
