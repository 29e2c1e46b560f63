"""The sections on where a run comes from: its notes and warnings, and what ran where on which data and code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from visionjobs.data.catalog import SAMPLE_SUFFIX
from visionjobs.report.cost import cost
from visionjobs.report.formatting import NOT_AVAILABLE, count, duration, memory, moment, plain
from visionjobs.report.page import Block, Bullets, Cell, Code, Column, Section, Table, Text
from visionjobs.report.summary import RunSummary, as_number

TOLD_ELSEWHERE = {
    "schema", "run", "job", "task", "epochs", "dataset", "created", "finished", "outcome", "state", "gpu_hours",
    "attempts", "changes", "warnings", "notes", "message", "weights",
}  # fmt: skip
"""Entries of the record that have a row, a table or a sentence of their own."""

ATTEMPT = {
    "number": "Attempt", "started": "Started", "seconds": "Time", "workers": "Workers", "threads": "Threads a worker",
    "gpus": "GPUs", "resumed_from_step": "From step", "step": "To step",
}  # fmt: skip
"""Entries of an attempt that stand in the table of attempts; the others are listed for the newest one."""


def notes(run: RunSummary, remarks: Iterable[str], unit: str = "samples") -> Section | None:
    """Failures, warnings, samples left out, changed settings, `remarks`; None where there is nothing to tell.

    unit: what is evaluated, in the plural.
    """
    warnings = tuple(
        map(
            str,
            (
                *_failure(run),
                *_earlier_end(run),
                *_trained_on(run, unit),
                *(run.record.get("warnings") or ()),
                *_sample(run),
            ),
        )
    )
    items = (*_dropped(run), *_changes(run), *map(str, run.record.get("notes") or ()), *remarks)
    blocks: list[Block] = [Bullets(warnings, warning=True)] if warnings else []
    blocks += [Bullets(items)] if items else []
    return Section("notes", "Notes", tuple(blocks)) if blocks else None


def _failure(run: RunSummary) -> Iterator[str]:
    if run.record.get("message"):
        yield f"The run stopped: {run.record['message']}"


def _earlier_end(run: RunSummary) -> Iterator[str]:
    if run.values and run.record.get("outcome", "complete") is None:
        yield "The run was trained further and has not ended yet: metrics and predictions are those of its earlier end."


def _trained_on(run: RunSummary, unit: str) -> Iterator[str]:
    """Of an evaluation (training/evaluate.py) on what the model knows."""
    own = (str(run.setting("data.name")), str(run.setting("data.version")))
    split = run.metrics.get("split")
    if run.values and run.measured_on == own and split in ("train", "all"):
        known = f"{count(run.images('train'))} of these {unit}"
        yield f"{known} were trained on: the figures do not tell how the model does on new ones."


def _sample(run: RunSummary) -> Iterator[str]:
    if run.published and str(run.setting("data.name")).endswith(SAMPLE_SUFFIX):
        yield "The dataset is a drawn sample: the published figures, which are of real data, do not compare."


def _dropped(run: RunSummary) -> Iterator[str]:
    facts = (run.attempts[-1].get("facts") if run.attempts else None) or {}
    if facts.get("dropped_per_epoch"):
        yield (
            f"The last incomplete batch of each epoch was left out of training: {count(facts['dropped_per_epoch'])} of "
            f"{count(facts.get('samples_per_epoch'))} samples, other ones each epoch."
        )


def _changes(run: RunSummary) -> Iterator[str]:
    for key, (old, new) in (run.record.get("changes") or {}).items():
        yield f"{key} was changed from {plain(old)} to {plain(new)} when the run was continued."


def provenance(run: RunSummary) -> Section:
    """What the run cost, the run, its attempts, the newest attempt in detail, and the spec as resolved."""
    blocks: list[Block] = [cost(run), _table("Run", _run_rows(run))] if not run.of_file else []
    if run.attempts:
        newest = {key: value for key, value in run.attempts[-1].items() if key not in (*ATTEMPT, "code")}
        newest = (newest.pop("hardware", None) or {}) | (newest.pop("facts", None) or {}) | newest
        blocks += [_attempts(run)]
        blocks += [Text("Where the newest attempt ran:"), _table("Newest attempt", flat_rows(newest))] if newest else []
    if run.spec:
        text = yaml.safe_dump(dict(run.spec), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
        blocks += [Text("The job as the run ended, with every default written out:"), Code(text.rstrip())]
    return Section("provenance", "Cost and provenance", tuple(blocks))


def _run_rows(run: RunSummary) -> Iterator[tuple[str, str]]:
    record, newest = run.record, run.attempts[-1] if run.attempts else {}
    yield "Run", run.run
    yield "Dataset", f"{plain(run.setting('data.name'))}, version {plain(run.setting('data.version'))}"
    code = newest.get("code") or {}
    yield "Code", ", ".join(f"{key} {plain(value)}" for key, value in code.items()) or NOT_AVAILABLE
    for key, label in (("created", "Created"), ("finished", "Finished")):
        yield label, moment(record.get(key))
    yield "Outcome", plain(record.get("outcome"))
    yield "Weights", _weights(run)
    yield "GPU-hours", plain(record.get("gpu_hours"))
    seconds = [as_number(attempt.get("seconds")) for attempt in run.attempts]
    yield "Time, all attempts", duration(sum(value or 0 for value in seconds) if seconds else None)
    rest = {key: value for key, value in record.items() if key not in TOLD_ELSEWHERE}
    yield from flat_rows(rest) if rest else ()


def _weights(run: RunSummary) -> str:
    """Those that the run has written, or those that it was given where it does not train."""
    if not run.trains:
        return f"{plain(run.setting('model.weights'))}, sha256 {plain(run.setting('model.sha256'))}"
    weights = run.record.get("weights") or {}
    return f"{memory(as_number(weights.get('bytes')))}, sha256 {plain(weights.get('sha256'))}"


def _attempts(run: RunSummary) -> Table:
    def show(key: str, value: Any) -> str:
        if key == "seconds":
            return duration(value)
        return moment(value) if key == "started" else plain(value)

    return Table(
        "Attempts",
        tuple(Column(heading) for heading in ATTEMPT.values()),
        tuple(tuple(Cell(show(key, attempt.get(key))) for key in ATTEMPT) for attempt in run.attempts),
    )


def _table(name: str, rows: Iterable[tuple[str, str]]) -> Table:
    columns = (Column("What", numeric=False), Column("Value", numeric=False))
    return Table(name, columns, tuple((Cell(label), Cell(text)) for label, text in rows))


def flat_rows(value: Any) -> Iterator[tuple[str, str]]:
    """A nested record as (label, text): a row for each value, lists of single values on one."""
    return ((path.replace("_", " "), text) for path, text in _flat(value, ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}: {key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _flat(item, f"{path} {number}")
    elif isinstance(value, list | tuple):
        yield path, ", ".join(map(plain, value)) or NOT_AVAILABLE
    elif path.endswith(("bytes", "budget")):
        yield path.removesuffix("_bytes"), memory(as_number(value))
    else:
        yield path, NOT_AVAILABLE if isinstance(value, Mapping) else plain(value)
