"""Secrets, images and quantities in pods: what is refused without being repeated, and what only looks alike."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from good_objects import Object, good_rayjob, planted

from visionjobs.cluster.pod_rules import quantity
from visionjobs.cluster.validate import problems

MAIN = "spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0"


def test_a_secret_is_never_part_of_a_manifest():
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "visionjobs"}, "stringData": {"A": "secret-b"}}
    found = problems([secret])
    assert len(found) == 1
    assert "secret-b" not in found[0]


def test_values_of_secrets_are_not_repeated():
    rayjob = planted(good_rayjob(), f"{MAIN}.env.0", {"name": "AWS_ENDPOINT_URL", "value": "http://me:hunter2@s3"})
    planted(rayjob, "metadata.annotations", {"note": "AKIAABCDEFGHIJKLMNOP"})
    text = "\n".join(problems([rayjob]))
    assert text
    assert "hunter2" not in text
    assert "AKIA" not in text


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "SORT_KEY", "value": "date"},
        {"name": "PRIMARY_KEY_COLUMN", "value": "id"},
        {"name": "PARTITION_KEY", "value": "day"},
        {"name": "AUTHOR", "value": "jane"},
        {"name": "REPOSITORY", "value": "ssh://deployment@git.example/vision.git"},
        {"name": "TOKENIZERS_PARALLELISM", "value": "false"},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/token"},
        {"name": "KEYBOARD", "value": "us"},
        {"name": "AWS_ENDPOINT_URL", "value": "http://s3.example:9000/?a=b@c"},
    ],
)
def test_what_only_looks_like_a_secret_passes(entry: Object):
    assert problems([planted(good_rayjob(), f"{MAIN}.env.0", entry)]) == []


@pytest.mark.parametrize("tag", [":1.0", "@sha256:" + "a" * 64, ":latest@sha256:" + "a" * 64])
def test_images_that_stay_what_they_are_pass(tag: str):
    assert problems([planted(good_rayjob(), f"{MAIN}.image", f"host:5000/team/visionjobs{tag}")]) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4Gi", 4 * 2**30), ("500m", Decimal("0.5")), (2, 2), ("1e3", 1000), ("2k", 2000), ("1E", 10**18), ("1.5", 1.5),
        ("4GB", None), ("", None), ("Gi", None), (None, None), (True, None), ("1 Gi", None), ([], None),
        ("1e30", 10**30), ("1e999999999999999999999", None),
    ],
)  # fmt: skip
def test_quantities(text: Any, number: float | None):
    assert quantity(text) == number
