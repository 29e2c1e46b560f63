"""Which mistakes a report shows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionjobs.mistakes import (
    MOST_CLASSES,
    MOST_CONFIDENT,
    PER_CLASS,
    chosen_mistakes,
    mistakes,
    most_confident,
    shown_classes,
    three_per_class,
)
from visionjobs.predictions import Predictions


def predictions(labels: list[int], predicted: list[int], strength: list[float], classes: int = 3) -> Predictions:
    """Sample i is predicted as predicted[i], the more confidently the larger strength[i] > 0."""
    logits = np.zeros((len(labels), classes), np.float32)
    logits[np.arange(len(labels)), predicted] = strength
    names = tuple(f"class {number}" for number in range(classes))
    return Predictions("val", names, tuple(map(str, labels)), np.array(labels, np.int64), logits)


def test_the_most_confident_mistakes_of_each_true_class() -> None:
    given = predictions([0, 0, 0, 0, 0, 1, 2], [1, 2, 1, 0, 2, 0, 2], [1, 4, 2, 9, 3, 5, 9])
    assert mistakes(given).tolist() == [5, 1, 4, 2, 0]
    assert {label: rows.tolist() for label, rows in three_per_class(given).items()} == {0: [1, 4, 2], 1: [5], 2: []}
    assert chosen_mistakes(given).tolist() == [0, 1, 2, 4, 5]  # row 0 is among the most confident of all


def test_equal_confidence_keeps_the_order_of_the_split() -> None:
    assert mistakes(predictions([0] * 5, [1] * 5, [2.0] * 5)).tolist() == [0, 1, 2, 3, 4]


def test_a_confidence_that_is_not_a_number_comes_last() -> None:
    assert mistakes(predictions([0, 0, 0], [1, 1, 1], [np.nan, 0.1, 3.0])).tolist() == [2, 1, 0]


def test_of_very_many_classes_those_with_the_most_mistakes_are_kept() -> None:
    """200 classes with a mistake each, 70 of them with three."""
    labels = [label for label in range(200) for _ in range(3 if label % 20 < 7 else 1)]
    made = predictions(labels, [200] * len(labels), [float(1 + row % 5) for row in range(len(labels))], classes=201)
    shown = shown_classes(made)
    assert shown == [label for label in range(200) if label % 20 < 7][:MOST_CLASSES]
    kept = set(chosen_mistakes(made).tolist())
    assert len(kept) <= 3 * MOST_CLASSES + MOST_CONFIDENT
    assert all(set(three_per_class(made)[label].tolist()) <= kept for label in shown)


@pytest.mark.parametrize("labels", [[], [0, 1, 2]])
def test_without_mistakes_nothing_is_chosen(labels: list[int]) -> None:
    chosen = chosen_mistakes(predictions(labels, labels, [1.0] * len(labels)))
    assert (chosen.tolist(), chosen.dtype) == ([], np.int64)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0.125, 8)), max_size=60))
def test_what_is_chosen_is_what_is_shown(rows: list[tuple[int, int, float]]) -> None:
    made = predictions([a for a, _, _ in rows], [b for _, b, _ in rows], [c for _, _, c in rows], classes=4)
    chosen, wrong = chosen_mistakes(made), set(np.flatnonzero(~made.correct).tolist())
    by_class = three_per_class(made)
    assert chosen.tolist() == sorted(
        {*most_confident(made).tolist(), *(row for part in by_class.values() for row in part)}
    )
    assert set(chosen.tolist()) <= wrong
    assert len(most_confident(made)) == min(MOST_CONFIDENT, len(wrong))
    for label, part in by_class.items():
        assert (made.labels[part] == label).all()
        assert len(part) == min(PER_CLASS, int((made.labels[list(wrong)] == label).sum()))
        left = [row for row in wrong if made.labels[row] == label and row not in part]
        assert all(made.confidence[row] <= made.confidence[part].min() for row in left)


def test_choosing_needs_no_matplotlib() -> None:
    code = "import sys, visionjobs.mistakes; print([name for name in ('matplotlib', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
