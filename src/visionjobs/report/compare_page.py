"""The sections of a comparison's page."""

from __future__ import annotations

from collections.abc import Iterator

from visionjobs.report.compare_classes import classes
from visionjobs.report.compare_pairs import breakable, interval_line
from visionjobs.report.compare_results import best_of, comparable, published_value, results, within_a_line
from visionjobs.report.compare_runs import Compared, dataset_of, evaluated_split
from visionjobs.report.compare_training import training
from visionjobs.report.formatting import NOT_AVAILABLE, count, decimal, moment, plain
from visionjobs.report.page import Bullets, Cell, Column, Page, Section, Table, Text, Tile
from visionjobs.report.results import interval, of_sample, percent_level, published_cell
from visionjobs.report.summary import RunSummary


def build_page(compared: Compared, created: str) -> Page:
    """The whole page, not drawn yet."""
    first = compared.runs[0]
    name, version = dataset_of(first)
    subtitle = (
        f"{first.task} on {name}",
        f"version {version}",
        f"{count(compared.task.samples(first))} {compared.task.unit} of the split {evaluated_split(first)}",
        f"made {moment(created)}",
    )
    sections = (
        _notes(compared),
        results(compared),
        _published(compared),
        compared.kind.test.section(compared.pairs, compared.labels),
        training(compared),
        classes(compared),
        _settings(compared),
        _provenance(compared),
    )
    title = f"Comparison of {len(compared.runs)} runs"
    return Page(title, subtitle, tuple(_tiles(compared)), tuple(section for section in sections if section is not None))


def _tiles(compared: Compared) -> Iterator[Tile]:
    for metric in compared.headline:
        best, places = best_of(compared, metric)
        whose = ", ".join(compared.labels[place] for place in places) or ("" if best is None else "all runs")
        more = interval(compared.runs[places[0]], metric.key) if len(places) == 1 else ()
        yield Tile(f"Best {within_a_line(metric.title)}", decimal(best, metric.digits), whose, more)
    different = sum(pair.differs for pair in compared.pairs)
    tested = sum(pair.tested for pair in compared.pairs)
    value = f"{different} of {tested}" if tested else NOT_AVAILABLE
    yield Tile("Pairs that differ", value, compared.kind.test.name)


def _notes(compared: Compared) -> Section | None:
    first, texts = compared.runs[0], []
    if not compared.task.samples(first):
        texts.append(f"The split holds no {compared.task.unit}: there are no figures to compare.")
    elif of_sample(first):
        texts.append(
            "The dataset is a drawn sample: its figures say nothing of real data, and published ones do not compare."
        )
    if compared.losses_differ:
        texts.append("The runs leave different classes out of their losses (train.ignore): losses do not compare.")
    return Section("notes", "Notes", (Bullets(tuple(texts), warning=True),)) if texts else None


def _published(compared: Compared) -> Section | None:
    rows = [
        _published_row(compared, run, f"{breakable(label)}: ", key)
        for run, label in zip(compared.runs, compared.labels, strict=True)
        for key in run.published
    ]
    if not rows:
        return None
    numbers, told = ["Published", "Ours", "Difference"], "Difference: ours less the published figure."
    if any(run.values.get("intervals") for run in compared.runs):
        numbers.append("Published lies in our interval")
        told = f"Small figures below ours: {percent_level(compared.runs[0])} confidence intervals. {told}"
    columns = (Column("Run and metric", numeric=False), *map(Column, numbers))
    table = Table("Published figures", columns, tuple(row[: len(columns)] for row in rows))
    return Section("published", "Published figures", (table, Text(told)))


def _published_row(compared: Compared, run: RunSummary, prefix: str, key: str) -> tuple[Cell, ...]:
    metric = {metric.key: metric for metric in (*compared.task.metrics, *compared.metrics)}.get(key)
    ours, theirs, ends = run.value(key), published_value(run, key), run.interval(key)
    digits = metric.digits if metric else 4
    return (
        Cell(f"{prefix}{metric.title if metric else key}", (f"Published: {plain(run.published[key].get('source'))}",)),
        Cell(decimal(theirs, digits)),
        Cell(decimal(ours, digits), interval_line(ends)),
        published_cell(run, key, metric.higher_is_better if metric else None, digits),
        Cell(plain(lies_within(comparable(run, key), ends))),
    )


def lies_within(value: float | None, ends: tuple[float, float] | None) -> bool | None:
    """Whether a value lies in an interval, the ends included; None without one of them."""
    return None if value is None or ends is None else ends[0] <= value <= ends[1]


def _settings(compared: Compared) -> Section:
    found = compared.differing_settings()
    if not found:
        text = "The jobs have the same settings: the runs differ in their code, machine or number of attempts at most."
        return Section("settings", "What differs between the jobs", (Text(text),))
    columns = (Column("Setting", numeric=False), *(Column(label, numeric=False) for label in compared.labels))
    rows = tuple(tuple(Cell(breakable(plain(value))) for value in (key, *values)) for key, values in found.items())
    return Section("settings", "What differs between the jobs", (Table("Settings", columns, rows),))


def _provenance(compared: Compared) -> Section:
    heads = ("Run", "Run id", "Created", "Code", "Attempts", "Workers", "Device", "Precision")
    rows = []
    for run, label in zip(compared.runs, compared.labels, strict=True):
        newest = run.attempts[-1] if run.attempts else {}
        code, facts = newest.get("code") or {}, newest.get("facts") or {}
        values = (
            run.run, moment(run.record.get("created")), code.get("commit") or code.get("source"),
            len(run.attempts) or None, newest.get("workers"), facts.get("device"), facts.get("precision"),
        )  # fmt: skip
        rows.append((Cell(breakable(label)), *(Cell(plain(value)) for value in values)))
    table = Table("Runs", tuple(Column(head, numeric=False) for head in heads), tuple(rows))
    return Section("provenance", "Provenance", (table, Text("Each run's own report tells the rest.")))
