"""Results as files: a CSV a benchmark, the summary of all, the machine, and the table in the README."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.measure import Comparison, Row, Value
from visionjobs.provenance import code_version, hardware

SUMMARY, MACHINE = "summary.csv", "machine.csv"
MARKED = re.compile(r"(<!-- bench -->\n).*?(<!-- /bench -->)", re.DOTALL)


def machine() -> Row:
    """What the figures were measured on, without the host's name."""
    found = hardware()
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "date": _today(),
        "cpu": found["cpu"],
        "cpus": found["cpus"],
        "memory_gib": round(found["memory_bytes"] / 2**30, 1),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "system": found["system"],
        "python": found["python"],
        **{name: version or "" for name, version in found["libraries"].items()},
        "commit": code_version()["commit"] or "",
    }


def in_short(found: Mapping[str, Value]) -> str:
    """The machine in a few words."""
    gpu = "no GPU" if found["gpu"] == "none" else found["gpu"]
    return f"{found['cpu']}, {found['cpus']} CPUs, {found['memory_gib']} GiB, {gpu}, torch {found['torch']}"


def write_rows(path: Path, rows: Iterable[Mapping[str, Value | str]]) -> None:
    """A CSV file with a header; fractions are rounded to 6 digits."""
    listed = [
        {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()} for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    temporary.rename(path)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, or [] where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add_to_summary(folder: Path, benchmark: str, comparisons: list[Comparison], on: Row) -> list[dict[str, str]]:
    """Replace the benchmark's lines in summary.csv; those of the others stay. Returns all lines."""
    kept = [row for row in read_rows(folder / SUMMARY) if row["benchmark"] != benchmark]
    new: list[Row] = [
        {"benchmark": benchmark} | comparison.to_row() | {"machine": in_short(on), "date": _today()}
        for comparison in comparisons
    ]
    rows: list[Mapping[str, Value | str]] = [*kept, *new]
    write_rows(folder / SUMMARY, sorted(rows, key=lambda row: str(row["benchmark"])))
    return read_rows(folder / SUMMARY)


def table(rows: list[dict[str, str]], title: str) -> Table:
    """The summary for a terminal."""
    shown = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    shown.add_column("ours / other", min_width=26)
    for name in ("ours", "other", "ratio", "min to max", "goal", "met"):
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(row["compared"], *_figures(row), style="" if row["met"] == "yes" else "bold red")
    return shown


def markdown(rows: list[dict[str, str]]) -> str:
    """The summary for the README."""
    lines = [
        "| ours / other | ours | other | ratio | min to max | goal | met |",
        "|---|--:|--:|--:|--:|--:|---|",
        *(f"| {row['compared']} | {' | '.join(_figures(row))} |" for row in rows),
    ]
    notes = [f"- {row['compared']}: {row['note']}" for row in rows if row["note"]]
    measured = sorted({f"{row['machine']} ({row['date']})" for row in rows})
    return "\n".join([*lines, "", *notes, "", f"Measured on {'; '.join(measured)}.", ""])


def update_readme(readme: Path, text: str) -> bool:
    """Put `text` between <!-- bench --> and <!-- /bench -->. Returns whether they are there."""
    before = readme.read_text()
    after = MARKED.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", before)
    if after != before:
        readme.write_text(after)
    return MARKED.search(before) is not None


def _figures(row: Mapping[str, str]) -> list[str]:
    unit = row["unit"]
    return [
        f"{_short(row['ours_median'])} {unit}",
        f"{_short(row['other_median'])} {unit}",
        _short(row["ratio_median"]),
        f"{_short(row['ratio_min'])} to {_short(row['ratio_max'])}",
        row["goal"],
        row["met"],
    ]


def _short(value: str) -> str:
    """Three figures after the point below 10, none above 100."""
    number = float(value)
    return f"{number:,.{3 if number < 10 else 1 if number < 100 else 0}f}"


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"
