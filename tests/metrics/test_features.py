"""Figures of features: blobs that are apart, features that say nothing, a class that moves; and small or odd input."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_score

from visionjobs import theory
from visionjobs.metrics import features as f

CLASSES = ("bear", "dog", "tiger")


def blobs(n: int, apart: float, seed: int, dimensions: int = 20) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    centres = np.random.default_rng(99).normal(size=(len(CLASSES), dimensions))
    return (apart * centres[labels] + generator.normal(size=(n, dimensions))).astype(np.float32), labels


def analyse(train, val, **options) -> f.FeatureAnalysis:
    return f.analyse_features(*train, *val, CLASSES, layer="fc", **options)


@pytest.fixture(scope="module")
def separable() -> f.FeatureAnalysis:
    return analyse(blobs(150, 8, 0), blobs(60, 8, 1), seed=3)


def slow_knn_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    right = 0
    for i, x in enumerate(features):
        others = [j for j in range(len(features)) if j != i]
        others.sort(key=lambda j: math.dist(x, features[j]))
        voters = [int(labels[j]) for j in others[:10]]
        right += max(voters, key=lambda label: (voters.count(label), -voters.index(label))) == labels[i]
    return right / len(features)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), n=st.integers(3, 40), k=st.integers(2, 5), dimensions=st.integers(1, 8))
def test_separation_is_that_of_scikit_learn_and_of_a_slow_loop(seed: int, n: int, k: int, dimensions: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.concatenate([[0, 0, 1], generator.integers(k, size=n - 3)])
    features = generator.normal(size=(n, dimensions)) + 0.7 * labels[:, None]
    found = f.separation(features, labels)
    assert found.silhouette == pytest.approx(silhouette_score(features, labels), abs=1e-6)
    assert found.knn_accuracy == pytest.approx(slow_knn_accuracy(features, labels), abs=1e-12)


def test_of_tied_classes_that_of_the_nearest_wins() -> None:
    # the sample at 0 has two neighbours of each class; the nearest, at 1, is of class 1
    features, labels = np.array([[0.0], [1.0], [-2.0], [3.0], [-4.0]]), np.array([1, 1, 0, 1, 0])
    votes_right = f._knn_accuracy(features, labels)
    assert votes_right == slow_knn_accuracy(features, labels)
    assert f._knn_accuracy(features, np.array([0, 1, 0, 1, 0])) < votes_right


def test_separable_classes(separable: f.FeatureAnalysis) -> None:
    train, val = separable.numbers["train"], separable.numbers["val"]
    # t-SNE fills the room: in 3D it spreads each of three small blobs out
    expected = ((train, 0.8), (train["tsne_2d"], 0.5), (val, 0.8), (val["tsne_2d"], 0.5), (val["tsne_3d"], 0.1))
    for measured, least in expected:
        assert measured["silhouette"] > least
        assert measured["knn_accuracy"] > 0.9


def test_features_that_say_nothing() -> None:
    numbers = analyse(blobs(150, 0, 0), blobs(60, 0, 1)).numbers
    for split in ("train", "val"):
        assert abs(numbers[split]["silhouette"]) < 0.05
        assert numbers[split]["knn_accuracy"] == pytest.approx(1 / 3, abs=0.2)
        assert numbers[split]["tsne_2d"]["silhouette"] < 0.2


def test_the_documented_keys_and_shapes(separable: f.FeatureAnalysis) -> None:
    numbers = separable.numbers
    assert list(numbers) == [
        "layer", "dimensions", "seed", "pca", "perplexity", "neighbours", "train", "val", "shift",
    ]  # fmt: skip
    assert (numbers["layer"], numbers["dimensions"], numbers["seed"], numbers["pca"]) == ("fc", 20, 3, 20)
    assert (numbers["perplexity"], numbers["neighbours"]) == (pytest.approx(59 / 3), 10)
    assert list(numbers["train"]) == ["n", "silhouette", "knn_accuracy", "tsne_2d"]
    assert list(numbers["val"]) == ["n", "silhouette", "knn_accuracy", "tsne_2d", "tsne_3d"]
    assert list(numbers["val"]["tsne_3d"]) == ["n", "pca", "perplexity", "silhouette", "knn_accuracy"]
    assert numbers["train"]["tsne_2d"]["perplexity"] == 30
    assert list(numbers["shift"]["per_class"]) == list(CLASSES)
    assert list(numbers["shift"]["per_class"]["dog"]) == [
        "train_n", "val_n", "dimensions", "cross_entropy", "entropy", "divergence", "chance",
    ]  # fmt: skip
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    found = {name: (array.shape, str(array.dtype)) for name, array in separable.embeddings.items()}
    assert found == {
        "train_2d": ((150, 2), "float32"), "train_labels": ((150,), "int64"),
        "val_2d": ((60, 2), "float32"), "val_3d": ((60, 3), "float32"), "val_labels": ((60,), "int64"),
    }  # fmt: skip


def test_the_same_again_gives_the_same_to_the_bit(separable: f.FeatureAnalysis) -> None:
    again = analyse(blobs(150, 8, 0), blobs(60, 8, 1), seed=3)
    assert again.numbers == separable.numbers
    for name, array in separable.embeddings.items():
        assert np.array_equal(again.embeddings[name], array), name


def test_stages_are_told_in_order() -> None:
    stages: list[str] = []
    analyse(blobs(12, 1, 0), blobs(6, 1, 1), on_stage=stages.append)
    assert stages == [
        "silhouette and k-NN, train", "t-SNE in 2D, train", "silhouette and k-NN, val", "t-SNE in 2D, val",
        "t-SNE in 3D, val", "shift of the features",
    ]  # fmt: skip


def test_of_more_samples_some_are_embedded_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f, "MAX_EMBEDDED", 21)
    found = analyse(blobs(61, 8, 0), blobs(6, 8, 1))
    assert found.numbers["train"]["n"] == 61
    assert found.numbers["train"]["tsne_2d"]["n"] == len(found.embeddings["train_2d"]) == 21
    assert found.embeddings["train_labels"].tolist() == [i % 3 for i in range(0, 61, 3)]


def test_a_class_with_one_sample_and_one_with_none() -> None:
    train, labels = blobs(30, 8, 0)
    labels = np.where(labels == 1, 0, labels)
    labels[0] = 1
    val, val_labels = blobs(12, 8, 1)
    found = analyse((train, labels), (val[val_labels != 2], val_labels[val_labels != 2])).numbers
    nothing = dict.fromkeys(["cross_entropy", "entropy", "divergence", "chance"])
    assert found["shift"]["per_class"]["dog"] == {"train_n": 1, "val_n": 4, "dimensions": 0, **nothing}
    assert found["shift"]["per_class"]["tiger"] == {"train_n": 10, "val_n": 0, "dimensions": 0, **nothing}
    assert found["train"]["silhouette"] is not None
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_too_few_samples_to_embed(n: int) -> None:
    found = analyse(blobs(9, 8, 0), blobs(n, 8, 1))
    assert not {"val_2d", "val_3d", "val_labels"} & set(found.embeddings)
    nothing = {"n": 0, "pca": None, "perplexity": None, "silhouette": None, "knn_accuracy": None}
    assert found.numbers["val"]["tsne_2d"] == found.numbers["val"]["tsne_3d"] == nothing
    assert found.numbers["val"]["silhouette"] is None  # each has a class of its own
    assert (found.numbers["val"]["knn_accuracy"] is None) == (n < 2)
    assert (found.numbers["pca"], found.numbers["perplexity"]) == (None, None)
    json.dumps(found.numbers, allow_nan=False)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 200])
@pytest.mark.parametrize("n", [4, 5, 11])
def test_few_samples_and_few_dimensions_are_embedded(n: int, dimensions: int) -> None:
    found = f.embed(blobs(n, 8, 0, dimensions)[0], 3, seed=0)
    assert found is not None
    assert found.points.shape == (n, 3)
    assert np.isfinite(found.points).all()
    assert (found.pca, found.perplexity) == (min(n, dimensions), pytest.approx((n - 1) / 3))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_features_does_not_matter(scale: float) -> None:
    features, labels = blobs(30, 8, 0)
    scaled = (features * np.float32(scale)).astype(np.float32)
    found = f.embed(scaled, 2, seed=0)
    assert found is not None
    assert f.separation(found.points, labels).knn_accuracy == 1.0
    assert f.separation(scaled, labels).silhouette == pytest.approx(f.separation(features, labels).silhouette, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_constant_features(value: float) -> None:
    train, val = np.full((12, 5), value, np.float32), np.full((9, 5), value, np.float32)
    found = analyse((train, np.arange(12) % 3), (val, np.arange(9) % 3))
    assert found.embeddings == {}
    assert found.numbers["train"]["silhouette"] is None
    assert found.numbers["train"]["knn_accuracy"] is None
    nothing = dict.fromkeys(["cross_entropy", "entropy", "divergence", "chance"])
    assert found.numbers["shift"]["per_class"]["bear"] == {"train_n": 4, "val_n": 3, "dimensions": 0, **nothing}


def test_samples_that_are_not_finite_are_left_out() -> None:
    (train, labels), val = blobs(30, 8, 0), blobs(12, 8, 1)
    broken, labels_too = np.concatenate([train, train[:2]]), np.concatenate([labels, labels[:2]])
    broken[30, 4], broken[31, 0] = math.inf, math.nan
    found, expected = analyse((broken, labels_too), val), analyse((train, labels), val)
    assert found.numbers == expected.numbers
    assert found.numbers["train"]["n"] == 30


def test_one_class_alone_separates_from_nothing() -> None:
    features = blobs(12, 0, 0)[0]
    assert f.separation(features, np.zeros(12, int)) == (None, None)


def test_the_shift_is_the_mean_of_the_formulas_over_the_dimensions() -> None:
    generator = np.random.default_rng(4)
    train, val = generator.normal(2, 3, size=(40, 6)), generator.normal(1, 2, size=(15, 6))
    train[:, 1] = 0.1  # does not vary in training
    val[:, 4] = 1 / 3  # does not vary in validation
    found = f.gaussian_shift(train, val)
    assert (found["train_n"], found["val_n"], found["dimensions"]) == (40, 15, 4)
    used = [0, 2, 3, 5]
    pairs = [(val[:, d].mean(), val[:, d].std(ddof=1), train[:, d].mean(), train[:, d].std(ddof=1)) for d in used]
    expected = {
        "cross_entropy": np.mean([theory.gaussian_cross_entropy(*pair) for pair in pairs]),
        "entropy": np.mean([theory.gaussian_entropy(pair[1]) for pair in pairs]),
        "divergence": np.mean([theory.gaussian_divergence(*pair) for pair in pairs]),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert found["divergence"] == pytest.approx(found["cross_entropy"] - found["entropy"], abs=1e-9)


@pytest.mark.parametrize("val_n", [12, 200])
def test_the_shift_of_the_same_distribution_is_that_of_chance(val_n: int) -> None:
    generator = np.random.default_rng(0)
    found = f.gaussian_shift(generator.normal(size=(400, 200)), generator.normal(size=(val_n, 200)))
    assert found["divergence"] == pytest.approx(found["chance"], rel=0.2)
    assert found["chance"] == pytest.approx(1 / val_n + 1 / 400, rel=0.3)  # half a nat a parameter and sample size


def test_a_shifted_class_is_far_above_chance() -> None:
    generator = np.random.default_rng(0)
    found = f.gaussian_shift(generator.normal(size=(400, 50)), generator.normal(1.0, 1.0, size=(100, 50)))
    assert found["divergence"] == pytest.approx(0.5, rel=0.1)  # KL of means one standard deviation apart
    assert found["divergence"] > 10 * found["chance"]


def test_the_chance_is_seeded() -> None:
    generator = np.random.default_rng(0)
    train, val = generator.normal(size=(20, 5)), generator.normal(size=(10, 5))
    assert f.gaussian_shift(train, val, seed=(1, 2)) == f.gaussian_shift(train, val, seed=(1, 2))
    assert f.gaussian_shift(train, val, seed=1)["chance"] != f.gaussian_shift(train, val, seed=2)["chance"]


def test_arguments_that_do_not_fit_raise() -> None:
    train, labels = blobs(9, 1, 0)
    with pytest.raises(ValueError, match="expected features"):
        analyse((train, labels), (train[:, :3], labels))
    with pytest.raises(ValueError, match="expected features"):
        analyse((train, labels[:2]), (train, labels))
    with pytest.raises(ValueError, match=r"classes in 0\.\.2"):
        analyse((train, labels), (train, labels + 1))
