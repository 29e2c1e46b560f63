"""`visionjobs evaluate`: a finished run's stored weights, or any detector's boxes, evaluated without training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from visionjobs.cli.console import byte_progress, counting_progress, err, number, out, print_warning
from visionjobs.cli.trained import open_trained
from visionjobs.errors import UserError
from visionjobs.runs import Run
from visionjobs.settings import Settings
from visionjobs.spec import Detect, flatten
from visionjobs.storage import OnBytes, Store, open_store

if TYPE_CHECKING:
    from visionjobs.training.evaluate import Evaluation, Told


def evaluate(
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="a finished run, as `visionjobs runs` lists it")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val, test, or all: every image; if not given, test where there is one, else val"),
    ] = None,
    data: Annotated[str | None, typer.Option(help="another dataset with the same classes, or some of them")] = None,
    version: Annotated[str | None, typer.Option(help="of the dataset; the run's own, or the newest of another")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="in place of RUN: any detector's boxes, in COCO's format of results")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="what they are measured by: COCO's instances JSON")] = None,
    images: Annotated[
        Path | None, typer.Option(help="the folder of its images, for the pictures of the report")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="a new folder for metrics, boxes and report")] = None,
    floors: Annotated[
        list[float] | None,
        typer.Option("--floor", help="with --predictions: a confidence floor, may be repeated"),
    ] = None,
) -> None:
    """Evaluate a finished run's stored weights on a split of its dataset, or of another one (a test set, say).

    Metrics, predictions and a report go to `evaluations/` in the run's folder; their address is the last line on
    stdout. The run's own metrics and report stay as they are.

    With --predictions, --annotations and --out: evaluate boxes that any detector found; no run and no GPU is needed.
    """
    of_files: dict[str, object] = {"--predictions": predictions, "--annotations": annotations, "--out": folder}
    if run_id is None:
        missing = [name for name, value in of_files.items() if value is None]
        if missing:
            raise UserError(f"give a RUN, or --predictions, --annotations and --out; missing: {', '.join(missing)}")
        if split or data or version:
            raise UserError("--split, --data and --version go with a RUN, not with --predictions")
        _evaluate_files(Path(predictions or ""), Path(annotations or ""), Path(folder or ""), _checked(floors), images)
        return
    of_files |= {"--images": images, "--floor": floors}
    if given := [name for name, value in of_files.items() if value is not None]:
        raise UserError(f"{', '.join(given)} and a RUN do not go together: evaluate the one or the other")
    _evaluate_run(run_id, split, data, version)


def _evaluate_run(run_id: str, split: str | None, data: str | None, version: str | None) -> None:
    settings = Settings.from_env()
    root = open_store(settings.storage, settings.endpoint)
    run = open_trained(root, run_id)
    spec = run.spec_now()
    evaluation = (
        _boxes_with_progress(run, root, split, data, version, settings)
        if spec.task == "detection"
        else _with_progress(run, root, split, data, version, settings)
    )
    stored = (run.metrics() or {}).get("metrics", {}) if evaluation.own else None
    if spec.task == "detection":
        err.print(boxes_table(evaluation.metrics, stored))
    else:
        err.print(_table(evaluation, spec.task, stored))
    err.print(f"report {evaluation.store.address}/report/report.html", soft_wrap=True)
    out.print(evaluation.store.address)


def _evaluate_files(
    predictions: Path, annotations: Path, folder: Path, floors: list[float], images: Path | None
) -> None:
    from visionjobs.training.evaluate_files import evaluate_files

    with counting_progress() as bar:
        task = bar.add_task("evaluating", total=None)
        metrics = evaluate_files(
            predictions, annotations, folder, floors, images, lambda stage: bar.update(task, description=stage)
        )
    err.print(boxes_table(metrics, None))
    err.print(f"report {folder}/report/report.html", soft_wrap=True)
    out.print(str(folder))


def _checked(floors: list[float] | None) -> list[float]:
    """Ascending; those of a job if none are given."""
    for floor in floors or ():
        if not 0 < floor < 1:
            raise UserError(f"--floor {floor:g}: expected a confidence between 0 and 1")
    return sorted(set(floors)) if floors else Detect().floors


BOX_METRICS = (
    "coco.AP", "coco.AP50", "coco.AP75", "coco.APs", "coco.APm", "coco.APl", "tide.all.Cls", "tide.all.Loc",
    "tide.all.Both", "tide.all.Dupe", "tide.all.Bkg", "tide.all.Miss", "calibration.all.d_ece",
    "calibration.all.la_ece0", "calibration.all.count_ece",
)  # fmt: skip


def boxes_table(metrics: dict[str, Any], stored: dict[str, Any] | None) -> Table:
    """A column a confidence floor, and one more each for the run's end, where that is what was evaluated again."""
    floors, before = metrics["floors"], (stored or {}).get("floors", {})
    heads = [*(f"conf {floor}" for floor in floors), *(f"at the end, {floor}" for floor in before)]
    table = Table(Column("metric", no_wrap=True), *heads)
    columns = [flatten(found) for found in (*floors.values(), *before.values())]
    table.add_row("detections", *(number(column.get("detections"), ",") for column in columns))
    for key in BOX_METRICS:
        table.add_row(key, *(number(column.get(key), ".2f" if key.startswith("tide") else ".4f") for column in columns))
    return table


def _with_progress(
    run: Run, root: Store, split: str | None, data: str | None, version: str | None, settings: Settings
) -> Evaluation:
    from visionjobs.models.trained import load_trained, this_device
    from visionjobs.training.evaluate import choose_dataset, evaluate_run

    trained = load_trained(run, this_device())
    ref = choose_dataset(root, trained.spec, data, version)
    with _told() as told:
        return evaluate_run(trained, ref, split or ref.manifest.measured_split, settings.cache, told)


def _boxes_with_progress(
    run: Run, root: Store, split: str | None, data: str | None, version: str | None, settings: Settings
) -> Evaluation:
    from visionjobs.training.evaluate_boxes import evaluate_boxes

    with _told() as told:
        return evaluate_boxes(run, root, split, data, version, settings.cache, told)


@contextmanager
def _told() -> Iterator[Told]:
    """Bars of what is fetched, and of what is evaluated."""
    from visionjobs.training.evaluate import Told

    with byte_progress() as transfers, counting_progress() as bar:
        task = bar.add_task("evaluating", total=None)

        def transfer(what: str, total: int) -> OnBytes:
            fetching = transfers.add_task(f"fetching {what}", total=total, visible=False)
            return lambda count: transfers.update(fetching, advance=count, visible=True)

        def samples(count: int, total: int) -> None:
            bar.update(task, advance=count, total=total)

        yield Told(transfer, samples, lambda stage: bar.update(task, description=stage), print_warning)


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
