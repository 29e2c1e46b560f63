"""`visionjobs describe`."""

from __future__ import annotations

import json

import pytest

from visionjobs.models.convnet import ConvNet
from visionjobs.storage import open_store


def described(visionjobs, *arguments):
    ended = visionjobs("describe", *arguments, "--json")
    assert ended.status == 0, ended.err
    return json.loads(ended.out)


def test_json_holds_the_resolved_spec_and_the_costs(visionjobs):
    found = described(visionjobs, "convnet", "--set", "train.batch=16", "--set", "resources.workers=2")
    model = ConvNet(10, (224, 224))
    count = sum(p.numel() for p in model.parameters())
    assert found["spec"]["train"]["batch"] == 16
    assert found["spec"]["limits"]["attempts"] == 10
    assert found["parameters"] == {"total": count, "trainable": count}
    multiply_adds = 224**2 * 32 * 27 + 56**2 * 64 * 288 + 28**2 * 128 * 576 + 128 * 14 * 14 * 10
    assert found["flops"]["image_forward"] == 2 * multiply_adds
    # Weights and inputs each need a gradient, but for the first layer's input, the image.
    assert found["flops"]["training_step"] == 16 * (3 * 2 * multiply_adds - 2 * 224**2 * 32 * 27)
    assert found["receptive_field"] == [42, 42]
    memory = found["memory_bytes_per_worker"]
    assert memory["weights"] == memory["gradients"] == memory["optimizer"] / 2 == 4 * count
    assert memory["activations"] > 8 * (32 * 224**2 + 64 * 56**2) * 4
    assert memory["resident_dataset"] is None
    assert found["weights"] == {"origin": None, "stored_sha256": None}


def test_without_its_dataset_it_says_what_is_assumed(visionjobs, tmp_path):
    ended = visionjobs("describe", "convnet")
    assert ended.status == 0
    assert "10 classes assumed" in ended.err
    assert str(tmp_path / "storage") in ended.err
    assert "visionjobs data import wildlife SOURCE" in ended.err
    assert ended.out == ""
    assert not (tmp_path / "storage").exists()


def test_the_tables_show_spec_and_costs(visionjobs):
    ended = visionjobs("describe", "resnet")
    for shown in (
        "name: resnet", "lr: 0.001", "averaging not stated", "11,181,642", "435 x 435 pixels; the image has 224 x 224",
        "3.63 G", "IMAGENET1K_V1, missing: visionjobs weights pull resnet", "Adam's two moments",
    ):  # fmt: skip
        assert shown in ended.err


@pytest.fixture
def dataset_of_three(visionjobs, tmp_path):
    """The sample of wildlife, imported; only its manifest is read here."""
    manifest = {
        "format": 1,
        "layout": "wildlife",
        "name": "wildlife",
        "version": "0123456789ab",
        "classes": ["bear", "dog", "tiger"],
        "size": [224, 224],
        "counts": {"train": {"bear": 3, "dog": 3, "tiger": 2}, "val": {"bear": 1, "dog": 1, "tiger": 0}},
        "rejected": 0,
        "shards": [{"file": "images-00000.npy", "sha256": "0" * 64, "rows": 10, "bytes": 10 * 224 * 224 * 3 + 128}],
        "index_sha256": "0" * 64,
        "parameters": {},
        "source": "/photos",
        "created": "2025-01-01T00:00:00+00:00",
    }
    open_store(str(tmp_path / "storage")).write("datasets/wildlife/0123456789ab/manifest.json", json.dumps(manifest))


@pytest.mark.usefixtures("dataset_of_three")
def test_a_dataset_gives_the_classes_and_its_resident_size(visionjobs, tmp_path):
    found = described(visionjobs, "convnet", "--set", "data.size=[32, 64]")
    assert found["classes"] == 3
    assert found["dataset"] == str(tmp_path / "storage/datasets/wildlife/0123456789ab")
    assert found["parameters"]["total"] == sum(p.numel() for p in ConvNet(3, (32, 64)).parameters())
    assert found["memory_bytes_per_worker"]["resident_dataset"] == 10 * 32 * 64 * 3


def test_a_frozen_backbone_trains_the_head_only(visionjobs):
    found = described(visionjobs, "resnet", "--set", "train.freeze=backbone")
    assert found["parameters"]["trainable"] == 512 * 10 + 10
    assert found["memory_bytes_per_worker"]["gradients"] == 4 * 5130


def test_an_fp16_job_can_be_described_where_there_is_no_gpu(visionjobs):
    assert described(visionjobs, "convnet", "--set", "train.precision=fp16")["precision"] == "fp16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convnett"], 'Did you mean "convnet"'),
        (["convnet", "--set", "model.name=resnet"], 'there is no model "resnet"; expected one of convnet, resnet18'),
        (["convnet", "--set", "model.weights=IMAGENET1K_V1"], "expected one of random, a file"),
        (["resnet", "--set", "model.weights=IMAGENET1K_V2"], 'Did you mean "IMAGENET1K_V1"'),
        (["convnet", "--set", "train.lrr=1"], 'Did you mean "lr"'),
        (["resnet", "--set", f"model.sha256={'a' * 64}"], "begins with f37072fd"),
        (["resnet", "--set", "model.weights=https://example.org/w.pth"], "not the address of a weights file"),
    ],
)
def test_mistakes_end_with_status_2(visionjobs, arguments, message):
    ended = visionjobs("describe", *arguments)
    assert ended.status == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
