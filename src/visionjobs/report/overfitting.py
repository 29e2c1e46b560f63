"""The section on over-fitting: how training and validation part, as curves, as numbers, and as a verdict by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from visionjobs.report import figures
from visionjobs.report.formatting import decimal, plain, signed
from visionjobs.report.page import Block, Cell, Column, Figure, Gallery, Section, Table, Text
from visionjobs.report.summary import Row, RunSummary, as_number

RISE = 0.05
"""Share by which the validation loss must have risen since its lowest point to be called over-fitting."""

RULE = (
    f"Rule: over-fitting is said to be seen where, after its lowest point, the validation loss rose by more than "
    f"{100 * RISE:.0f} % until the end while the training loss went on falling."
)

CAUTION = (
    "Training figures are measured while training: over an epoch in which the weights changed, on samples as they were "
    "trained on (augmented ones included, with dropout); validation figures, at the end of the epoch. So a gap may be "
    "below zero, above all in the first epochs."
)


PLAIN = (
    "The training loss of this section is the plain cross-entropy, as the validation loss is: without class weights, "
    "label smoothing and auxiliary head."
)


@dataclass(frozen=True)
class Losses:
    """Losses of the epochs (counted from 1) where the validation loss was lowest, and of the last one. In nats."""

    lowest_epoch: int
    last_epoch: int
    lowest_val: float
    last_val: float
    train_at_lowest: float
    last_train: float

    @property
    def rise(self) -> float:
        """Of the validation loss since its lowest point, as a share of it; 0 where it was lowest at the end."""
        return (self.last_val - self.lowest_val) / self.lowest_val if self.last_val > self.lowest_val else 0.0

    @property
    def overfitted(self) -> bool:
        """By the rule."""
        return self.rise > RISE and self.last_train < self.train_at_lowest


def train_loss(run: RunSummary, row: Row) -> float | None:
    """The training loss as the validation loss is defined, in nats: without label smoothing, and for segmentation
    without class weights and auxiliary head.

    In classification, the cross-entropy term is (1 - smoothing) times it (theory.label_smoothing_terms).
    """
    if run.task == "segmentation":
        return as_number(row.get("train_ce"))
    smoothing = as_number(run.setting("train.label_smoothing")) or 0.0
    loss = as_number(row.get("train_ce" if smoothing else "train_loss"))
    return None if loss is None else loss / (1 - smoothing)


def losses(run: RunSummary) -> Losses | None:
    """None before two epochs have both losses."""
    rows = [
        (row["epoch"] + 1, val, train)
        for row in run.history
        if (val := as_number(row.get("val_loss"))) is not None and (train := train_loss(run, row)) is not None
    ]
    if len(rows) < 2:
        return None
    (lowest_epoch, lowest_val, train_at_lowest), (last_epoch, last_val, last_train) = (
        min(rows, key=lambda row: row[1]),
        rows[-1],
    )
    return Losses(lowest_epoch, last_epoch, lowest_val, last_val, train_at_lowest, last_train)


def verdict(found: Losses) -> str:
    """What the rule says, with the numbers behind it."""
    risen = f"the validation loss rose by {100 * found.rise:.1f} %"
    if found.lowest_epoch == found.last_epoch:
        return "Over-fitting was not seen: the validation loss was lowest in the last epoch."
    trained = f"from {decimal(found.train_at_lowest)} to {decimal(found.last_train)}"
    since = f"after its lowest point in epoch {found.lowest_epoch}"
    if found.overfitted:
        return f"Over-fitting was seen: {since}, {risen} while the training loss went on falling, {trained}."
    if found.rise > RISE:
        return f"Over-fitting was not seen: {since}, {risen}, but the training loss did not fall ({trained})."
    return f"Over-fitting was not seen: {since}, {risen}, which is not more than {100 * RISE:.0f} %."


def score_gap(row: Row, score: str) -> float | None:
    """Training less validation score."""
    return _difference(as_number(row.get(f"train_{score}")), as_number(row.get(f"val_{score}")))


def loss_gap(run: RunSummary, row: Row) -> float | None:
    """Validation less training loss, in nats."""
    return _difference(as_number(row.get("val_loss")), train_loss(run, row))


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def overfitting(run: RunSummary, score: str, name: str) -> Section | None:
    """Gaps by epoch, the numbers, the verdict; None where no epoch has both sides of a gap.

    score: `train_<score>` and `val_<score>` are columns of the history, the higher the better; name: how it is called.
    """
    drawn = tuple(_gaps(run, score, name))
    if not drawn:
        return None
    found = losses(run)
    said = verdict(found) if found else "One epoch tells nothing of over-fitting: no verdict."
    blocks: tuple[Block, ...] = (Text(f"{said} {RULE}"), Gallery(drawn), _table(run, found, score, name), Text(CAUTION))
    if run.task == "segmentation":
        blocks += (Text(PLAIN),)
    elif run.setting("train.label_smoothing"):
        blocks += (
            Text(
                "The training loss of this section is taken without label smoothing, as the validation loss is: the "
                "cross-entropy term divided by 1 less the smoothing."
            ),
        )
    return Section("overfitting", "Over-fitting", blocks)


def _gaps(run: RunSummary, score: str, called: str) -> Iterator[Figure]:
    epochs, best = [row["epoch"] + 1 for row in run.history], run.best_epoch(f"val_{score}")
    wanted: tuple[tuple[str, str, Callable[[Row], float | None], str], ...] = (
        ("loss", "loss gap (nats)", lambda row: loss_gap(run, row), "Gap in loss by epoch: validation less training"),
        (score, f"{called} gap", lambda row: score_gap(row, score),
         f"Gap in {called} by epoch: training less validation"),
    )  # fmt: skip
    for name, ylabel, measure, caption in wanted:
        values = [measure(row) for row in run.history]
        if any(value is not None for value in values):
            png = figures.curves(epochs, {"gap": values}, ylabel, best, zero=True)
            yield Figure(f"{name}_gap", png, f"{caption}; above zero: better on what was trained on")


def _table(run: RunSummary, found: Losses | None, score: str, called: str) -> Table:
    rows = {row["epoch"] + 1: row for row in run.history}
    best, last = run.best_epoch(f"val_{score}"), max(rows)
    moments = [(f"Highest validation {called}", best)]
    moments += [("Lowest validation loss", found.lowest_epoch)] if found else []
    moments += [("End", last)]
    return Table(
        "Over-fitting",
        (Column("Moment", numeric=False), *map(Column, ("Epoch", "Validation loss", "Its rise since the lowest",
         "Training loss", "Gap in loss", f"Gap in {called}"))),
        tuple(
            (*_moment(run, name, row, epoch, found), Cell(signed(score_gap(row, score))))
            for name, epoch in moments
            for row in (rows.get(epoch or 0, {}),)
        ),
    )  # fmt: skip


def _moment(run: RunSummary, name: str, row: Row, epoch: int | None, found: Losses | None) -> tuple[Cell, ...]:
    val = as_number(row.get("val_loss"))
    rise = None if found is None or val is None or (epoch or 0) < found.lowest_epoch else val - found.lowest_val
    share = () if not rise or found is None else (f"{100 * rise / found.lowest_val:.1f} %",)
    return (
        Cell(name),
        Cell(plain(epoch)),
        Cell(decimal(val)),
        Cell(signed(rise), share),
        Cell(decimal(train_loss(run, row))),
        Cell(signed(loss_gap(run, row))),
    )
