"""The per-class tables of the experiments' two CamVid models on the test set, and what they publish beside them."""

from __future__ import annotations

from visionjobs.data.camvid_classes import CAMVID

Column = list[float | None]

NONE = None
"""No pixels (iou, recall), or no predictions (precision)."""

SEGNET: dict[str, Column] = {
    "iou": [
        0.0, 0.0, 0.2915, 0.0, 0.7429, 0.607, 0.0, 0.0, 0.1187, 0.2733, 0.4761, 0.0, 0.0433, 0.0, 0.1685, 0.1212,
        0.1058, 0.8898, 0.1582, 0.6798, 0.0165, 0.8991, 0.0291, 0.0, 0.1785, NONE, 0.6568, 0.0052, NONE, 0.2087,
        0.3255, 0.2307,
    ],
    "precision": [
        NONE, NONE, 0.5506, NONE, 0.8048, 0.6403, NONE, NONE, 0.3075, 0.5173, 0.7952, NONE, 0.1019, NONE, 0.5048,
        0.2198, 0.2777, 0.9327, 0.3317, 0.831, 0.1317, 0.9219, 0.1684, NONE, 0.2614, NONE, 0.8357, 0.3729, NONE,
        0.2844, 0.4696, 0.8482,
    ],
    "recall": [
        0.0, 0.0, 0.3824, 0.0, 0.9062, 0.921, 0.0, 0.0, 0.162, 0.3668, 0.5427, 0.0, 0.0701, 0.0, 0.2019, 0.2126,
        0.1459, 0.9508, 0.2322, 0.7888, 0.0185, 0.9732, 0.034, 0.0, 0.3602, NONE, 0.7542, 0.0052, NONE, 0.4395,
        0.5148, 0.2406,
    ],
}  # fmt: skip

DEEPLAB: dict[str, Column] = {
    "iou": [
        0.0, 0.0, 0.4562, 0.4351, 0.8402, 0.7972, 0.0, 0.1942, 0.1928, 0.5328, 0.3918, 0.0, 0.3106, 0.0, 0.3939,
        0.4172, 0.383, 0.9145, 0.569, 0.8045, 0.3386, 0.9128, 0.3404, 0.0, 0.4858, NONE, 0.7711, 0.42, NONE, 0.551,
        0.4478, 0.5519,
    ],
    "precision": [
        NONE, 0.0, 0.8975, 0.7958, 0.8964, 0.8477, 0.0, 0.6844, 0.4589, 0.7977, 0.7476, NONE, 0.7357, NONE, 0.6296,
        0.8291, 0.4618, 0.94, 0.6761, 0.8777, 0.7162, 0.9384, 0.6492, NONE, 0.8711, NONE, 0.8915, 0.6188, NONE,
        0.7677, 0.6021, 0.7402,
    ],
    "recall": [
        0.0, 0.0, 0.4812, 0.4898, 0.9306, 0.9306, 0.0, 0.2133, 0.2495, 0.6161, 0.4516, 0.0, 0.3496, 0.0, 0.5127,
        0.4564, 0.6917, 0.9712, 0.7823, 0.9061, 0.391, 0.971, 0.4171, 0.0, 0.5235, NONE, 0.851, 0.5666, NONE, 0.6612,
        0.636, 0.6845,
    ],
}  # fmt: skip

Bins = list[tuple[int, float | None, float | None]]

SEGNET_BINS: Bins = [
    (12, 0.1937, 0.0106), (6, 0.3172, 0.2191), (4, 0.5501, 0.3573), (1, 0.4696, 0.5148), (1, 0.7952, 0.5427),
    (0, NONE, NONE), (3, 0.769, 0.8213), (1, 0.8048, 0.9062), (2, 0.9273, 0.962), (0, NONE, NONE),
]  # fmt: skip
"""Classes, mean precision and mean recall of each IoU bin of .1."""

DEEPLAB_BINS: Bins = [
    (6, 0.0, 0.0), (2, 0.5716, 0.2314), (0, NONE, NONE), (6, 0.6567, 0.4689), (6, 0.7691, 0.5256),
    (4, 0.7454, 0.686), (0, NONE, NONE), (2, 0.8696, 0.8908), (2, 0.887, 0.9183), (2, 0.9392, 0.9711),
]  # fmt: skip


def per_class(table: dict[str, Column]) -> dict[str, dict[str, float | None]]:
    """As `per_class` of metrics.json."""
    return {name: {key: column[at] for key, column in table.items()} for at, name in enumerate(CAMVID)}
