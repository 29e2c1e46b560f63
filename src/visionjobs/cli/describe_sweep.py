"""What `visionjobs describe` says of a job's sweep section."""

from __future__ import annotations

from rich.table import Column, Table

from visionjobs.spec import JobSpec
from visionjobs.spec_sweep import Domain, Sweep
from visionjobs.sweeps import own_parameters


def search_table(spec: JobSpec, section: Sweep) -> Table:
    """A line a searched key: its domain, and the job's own value. section: the sweep section of `spec`."""
    better = "higher" if section.maximise else "lower"
    table = Table(
        "searched", "values", Column("the job's own", justify="right"),
        title=f"sweep: {section.trials} trial{'' if section.trials == 1 else 's'}, by {section.metric} ({better} is "
        f"better), {section.search} search, scheduler {section.scheduler}",
    )  # fmt: skip
    own = own_parameters(spec, list(section.space))
    for key, domain in section.space.items():
        table.add_row(key, domain_text(domain), str(own[key]))
    return table


def domain_text(domain: Domain) -> str:
    """In a few words: "16, 32 or 64", "0.0001 to 0.01 (loguniform)"."""
    if domain.choice is not None:
        *others, last = map(str, domain.choice)
        return f"{', '.join(others)} or {last}" if others else last
    low, high = domain.bounds
    return f"{low:g} to {high:g} ({domain.kind})" if domain.int is None else f"{low} to {high} (int)"
