"""Which misclassified samples a run's report shows: chosen here once, for who keeps their images and who draws them."""

from __future__ import annotations

import numpy as np

from visionjobs.predictions import Indices, Predictions

PER_CLASS = 3
MOST_CONFIDENT = 12

MOST_CLASSES = 60
"""Classes whose mistakes are shown, so that neither the page nor the images kept for it grow without end."""


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


def shown_classes(predictions: Predictions) -> list[int]:
    """The classes whose mistakes are shown, in their order: of more than MOST_CLASSES those with the most mistakes."""
    wrong = np.bincount(predictions.labels[~predictions.correct], minlength=len(predictions.classes))
    return sorted(np.argsort(-wrong, kind="stable")[:MOST_CLASSES].tolist())


def most_confident(predictions: Predictions) -> Indices:
    """Rows of the MOST_CONFIDENT most confident mistakes of all classes together, fewer where there are fewer."""
    return mistakes(predictions)[:MOST_CONFIDENT]


def chosen_mistakes(predictions: Predictions) -> Indices:
    """Rows that a report shows, int64, sorted, without repeats: the images to keep in SampleImages."""
    by_class = three_per_class(predictions)
    chosen = (most_confident(predictions), *(by_class[label] for label in shown_classes(predictions)))
    return np.unique(np.concatenate(chosen)).astype(np.int64)
