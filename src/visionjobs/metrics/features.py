"""How well a model's features separate the classes, seen in two and three dimensions too, and how they shift
between training and validation.

Numpy and scikit-learn, on the CPU. The same arguments give the same numbers on the same machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

NEIGHBOURS = 10
"""k of the k-NN accuracy."""

MAX_EMBEDDED = 10_000
"""Samples of a split that t-SNE embeds at most, evenly spaced over their order: about 40 s."""

PCA_DIMENSIONS = 50
"""Principal components that t-SNE works on at most, as van der Maaten and Hinton 2008 have 30."""

PERPLEXITY = 30.0
"""Of t-SNE, but at most (n - 1) / 3: it looks at three times as many neighbours."""

MIN_EMBEDDED = 4
"""Fewer samples have no t-SNE: in three dimensions they need as many principal components, and a perplexity of 1."""

SHUFFLES = 20
"""Of training and validation membership, to tell what divergence chance alone gives."""

THREADS = 1
"""Of t-SNE, which adds up over threads in the order in which they finish: the last bit of a sum, and from there the
whole embedding, could depend on their number and on chance. And where other processes use the cores too, threads that
wait for each other made it five times slower."""

WORKING_MEMORY_MB = 128
"""Of the distances that scikit-learn holds at once."""

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]
OnStage = Callable[[str], None]


@dataclass(frozen=True)
class FeatureAnalysis:
    """numbers: the `features` object of metrics.json, plain values, None for what does not exist.

    embeddings: "train_2d" and "val_2d" float32 [m, 2], "val_3d" float32 [m, 3] and, of the same samples,
    "train_labels" and "val_labels" int64 [m]; a split without an embedding has none of its names.
    """

    numbers: dict[str, Any]
    embeddings: dict[str, Array]


class _Separation(NamedTuple):
    silhouette: float | None
    knn_accuracy: float | None


class _Embedding(NamedTuple):
    points: npt.NDArray[np.float32]
    pca: int
    perplexity: float


def _nobody(_stage: str) -> None:
    """Nobody wants to know how far it is."""


def analyse_features(
    train: Array,
    train_labels: Labels,
    val: Array,
    val_labels: Labels,
    classes: Sequence[str],
    *,
    layer: str,
    seed: int = 0,
    on_stage: OnStage = _nobody,
) -> FeatureAnalysis:
    """Silhouette and leave-one-out k-NN accuracy of the features and of their t-SNE embeddings, and the Gaussian shift
    of each class from training to validation.

    train and val: floating [n, D]; labels: int64 [n], indices into `classes`; layer: whose features they are, for the
    record. Samples with a feature that is not finite are left out, and `n` counts the others. on_stage: called with
    what comes next. In `numbers`, `pca` (components) and `perplexity` are those of the validation's embeddings; each
    embedding has its own beside its figures. Raises ValueError (shapes that do not fit).
    """
    _check(train, train_labels, val, val_labels, len(classes))
    (train, train_labels), (val, val_labels) = _finite(train, train_labels), _finite(val, val_labels)
    of_train, train_points = _split("train", train, train_labels, (2,), seed, on_stage)
    of_val, val_points = _split("val", val, val_labels, (2, 3), seed, on_stage)
    on_stage("shift of the features")
    numbers = {
        "layer": layer,
        "dimensions": train.shape[1],
        "seed": seed,
        "pca": of_val["tsne_2d"]["pca"],
        "perplexity": of_val["tsne_2d"]["perplexity"],
        "neighbours": NEIGHBOURS,
        "train": of_train,
        "val": of_val,
        "shift": {
            "per_class": {
                name: gaussian_shift(train[train_labels == number], val[val_labels == number], (seed, number))
                for number, name in enumerate(classes)
            }
        },
    }
    return FeatureAnalysis(numbers, train_points | val_points)


def _check(train: Array, train_labels: Labels, val: Array, val_labels: Labels, num_classes: int) -> None:
    for features, labels in ((train, train_labels), (val, val_labels)):
        if features.ndim != 2 or features.shape[1] != train.shape[1] or labels.shape != features.shape[:1]:
            raise ValueError(
                f"expected features [n, D] and labels [n], got training {list(train.shape)} and "
                f"{list(train_labels.shape)}, validation {list(val.shape)} and {list(val_labels.shape)}"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(f"expected classes in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}")


def _finite(features: Array, labels: Labels) -> tuple[Array, Labels]:
    good = np.isfinite(features).all(axis=1)
    return features[good], labels[good]


def _split(
    name: str, features: Array, labels: Labels, dimensions: Sequence[int], seed: int, on_stage: OnStage
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The numbers of one split, and its embeddings in each number of dimensions."""
    on_stage(f"silhouette and k-NN, {name}")
    numbers: dict[str, Any] = {"n": len(labels), **separation(features, labels)._asdict()}
    embeddings: dict[str, Array] = {}
    chosen = np.linspace(0, len(labels) - 1, min(len(labels), MAX_EMBEDDED)).astype(np.int64)
    for d in dimensions:
        on_stage(f"t-SNE in {d}D, {name}")
        found = embed(features[chosen], d, seed)
        if found is None:
            numbers[f"tsne_{d}d"] = {"n": 0, "pca": None, "perplexity": None, **_Separation(None, None)._asdict()}
            continue
        measured = separation(found.points, labels[chosen])
        numbers[f"tsne_{d}d"] = {
            "n": len(chosen), "pca": found.pca, "perplexity": found.perplexity, **measured._asdict(),
        }  # fmt: skip
        embeddings |= {f"{name}_{d}d": found.points, f"{name}_labels": labels[chosen].astype(np.int64)}
    return numbers, embeddings


