"""What a finished run's folder holds, and that its parts agree with each other."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from tiny import finish, finished_run, start_attempt, tiny_spec, train_here

from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.errors import VisionjobsError
from visionjobs.models.trained import load_trained
from visionjobs.predictions import KEY, Predictions
from visionjobs.report.build import build_report
from visionjobs.report.load import load_summary
from visionjobs.runs import OUTPUTS
from visionjobs.storage import Store
from visionjobs.training.outputs import read_outputs


def test_parts_agree(root: Store) -> None:
    run = finished_run(root)
    values = run.metrics()["metrics"]
    predicted = Predictions.from_parquet(run.store.read(KEY.format(split="val")), "val")
    assert predicted.correct.mean() == values["accuracy"]
    assert predicted.nll.mean() == pytest.approx(values["nll"], abs=1e-6)
    matrix = np.zeros((4, 4), int)
    np.add.at(matrix, (predicted.labels, predicted.predicted), 1)
    assert matrix.tolist() == values["confusion_matrix"]
    assert list(predicted.classes) == run.dataset()["classes"] == list(values["per_class"])
    low, high = values["intervals"]["accuracy"]
    assert low <= values["accuracy"] <= high
    assert 0 <= values["ece"] <= 1
    assert sum(part["n"] for part in values["calibration"]["reliability"]) == 12
    assert "features" not in values


def test_weights_are_recorded_by_their_sha256_and_give_the_stored_logits(root: Store, tmp_path) -> None:
    run = finished_run(root)
    weights = run.store.read("weights/tiny.pth")
    assert run.record()["weights"] == {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)}
    trained = load_trained(run, torch.device("cpu"))
    predicted = Predictions.from_parquet(run.store.read(KEY.format(split="val")), "val")
    split = fetch(find_dataset(root, "tiny"), tmp_path / "cache").split("val")
    logits = trained.logits(torch.from_numpy(split.read_all()))
    np.testing.assert_allclose(logits.numpy(), predicted.logits, atol=1e-5)


def test_the_report_is_that_of_the_folder_alone(root: Store) -> None:
    run = finished_run(root, "data.augment=wildlife", "data.copies=2")
    rebuilt = build_report(load_summary(run))
    stored = {entry.key for entry in run.store.at("report").entries()}
    assert stored == set(rebuilt)
    assert [key for key, data in rebuilt.items() if run.store.read(f"report/{key}") != data] == []


def test_augmented_copies_are_shown_beside_their_originals(root: Store) -> None:
    samples = load_summary(finished_run(root, "data.augment=wildlife", "data.copies=2")).samples
    assert samples.originals.shape == (4, 32, 32, 3)
    assert samples.augmented.shape == (4, 2, 32, 32, 3)
    assert samples.original_labels.tolist() == [0, 1, 2, 3]
    for original, copies in zip(samples.originals, samples.augmented, strict=True):
        difference = np.abs(copies.astype(int) - original).mean(axis=(1, 2, 3))
        assert (difference > 1).all(), "they are changed"
    assert np.abs(samples.augmented[:, 0].astype(int) - samples.augmented[:, 1]).mean() > 1, "each in its own way"


def test_resnet_keeps_its_features(root: Store) -> None:
    run = finished_run(root, "model.name=resnet18", "train.epochs=1")
    summary = load_summary(run)
    assert summary.embeddings["train_2d"].shape == (48, 2)
    assert summary.embeddings["val_3d"].shape == (12, 3)
    numbers = summary.values["features"]
    assert (numbers["layer"], numbers["dimensions"], numbers["train"]["n"], numbers["val"]["n"]) == ("fc", 512, 48, 12)
    assert set(numbers["shift"]["per_class"]) == {"bear", "deer", "fox", "owl"}


def test_what_the_workers_handed_over_is_deleted_when_it_is_used(root: Store) -> None:
    spec = tiny_spec()
    attempt = start_attempt(root, spec)
    train_here(root, attempt, spec)
    assert attempt.store.exists(OUTPUTS)
    run = finish(root, attempt.run.claim("attempt", {"gpus": 0}), spec)
    assert [entry.key for entry in run.store.entries("attempts") if entry.key.endswith(OUTPUTS)] == []


def test_damaged_outputs_say_how_to_go_on(root: Store) -> None:
    attempt = start_attempt(root, tiny_spec())
    with pytest.raises(VisionjobsError, match="continue the run"):
        read_outputs(attempt.store)
    attempt.write(OUTPUTS, b"PK not a zip")
    with pytest.raises(VisionjobsError, match="continue the run"):
        read_outputs(attempt.store)


def test_metrics_json_is_strict_json_with_the_contract_s_keys(root: Store) -> None:
    text = finished_run(root).store.read("metrics.json").decode()
    found = json.loads(text, parse_constant=pytest.fail)
    assert list(found) == ["schema", "run", "job", "task", "split", "metrics"]
    assert {"accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "nll", "ece", "adaptive_ece", "per_class",
            "confusion_matrix", "calibration", "intervals"} == set(found["metrics"])  # fmt: skip
