"""The sections of a comparison's page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from visionjobs.report.compare_classes import classes, score_cell
from visionjobs.report.compare_figures import Curve, Score, run_curves, score_bars
from visionjobs.report.compare_pairs import breakable, interval_line
from visionjobs.report.compare_runs import Compared, dataset_of, evaluated_split
from visionjobs.report.formatting import NOT_AVAILABLE, count, decimal, duration, moment, plain, signed
from visionjobs.report.overfitting import loss_gap, score_gap
from visionjobs.report.page import Block, Bullets, Cell, Column, Figure, Gallery, Page, Section, Table, Text, Tile
from visionjobs.report.results import interval, of_sample, percent_level, published_cell
from visionjobs.report.summary import Row, RunSummary, as_number
from visionjobs.report.task import CurveFigure, Metric

GAPS = (
    "Best epoch: the one with the highest {score}; weights and figures are those of the end of training. Gaps are of "
    "the last epoch, and above zero mean better on what was trained on: loss, validation less training, {loss}; {gap}, "
    "training less validation. Training figures are means over an epoch, augmented {unit} included, while the weights "
    "changed. Images/s: in training, over all workers and epochs. Time: of all attempts."
)


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
        _results(compared),
        _published(compared),
        compared.kind.test.section(compared.pairs, compared.labels),
        _training(compared),
        classes(compared),
        _settings(compared),
        _provenance(compared),
    )
    title = f"Comparison of {len(compared.runs)} runs"
    return Page(title, subtitle, tuple(_tiles(compared)), tuple(section for section in sections if section is not None))


def _best(compared: Compared, metric: Metric) -> tuple[float | None, list[int]]:
    """The best value of a metric and the places of the runs that show it; none where all do, or where the runs'
    losses are not over the same pixels."""
    if metric.key == "loss" and compared.losses_differ:
        return None, []
    values = [run.value(metric.key) for run in compared.runs]
    there = [value for value in values if value is not None]
    if not there:
        return None, []
    best = max(there) if metric.higher_is_better else min(there)
    places = [place for place, value in enumerate(values) if decimal(value) == decimal(best)]
    return best, places if len(places) < len(values) else []


def _tiles(compared: Compared) -> Iterator[Tile]:
    for metric in _headline(compared):
        best, places = _best(compared, metric)
        whose = ", ".join(compared.labels[place] for place in places) or ("" if best is None else "all runs")
        more = interval(compared.runs[places[0]], metric.key) if len(places) == 1 else ()
        yield Tile(f"Best {_within_a_line(metric.title)}", decimal(best), whose, more)
    different = sum(pair.differs for pair in compared.pairs)
    tested = sum(pair.tested for pair in compared.pairs)
    value = f"{different} of {tested}" if tested else NOT_AVAILABLE
    yield Tile("Pairs that differ", value, compared.kind.test.name)


def _headline(compared: Compared) -> list[Metric]:
    known = {metric.key: metric for metric in compared.task.metrics}
    return [known[key] for key in compared.kind.headline]


def _within_a_line(title: str) -> str:
    """Accuracy -> accuracy, but F1 and ECE stay."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title


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


def _run_column(compared: Compared, columns: tuple[str, ...]) -> tuple[Column, ...]:
    return (Column("Run", numeric=False), *map(Column, columns))


def _results(compared: Compared) -> Section:
    metrics = compared.metrics
    best = {metric.key: _best(compared, metric)[1] for metric in metrics}
    rows = []
    for place, (run, label) in enumerate(zip(compared.runs, compared.labels, strict=True)):
        cells = []
        for metric in metrics:
            is_best = place in best[metric.key]
            cells.append(score_cell(run.value(metric.key), is_best, interval_line(run.interval(metric.key))))
        rows.append((Cell(breakable(label), (run.run,) if label != run.run else ()), *cells))
    table = Table("Results", _run_column(compared, tuple(metric.title for metric in metrics)), tuple(rows))
    main = _headline(compared)[0]
    scores = [
        Score(label, run.value(main.key), run.interval(main.key), _comparable(run, main.key))
        for run, label in zip(compared.runs, compared.labels, strict=True)
    ]
    level = percent_level(compared.runs[0])
    figure = Figure(
        f"{main.key.replace('.', '_')}_by_run",
        score_bars(scores, _within_a_line(main.title), f"{level} confidence interval"),
        f"{main.title} by run, with {level} confidence interval" + _if_published(scores),
    )
    definitions = Bullets(tuple(f"{metric.title}: {metric.definition}" for metric in metrics))
    return Section("results", "Results", (table, Gallery((figure,)), *_method(compared), definitions))


def _published_value(run: RunSummary, key: str) -> float | None:
    return as_number(run.published.get(key, {}).get("value"))


