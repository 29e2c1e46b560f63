"""Which images of a detection run are worth a look: those with most errors, and those whose labels may be wrong."""

from __future__ import annotations

import numpy as np

from visionjobs.boxes import Ints, Truth
from visionjobs.metrics.detection import FloorResult
from visionjobs.metrics.tide import ERRORS

WORST_IMAGES, LABEL_ERRORS = 12, 12
"""At most so many images of each kind."""

SUSPECT = ("Cls", "Bkg")
"""Errors that a wrong label may be behind: the object has another class, or was not annotated."""

SURE = 0.5
"""A detection with less confidence is no reason to doubt a label."""


def worst_images(truth: Truth, result: FloorResult) -> Ints:
    """Indices of the images with most errors: wrong detections and true boxes that nothing found; the most first."""
    wrong = (result.codes > 0) & (result.codes < len(ERRORS))
    number = len(truth.image_ids)
    errors = np.bincount(result.detections.images[wrong], minlength=number)
    errors += np.bincount(truth.images[result.missed], minlength=number)
    order = np.argsort(-errors, kind="stable")[:WORST_IMAGES]
    return order[errors[order] > 0]


def suspects(result: FloorResult) -> Ints:
    """Indices of the detections that a wrong label may be behind, the most confident first: one of each image."""
    kinds = [ERRORS.index(name) for name in SUSPECT]
    found = np.flatnonzero(np.isin(result.codes, kinds) & (result.detections.scores >= SURE))
    found = found[np.argsort(-result.detections.scores[found], kind="stable")]
    _, first = np.unique(result.detections.images[found], return_index=True)
    return found[np.sort(first)][:LABEL_ERRORS]
