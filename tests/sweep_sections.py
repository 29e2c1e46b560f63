"""Job files with a sweep section, and what is said of those that are wrong."""

from __future__ import annotations

import pytest

from visionjobs.errors import UserError
from visionjobs.jobfile import parse_job
from visionjobs.spec import JobSpec

BASE = "task: classification\nmodel: {name: resnet18}\ndata: {name: wildlife}\n"
LR = "train.lr: {loguniform: [1e-4, 0.1]}"


def parse(sweep: str, base: str = BASE, sets: tuple[str, ...] = ()) -> JobSpec:
    """sweep: what stands in the braces of the section."""
    return parse_job(f"{base}sweep: {{{sweep}}}\n", "jobs/mine.yaml", "mine", sets, sweep=True)


def message(sweep: str, base: str = BASE, sets: tuple[str, ...] = ()) -> str:
    with pytest.raises(UserError) as caught:
        parse(sweep, base, sets)
    return str(caught.value)


def of_space(space: str, **more: str) -> str:
    return f"metric: val_accuracy, space: {{{space}}}" + "".join(f", {key}: {value}" for key, value in more.items())
