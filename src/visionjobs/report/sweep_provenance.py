"""The section on a sweep's identity, attempts and search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml

from visionjobs.report.formatting import NOT_AVAILABLE, moment, plain
from visionjobs.report.page import Block, Cell, Code, Column, Section, Table, Text
from visionjobs.report.provenance import flat_rows
from visionjobs.report.sweep_summary import SweepSummary
from visionjobs.runs import Claim

SEARCHES = {"random": "random search", "tpe": "tree-structured Parzen estimator (Bergstra et al. 2011), by Optuna"}

ATTEMPT = {"at_once": "Trials at once", "workers": "Workers a trial", "threads": "Threads a worker", "gpus": "GPUs"}
"""Facts of an attempt that stand in the table of attempts."""


def provenance(sweep: SweepSummary) -> Section:
    """The sweep, its attempts, where the newest one ran, and the sweep section as resolved."""
    columns = (Column("What", numeric=False), Column("Value", numeric=False))
    rows = tuple((Cell(label), Cell(text)) for label, text in _rows(sweep))
    blocks: list[Block] = [Table("Sweep", columns, rows)]
    if sweep.claims:
        blocks.append(_attempts(sweep))
        hardware = tuple(flat_rows(sweep.claims[-1].info.get("hardware") or {}))
        if hardware:
            table = Table("Newest attempt", columns, tuple((Cell(label), Cell(text)) for label, text in hardware))
            blocks += [Text("Where the newest attempt's driver ran:"), table]
    section = {"sweep": sweep.section.model_dump(mode="json")}
    text = yaml.safe_dump(section, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    blocks += [Text("The search, with every default written out:"), Code(text.rstrip())]
    return Section("provenance", "Provenance", tuple(blocks))


def _rows(sweep: SweepSummary) -> Iterator[tuple[str, str]]:
    data, section = sweep.spec.data, sweep.section
    yield "Sweep", sweep.progress.sweep
    yield "Dataset", f"{data.name}, version {data.version}"
    yield "Code", _code(sweep.claims)
    yield "Created", moment(sweep.progress.created)
    yield "Finished", moment(sweep.progress.finished)
    yield "Search", f"{SEARCHES[section.search]}, seed {section.seed}; trial 0 is the job's own configuration"
    yield "Early stopping", _scheduler(sweep)


def _scheduler(sweep: SweepSummary) -> str:
    section = sweep.section
    if section.scheduler == "none":
        return "none"
    return (
        f"asynchronous successive halving (Li et al. 2020, MLSys), by epochs: from epoch {section.grace} on, the best "
        f"one in {section.reduction} goes on, and trial 0 always"
    )


def _code(claims: Sequence[Claim]) -> str:
    code = (claims[-1].info.get("code") or {}) if claims else {}
    return ", ".join(f"{key} {plain(value)}" for key, value in code.items()) or NOT_AVAILABLE


def _attempts(sweep: SweepSummary) -> Table:
    columns = (Column("Attempt"), Column("Started"), *map(Column, ATTEMPT.values()))
    rows = tuple(
        (Cell(str(place)), Cell(moment(claim.started)), *(Cell(plain(claim.info.get(key))) for key in ATTEMPT))
        for place, claim in enumerate(sweep.claims, start=1)
    )
    return Table("Attempts", columns, rows)
