"""Recalibration: it finds what was distorted, from one half of the images alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from visionjobs.boxes import Bools, Floats, Ints
from visionjobs.metrics.recalibration import fit_temperature, isotonic, recalibration, with_temperature

IMAGES = 400


def distorted(temperature: float, seed: int = 0, number: int = 40_000) -> tuple[Floats, Bools, Ints]:
    """Detections right with a probability whose logit, times `temperature`, is that of their confidence."""
    random = np.random.default_rng(seed)
    probability = random.uniform(0.02, 0.98, number)
    right = random.random(number) < probability
    return expit(logit(probability) * temperature), right, random.integers(0, IMAGES, number)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_a_distortion_is_found(temperature: float) -> None:
    confidence, right, images = distorted(temperature)
    found = recalibration(confidence, right, images, IMAGES, 10)
    assert found["temperature"]["parameter"] == pytest.approx(temperature, rel=0.03)
    assert found["temperature"]["d_ece_after"] < 0.015
    assert found["isotonic"]["d_ece_after"] < 0.015
    assert (found["fitted_on"], found["shown_on"]) == (200, 200)
    if temperature != 1:
        assert found["temperature"]["d_ece_before"] > 0.08
    assert found["temperature"]["d_ece_before"] == found["isotonic"]["d_ece_before"]


def test_no_other_temperature_is_likelier() -> None:
    confidence, right, _ = distorted(1.7, seed=3, number=2_000)

    def likelihood(temperature: float) -> float:
        p = with_temperature(confidence, temperature)
        return float(np.log(np.where(right, p, 1 - p)).sum())

    best = fit_temperature(confidence, right)
    assert likelihood(best) >= max(likelihood(t) for t in np.geomspace(0.3, 10, 400))
    assert likelihood(best) > likelihood(best * 1.001)
    assert likelihood(best) > likelihood(best / 1.001)


def test_confidences_of_0_and_1_are_no_trouble() -> None:
    right = np.array([True, False, True, True])
    found = fit_temperature(np.array([0.0, 1.0, 1.0, 0.5]), right)
    assert 1 < found <= 100
    assert with_temperature(np.array([0.0, 0.5, 1.0]), found)[1] == pytest.approx(0.5)


def test_nothing_of_the_half_that_is_shown_is_fitted() -> None:
    confidence, right, images = distorted(2.0)
    honest = recalibration(confidence, right, images, IMAGES, 10)
    same, other = [], []
    for image in range(IMAGES):
        changed = recalibration(confidence, right ^ (images == image), images, IMAGES, 10)["temperature"]["parameter"]
        (same if changed == honest["temperature"]["parameter"] else other).append(image)
        if len(same) >= 5 and len(other) >= 5:
            break
    assert len(same) >= 5
    assert len(other) >= 5
    of_shown = np.isin(images, same)
    shown = recalibration(confidence, right ^ of_shown, images, IMAGES, 10)
    assert shown["temperature"]["parameter"] == honest["temperature"]["parameter"]
    assert shown["temperature"]["d_ece_before"] != honest["temperature"]["d_ece_before"]
    of_fitted = np.isin(images, other)
    fitted = recalibration(confidence, right ^ of_fitted, images, IMAGES, 10)
    assert fitted["temperature"]["d_ece_before"] == honest["temperature"]["d_ece_before"]


def test_what_is_shown_was_fitted_elsewhere() -> None:
    # of one image 1 of 4 is right, of the other 3 of 4, all at .4: what fits one is .5 off on the other, either way
    right = np.array([True, False, False, False, True, True, True, False])
    found = recalibration(np.full(8, 0.4), right, np.repeat([0, 1], 4), 2, 10)
    assert found["isotonic"]["d_ece_after"] == pytest.approx(0.5)
    assert found["isotonic"]["d_ece_before"] in (pytest.approx(0.15), pytest.approx(0.35))


def test_isotonic_ascends_and_is_the_steps_of_the_fitted_half() -> None:
    # (.1 right, .2 wrong) pool to .5; .3 wrong joins them: 1/3; .8 is right
    confidence, right = np.array([0.1, 0.2, 0.3, 0.8]), np.array([True, False, False, True])
    new = np.array([0.0, 0.1, 0.3, 0.55, 0.8, 1.0])
    assert isotonic(confidence, right, new).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 1, 1])
    confidence, right, _ = distorted(0.4, number=3_000)
    grid = np.linspace(0, 1, 500)
    assert (np.diff(isotonic(confidence, right, grid)) >= 0).all()
    steps = IsotonicRegression(out_of_bounds="clip").fit(confidence, right)
    np.testing.assert_allclose(isotonic(confidence, right, grid), steps.predict(grid))


def test_what_cannot_be_fitted_is_none() -> None:
    nothing = recalibration(np.array([]), np.array([], bool), np.array([], int), 10, 10)
    assert nothing == {
        "temperature": {"parameter": None, "d_ece_before": None, "d_ece_after": None},
        "isotonic": {"d_ece_before": None, "d_ece_after": None},
        "fitted_on": 5,
        "shown_on": 5,
    }
    all_right = recalibration(np.full(20, 0.75), np.ones(20, bool), np.arange(20), 20, 10)
    assert all_right["temperature"] == {"parameter": None, "d_ece_before": pytest.approx(0.25), "d_ece_after": None}
    one_image = recalibration(np.array([0.4, 0.6]), np.array([True, False]), np.array([0, 0]), 1, 10)
    assert (one_image["fitted_on"], one_image["shown_on"]) == (0, 1)
    assert one_image["temperature"]["parameter"] is None