def _comparable(run: RunSummary, key: str) -> float | None:
    """The published figure, None for a drawn sample."""
    return None if of_sample(run) else _published_value(run, key)


def _if_published(scores: list[Score]) -> str:
    there = any(score.published is not None for score in scores)
    return "; the diamond is the published figure" if there else ""


def _method(compared: Compared) -> Iterator[Block]:
    run = compared.runs[0]
    given = run.values.get("intervals") or {}
    if given:
        yield Text(
            f"Small figures: {percent_level(run)} confidence intervals, {plain(given.get('method'))} "
            f"({count(as_number(given.get('resamples')))} resamples). Two that overlap do not show that the runs are "
            f"alike: the pairs below are tested on the same {compared.task.unit}, which shows smaller differences."
        )


def _published(compared: Compared) -> Section | None:
    rows = [
        _published_row(compared, run, f"{breakable(label)}: ", key)
        for run, label in zip(compared.runs, compared.labels, strict=True)
        for key in run.published
    ]
    if not rows:
        return None
    level = percent_level(compared.runs[0])
    numbers = ("Published", "Ours", "Difference", "Published lies in our interval")
    columns = (Column("Run and metric", numeric=False), *map(Column, numbers))
    text = Text(f"Small figures below ours: {level} confidence intervals. Difference: ours less the published figure.")
    return Section("published", "Published figures", (Table("Published figures", columns, tuple(rows)), text))


def _published_row(compared: Compared, run: RunSummary, prefix: str, key: str) -> tuple[Cell, ...]:
    metric = {metric.key: metric for metric in compared.task.metrics}.get(key)
    ours, theirs, ends = run.value(key), _published_value(run, key), run.interval(key)
    return (
        Cell(f"{prefix}{metric.title if metric else key}", (f"Published: {plain(run.published[key].get('source'))}",)),
        Cell(decimal(theirs)),
        Cell(decimal(ours), interval_line(ends)),
        published_cell(run, key, metric.higher_is_better if metric else None),
        Cell(plain(lies_within(_comparable(run, key), ends))),
    )


def lies_within(value: float | None, ends: tuple[float, float] | None) -> bool | None:
    """Whether a value lies in an interval, the ends included; None without one of them."""
    return None if value is None or ends is None else ends[0] <= value <= ends[1]


def _training(compared: Compared) -> Section:
    kind = compared.kind
    columns: dict[str, Callable[[RunSummary], str]] = {
        "Model": lambda run: plain(run.setting("model.name")),
        "Epochs": lambda run: plain(compared.epochs(run)),
        "Best epoch": lambda run: plain(run.best_epoch(compared.task.score)),
        "Loss gap": lambda run: signed(loss_gap(run, _last(run))),
        f"{kind.score_title} gap": lambda run: signed(score_gap(_last(run), kind.score)),
        "Images/s": lambda run: decimal(compared.images_per_second(run), 1),
        "Time": lambda run: duration(_seconds(run)),
        "GPU-hours": lambda run: plain(run.record.get("gpu_hours")),
    }
    rows = tuple(
        (Cell(breakable(label)), *(Cell(show(run)) for show in columns.values()))
        for run, label in zip(compared.runs, compared.labels, strict=True)
    )
    heads = (Column("Run", numeric=False), *(Column(head, numeric=head != "Model") for head in columns))
    told = Text(
        GAPS.format(
            score=compared.task.score_name,
            loss=kind.loss,
            gap=_within_a_line(kind.score_title),
            unit=compared.task.unit,
        )
    )
    drawn = [tuple(_curves(compared, curve)) for curve in compared.task.curves]
    galleries = (Gallery(figures) for figures in drawn if figures)
    return Section("training", "Training", (*galleries, Table("Training", heads, rows), told))


def _seconds(run: RunSummary) -> float | None:
    """Of all attempts."""
    found = [seconds for item in run.attempts if (seconds := as_number(item.get("seconds"))) is not None]
    return sum(found) if found else None


def _last(run: RunSummary) -> Row:
    return run.history[-1] if run.history else {}


def _curves(compared: Compared, wanted: CurveFigure) -> Iterator[Figure]:
    """Validation before training, each with the runs that have it."""
    for line, key in sorted(wanted.lines.items(), reverse=True):
        curves = {}
        for run, label in zip(compared.runs, compared.labels, strict=True):
            values = [as_number(row.get(key)) for row in run.history]
            epochs = [row["epoch"] + 1 for row in run.history]
            curves[label] = Curve(epochs, values, run.best_epoch(compared.task.score))
        if any(value is not None for curve in curves.values() for value in curve.values):
            png = run_curves(curves, f"{line} {wanted.ylabel}", wanted.limits)
            caption = f"{line.capitalize()} {wanted.ylabel} by epoch; the ring marks each run's best epoch"
            yield Figure(f"{wanted.name}_{line}", png, caption)


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
