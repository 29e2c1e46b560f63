"""A page's HTML as its tests look at it."""

from __future__ import annotations

from html.parser import HTMLParser

from visionjobs.report.build import build_report
from visionjobs.report.html import render
from visionjobs.report.page import Cell, Figure, Page, Section, Table
from visionjobs.report.summary import RunSummary

VOID = {"meta", "link", "img", "br", "hr", "input"}


class ParsedPage(HTMLParser):
    """Checks that elements nest, and gathers text, attributes and the rows of tables, by table and all together."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: list[list[str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "div":
            self.label = dict(attrs).get("aria-label") or ""
        if tag == "table":
            self.tables[self.label] = []
        if tag == "tr":
            self.rows.append([])
            self.tables[self.label].append(self.rows[-1])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.text += data
        if "tr" in self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data.strip()

    def row(self, first: str, table: str = "") -> list[str]:
        rows = self.tables[table] if table else self.rows
        return next(row for row in rows if row and row[0] == first)


def page_of(run: RunSummary) -> ParsedPage:
    return ParsedPage(build_report(run)["report.html"].decode())


def section_page(section: Section | None) -> ParsedPage:
    """A page of this section alone, or of none: quicker than all of the report."""
    return ParsedPage(render(page_with(section)))


def figures_of(section: Section | None) -> list[Figure]:
    """The section's figures, in order."""
    return list(page_with(section).figures())


def page_with(section: Section | None) -> Page:
    return Page("one section", (), (), () if section is None else (section,))


def row_of(section: Section | None, table: str, first: str) -> tuple[Cell, ...]:
    """A row of a table with what stands below its cells."""
    tables = [block for block in section.blocks if isinstance(block, Table)] if section else []
    return next(row for found in tables if found.name == table for row in found.rows if row[0].text == first)