def separation(features: Array, labels: Labels) -> _Separation:
    """Mean silhouette, and leave-one-out accuracy of the vote of the nearest neighbours; Euclidean distances.

    The k = min(10, n - 1) neighbours vote with one voice each; of classes with as many votes that of the nearest
    neighbour wins. A sample alone in its class has silhouette 0. Both are None with fewer than two classes or where
    all features are the same; the silhouette also where each sample has a class of its own.
    Source: Rousseeuw, "Silhouettes", J. Comput. Appl. Math. 20, 1987; Cover and Hart, "Nearest neighbor pattern
    classification", IEEE Trans. Inf. Theory 13, 1967.
    """
    from sklearn import config_context
    from sklearn.metrics import silhouette_score

    present = len(np.unique(labels))
    if present < 2 or _constant(features):
        return _Separation(None, None)
    features = _scaled(features)
    with config_context(working_memory=WORKING_MEMORY_MB):
        silhouette = float(silhouette_score(features, labels)) if present < len(labels) else None
        return _Separation(silhouette, _knn_accuracy(features, labels))


def _knn_accuracy(features: Array, labels: Labels) -> float:
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(labels) - 1)).fit(features)
    voters = labels[nearest.kneighbors(return_distance=False)]  # [n, k], the nearest first, without the sample itself
    votes = (voters[:, :, None] == voters[:, None, :]).sum(axis=2)
    winner = voters[np.arange(len(voters)), votes.argmax(axis=1)]  # argmax takes the first, so the nearest
    return float(np.mean(winner == labels))


def embed(features: Array, dimensions: int, seed: int) -> _Embedding | None:
    """t-SNE of [n, D] features in two or three dimensions, float32; None below 4 samples or where all are the same.

    Seeded principal components first, at most 50; they are also where t-SNE begins.
    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    n = len(features)
    if n < MIN_EMBEDDED or _constant(features):
        return None
    components, perplexity = min(PCA_DIMENSIONS, *features.shape), min(PERPLEXITY, (n - 1) / 3)
    with threadpool_limits(THREADS):
        reduced = PCA(components, random_state=seed).fit_transform(_scaled(features))
        if components < dimensions:
            reduced = np.pad(reduced, ((0, 0), (0, dimensions - components)))
        tsne = TSNE(dimensions, init="pca", random_state=seed, perplexity=perplexity)
        points = tsne.fit_transform(reduced)
    return _Embedding(np.asarray(points, np.float32), components, perplexity)


def _constant(features: Array) -> bool:
    return not (features != features[:1]).any()


def _scaled(features: Array) -> npt.NDArray[np.float64]:
    """Centred and within -1..1: no figure here depends on either, but squares of float32 may overflow or vanish."""
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    centred /= np.abs(centred).max()
    return centred


def gaussian_shift(train: Array, val: Array, seed: int | Sequence[int] = 0) -> dict[str, int | float | None]:
    """How far a class's features, [n, D] and [m, D], move from training to validation.

    Each dimension is a Gaussian with the sample's mean and standard deviation (ddof 1), q in training and p in
    validation. `cross_entropy` H(p, q), `entropy` H(p) and `divergence` KL(p || q), the difference of the two, are
    means over the dimensions, in nats (theory.py has the formulas and their sources); `dimensions` is how many have
    a standard deviation above 0 in both. A small sample alone gives a divergence above 0: `chance` is the mean of 20
    seeded shuffles of who belongs to training and who to validation.
    None where either has fewer than two samples, or no dimension varies.
    """
    found: dict[str, int | float | None] = {"train_n": len(train), "val_n": len(val), "dimensions": 0}
    found |= dict.fromkeys(("cross_entropy", "entropy", "divergence", "chance"))
    if min(len(train), len(val)) < 2:
        return found
    terms = _gaussian_terms(train, val)
    if terms is None:
        return found
    generator = np.random.default_rng(seed)
    together = np.concatenate([train, val])
    shuffled = (generator.permutation(together) for _ in range(SHUFFLES))
    by_chance = [_gaussian_terms(rows[: len(train)], rows[len(train) :]) for rows in shuffled]
    divergences = [one.divergence for one in by_chance if one is not None]
    chance = math.fsum(divergences) / len(divergences) if divergences else None
    return found | terms._asdict() | {"chance": chance}


class _GaussianTerms(NamedTuple):
    dimensions: int
    cross_entropy: float
    entropy: float
    divergence: float


def _gaussian_terms(train: Array, val: Array) -> _GaussianTerms | None:
    (mean_q, var_q), (mean_p, var_p) = _moments(train), _moments(val)
    used = (var_q > 0) & (var_p > 0)
    if not used.any():
        return None
    mean_q, var_q, mean_p, var_p = mean_q[used], var_q[used], mean_p[used], var_p[used]
    spread = (var_p + (mean_p - mean_q) ** 2) / var_q
    return _GaussianTerms(
        dimensions=int(used.sum()),
        cross_entropy=float(np.mean(0.5 * np.log(2 * np.pi * var_q) + spread / 2)),
        entropy=float(np.mean(0.5 * np.log(2 * np.pi * np.e * var_p))),
        divergence=float(np.mean(0.5 * (np.log(var_q / var_p) + spread - 1))),
    )


def _moments(rows: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and variance (ddof 1) of each column, float64 [D]; of a column that does not vary the variance is 0."""
    shift = rows[0].astype(np.float64)
    moved = rows - shift  # exactly 0 where all rows are the same
    return shift + moved.mean(axis=0), moved.var(axis=0, ddof=1)
