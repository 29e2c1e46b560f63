"""`visionjobs evaluate RUN`: a finished run's stored weights, evaluated again without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from visionjobs.cli.console import byte_progress, counting_progress, err, number, out
from visionjobs.runs import open_run
from visionjobs.settings import Settings
from visionjobs.spec import flatten
from visionjobs.storage import OnBytes, open_store

if TYPE_CHECKING:
    from visionjobs.data.catalog import DatasetRef
    from visionjobs.models.trained import Trained
    from visionjobs.training.evaluate import Evaluation


def evaluate(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="a finished run, as `visionjobs runs` lists it")],
    split: Annotated[
        str | None,
        typer.Option(help="train, val, test, or all: every image; if not given, test where there is one, else val"),
    ] = None,
    data: Annotated[str | None, typer.Option(help="another dataset with the same classes, or some of them")] = None,
    version: Annotated[str | None, typer.Option(help="of the dataset; the run's own, or the newest of another")] = None,
) -> None:
    """Evaluate a finished run's stored weights on a split of its dataset, or of another one (a test set, say).

    Metrics, predictions and a report go to `evaluations/` in the run's folder; their address is the last line on
    stdout. The run's own metrics and report stay as they are.
    """
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    run = open_run(root, run_id)
    from visionjobs.models.trained import load_trained, this_device
    from visionjobs.training.evaluate import choose_dataset

    trained = load_trained(run, this_device())
    ref = choose_dataset(root, trained, data, version)
    evaluation = _with_progress(trained, ref, split or ref.manifest.measured_split, settings)
    stored = (run.metrics() or {}).get("metrics", {}) if evaluation.own else None
    err.print(_table(evaluation, trained.spec.task, stored))
    err.print(f"report {evaluation.store.address}/report/report.html", soft_wrap=True)
    out.print(evaluation.store.address)


def _with_progress(trained: Trained, ref: DatasetRef, split: str, settings: Settings) -> Evaluation:
    from visionjobs.training.evaluate import Told, evaluate_run

    with byte_progress() as transfers, counting_progress() as bar:
        task = bar.add_task("evaluating", total=None)

        def transfer(what: str, total: int) -> OnBytes:
            fetching = transfers.add_task(f"fetching {what}", total=total, visible=False)
            return lambda count: transfers.update(fetching, advance=count, visible=True)

        def samples(count: int, total: int) -> None:
            bar.update(task, advance=count, total=total)

        told = Told(transfer, samples, lambda stage: bar.update(task, description=stage))
        return evaluate_run(trained, ref, split, settings.cache, told)


def _table(evaluation: Evaluation, task: str, stored: dict[str, Any] | None) -> Table:
    """The single numbers with their intervals, beside those that the run ended with."""
    from visionjobs.report.build import TASKS

    table = Table("metric", "now", "95 % interval", *(["at the run's end"] if stored is not None else []))
    intervals = evaluation.metrics.get("intervals") or {}
    flat, flat_stored = flatten(evaluation.metrics), flatten(stored or {})
    single = [key for key, value in evaluation.metrics.items() if isinstance(value, float | int) or value is None]
    nested = [metric.key for metric in TASKS[task].metrics if metric.key in flat and metric.key not in single]
    for key in (*single, *nested):
        interval = intervals.get(key)
        row = [key, _shown(flat[key]), f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "n/a"]
        table.add_row(*row, *([_shown(flat_stored.get(key))] if stored is not None else []))
    return table


def _shown(value: float | None) -> str:
    """A metric, or a count."""
    return number(value, "," if isinstance(value, int) else ".4f")
