"""Which misclassified samples a run's report shows: chosen here once, for who keeps their images and who draws them."""

from __future__ import annotations

import numpy as np

from visionjobs.predictions import Indices, Predictions

PER_CLASS = 3
MOST_CONFIDENT = 12


def mistakes(predictions: Predictions) -> Indices:
    """Rows of the misclassified samples, int64: the most confident first, of equal ones the earlier row.

    A confidence that is not a number (logits that are not finite) comes last.
    """
    rows = np.flatnonzero(~predictions.correct)
    confidence = np.nan_to_num(predictions.confidence[rows], nan=-1.0)
    return np.asarray(rows[np.argsort(-confidence, kind="stable")], np.int64)


def three_per_class(predictions: Predictions) -> dict[int, Indices]:
    """Class number -> rows of its PER_CLASS most confident mistakes, fewer or none where it has fewer.

    Every class has an entry, in the order of the classes; the class is the true one.
    """
    rows = mistakes(predictions)
    labels = predictions.labels[rows]
    return {label: rows[labels == label][:PER_CLASS] for label in range(len(predictions.classes))}


def most_confident(predictions: Predictions) -> Indices:
    """Rows of the MOST_CONFIDENT most confident mistakes of all classes together, fewer where there are fewer."""
    return mistakes(predictions)[:MOST_CONFIDENT]


def chosen_mistakes(predictions: Predictions) -> Indices:
    """Rows that a report shows, int64, sorted, without repeats: the images to keep in SampleImages."""
    chosen = (most_confident(predictions), *three_per_class(predictions).values())
    return np.unique(np.concatenate(chosen)).astype(np.int64)
