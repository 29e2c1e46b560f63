"""The section of a comparison's page on the score of each class."""

from __future__ import annotations

from visionjobs.report.compare_figures import class_scores
from visionjobs.report.compare_pairs import breakable
from visionjobs.report.compare_runs import Compared
from visionjobs.report.formatting import count, decimal
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import as_number

MOST_CLASSES = 60
"""Of more classes the table alone is shown: the figure would be longer than a page."""


def classes(compared: Compared) -> Section | None:
    """The task's score of each class by run; the figure leaves out classes of which no run has one."""
    wanted = compared.kind.classes
    found, title = compared.per_class(), wanted.title
    title += f", at {compared.common_floor}" if compared.common_floor else ""
    names = list(found[0])
    if not names:
        return None
    scores = {
        label: [as_number(of_run.get(name, {}).get(wanted.key)) for name in names]
        for label, of_run in zip(compared.labels, found, strict=True)
    }
    rows = []
    for place, name in enumerate(names):
        values = [of_run[place] for of_run in scores.values()]
        best = max((value for value in values if value is not None), default=None)
        alike = all(decimal(value) == decimal(best) for value in values)
        cells = [score_cell(value, decimal(value) == decimal(best) and not alike) for value in values]
        rows.append((Cell(breakable(name)), *cells, Cell(count(found[0][name].get(wanted.number)))))
    heads = (Column("Class", numeric=False), *map(Column, compared.labels), Column(wanted.counted))
    blocks: list[Block] = [Text(f"{title}: {wanted.definition}."), Table(f"{title} by class", heads, tuple(rows))]
    measured = [at for at in range(len(names)) if any(values[at] is not None for values in scores.values())]
    if measured and len(measured) <= MOST_CLASSES:
        drawn = {label: [values[at] for at in measured] for label, values in scores.items()}
        png = class_scores([names[at] for at in measured], drawn, title)
        caption = f"{title} by class and run: {wanted.definition}"
        blocks.insert(0, Gallery((Figure(f"{wanted.key}_by_class", png, caption),)))
    return Section("classes", "Classes", tuple(blocks))


def score_cell(value: float | None, is_best: bool, details: tuple[str, ...] = (), digits: int = 4) -> Cell:
    """In words too: colour alone does not reach everybody."""
    text = decimal(value, digits)
    return Cell(text, (*details, "best"), "better") if is_best else Cell(text, details)
