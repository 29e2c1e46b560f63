"""Over-fitting: the gaps, the rule and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from parsed_page import figures_of, section_page

from visionjobs.report.overfitting import Losses, losses, verdict
from visionjobs.report.overfitting import overfitting as any_overfitting
from visionjobs.report.page import Section
from visionjobs.report.summary import RunSummary

MakeRun = Callable[..., RunSummary]


def overfitting(run: RunSummary) -> Section | None:
    return any_overfitting(run, "accuracy", "accuracy")


def rows(val: Sequence[float | None], train: Sequence[float | None]) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "val_loss": a, "train_loss": b, "val_accuracy": 0.5 + epoch / 100, "train_accuracy": 0.75}
        for epoch, (a, b) in enumerate(zip(val, train, strict=True))
    ]


def measured(make_run: MakeRun, val: Sequence[float | None], train: Sequence[float | None]) -> Losses | None:
    return losses(make_run(smoothing=0.0, history=rows(val, train)))


def test_the_numbers_by_hand(make_run: MakeRun) -> None:
    run = make_run(smoothing=0.0, history=rows([1.2, 0.8, 0.9, 1.0], [1.5, 1.0, 0.6, 0.4]))
    assert losses(run) == Losses(2, 4, 0.8, 1.0, 1.0, 0.4)
    page = section_page(overfitting(run))
    assert page.row("Lowest validation loss", "Over-fitting")[1:] == [
        "2", "0.8000", "0.0000", "1.0000", "\N{MINUS SIGN}0.2000", "+0.2400"
    ]  # fmt: skip
    assert page.row("End", "Over-fitting")[1:] == ["4", "1.0000", "+0.2000", "0.4000", "+0.6000", "+0.2200"]
    assert page.row("Highest validation accuracy", "Over-fitting")[1] == "4"
    assert "Over-fitting was seen: after its lowest point in epoch 2, the validation loss rose by 25.0 %" in page.text


@pytest.mark.parametrize(
    ("val", "train", "seen", "words"),
    [
        ([1.0, 0.5, 0.6], [1.0, 0.9, 0.8], True, "rose by 20.0 % while the training loss went on falling"),
        ([1.0, 0.5, 0.52], [1.0, 0.9, 0.8], False, "rose by 4.0 %, which is not more than 5 %"),
        ([1.0, 0.5, 0.6], [1.0, 0.9, 0.95], False, "rose by 20.0 %, but the training loss did not fall"),
        ([1.0, 0.5, 0.6], [1.0, 0.9, 0.9], False, "but the training loss did not fall"),
        ([1.0, 0.6, 0.5], [1.0, 0.9, 0.8], False, "lowest in the last epoch"),
        ([1.0, 0.5, 0.9, 0.5], [1.0, 0.9, 0.8, 0.7], False, "rose by 0.0 %"),
    ],
)
def test_the_verdict_follows_the_rule(
    make_run: MakeRun, val: list[float], train: list[float], seen: bool, words: str
) -> None:
    found = measured(make_run, val, train)
    assert found is not None
    assert found.overfitted is seen
    assert words in verdict(found)
    assert verdict(found).startswith("Over-fitting was seen" if seen else "Over-fitting was not seen")


def test_one_epoch_has_no_verdict(make_run: MakeRun) -> None:
    page = section_page(overfitting(make_run(epochs=1)))
    assert "no verdict" in page.text
    assert "Over-fitting was" not in page.text
    assert page.row("End", "Over-fitting")[3] == "n/a"


def test_epochs_that_lack_a_loss_are_left_out(make_run: MakeRun) -> None:
    assert measured(make_run, [None, 0.5, float("nan"), 0.6], [1.0, 0.9, 0.8, 0.7]) == Losses(2, 4, 0.5, 0.6, 0.9, 0.7)
    assert measured(make_run, [None, 0.5], [1.0, 0.9]) is None


def test_without_validation_there_is_no_section(make_run: MakeRun) -> None:
    assert overfitting(make_run(history=[{"epoch": 0, "train_loss": 1.0}, {"epoch": 1, "train_loss": 0.5}])) is None
    assert overfitting(make_run(history=[])) is None


def test_label_smoothing_is_taken_out_of_the_training_loss(make_run: MakeRun) -> None:
    history = [
        {"epoch": epoch, "train_loss": 9.0, "train_ce": ce, "val_loss": 1.0, "val_accuracy": 0.5}
        for epoch, ce in enumerate((0.9, 0.45))
    ]
    found = losses(make_run(smoothing=0.1, history=history))
    assert found is not None
    assert (found.train_at_lowest, found.last_train) == pytest.approx((1.0, 0.5))
    assert (
        "without label smoothing, as the validation loss is"
        in section_page(overfitting(make_run(history=history))).text
    )
    plain = [{**row, "train_loss": row["train_ce"]} for row in history]
    assert "taken without label smoothing" not in section_page(overfitting(make_run(smoothing=0.0, history=plain))).text


def test_the_gap_figures_are_drawn_where_there_is_a_gap(make_run: MakeRun) -> None:
    history = [{"epoch": 0, "val_accuracy": 0.5, "train_accuracy": 0.6}]
    assert [figure.name for figure in figures_of(overfitting(make_run(history=history)))] == ["accuracy_gap"]
