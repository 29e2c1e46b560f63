"""Page -> one self-contained HTML file: style inlined, figures as data addresses, nothing fetched from anywhere."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from visionjobs.report.page import Page

_FOLDER = Path(__file__).parent


def render(page: Page) -> str:
    """The page as HTML. All text is escaped; only the style sheet, which is our own, is put in as it stands."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    style = Markup((_FOLDER / "style.css").read_text(encoding="utf-8"))  # noqa: S704 (a file of this package)
    return environment.get_template("report.html.jinja").render(page=page, style=style)
