"""`visionjobs describe`."""

from __future__ import annotations

import json

import pytest

from visionjobs.models.convnet import ConvNet
from visionjobs.models.segnet import SegNet
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


def test_segnet(visionjobs):
    found = described(visionjobs, "segnet")
    model = SegNet(32)
    decoder = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("encoder."))
    assert (found["classes"], found["aspp"], found["receptive_field"]) == (32, None, [404, 404])
    assert found["parameters"] == {"total": sum(p.numel() for p in model.parameters()), "trainable": decoder}
    # 3x3 convolutions of the encoder at 1, 1/2, 1/4, 1/8 and 1/16 of the size; the decoder mirrors all but the first.
    pixels = [(360 >> at) * (480 >> at) for at in range(5)]
    mirrored = [64 * 64, 64 * 128 + 128 * 128, 128 * 256 + 2 * 256**2, 256 * 512 + 2 * 512**2, 3 * 512**2]
    multiply_adds = 9 * sum(area * 2 * channels for area, channels in zip(pixels, mirrored, strict=True))
    multiply_adds += 9 * pixels[0] * (3 * 64 + 64 * 32)
    assert found["flops"]["image_forward"] == 2 * multiply_adds


def test_deeplab_and_its_pyramid(visionjobs):
    found = described(visionjobs, "deeplab", "--set", "data.size=[90,120]")
    assert [(branch["name"], branch["rate"]) for branch in found["aspp"]] == [
        ("1x1", 1), ("3x3", 12), ("3x3", 24), ("3x3", 36), ("image pooling", 1),
    ]  # fmt: skip
    assert [branch["dilated"]["receptive_field"] for branch in found["aspp"]] == [
        [427, 427], [619, 619], [811, 811], [1003, 1003], [90, 120],
    ]  # fmt: skip
    for branch in found["aspp"]:
        assert branch["dilated"]["multiply_adds"] == branch["undilated"]["multiply_adds"]
    assert found["aspp"][1]["dilated"]["multiply_adds"] == 9 * 12 * 15 * 2048 * 256
    assert found["aspp"][1]["undilated"]["receptive_field"] == [443, 443]
    shown = visionjobs("describe", "deeplab").err
    for text in ("1003 x 1003", "443 x 443", "12,740.2", "image pooling", "32 classes assumed"):
        assert text in shown


@pytest.mark.usefixtures("dataset_of_three")
def test_masks_take_a_byte_a_pixel_more(visionjobs, tmp_path):
    file = tmp_path / "storage/datasets/wildlife/0123456789ab/manifest.json"
    shard = {"file": "masks-00000.npy", "sha256": "0" * 64, "rows": 10, "bytes": 10 * 224 * 224 + 128}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"masks": [shard]}))
    found = described(visionjobs, "segnet", "--set", "data.name=wildlife", "--set", "data.size=[32, 64]")
    assert found["classes"] == 3
    assert found["memory_bytes_per_worker"]["resident_dataset"] == 10 * 32 * 64 * 4


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
        (["convnet", "--set", "model.name=resnet"], 'there is no model "resnet"; expected one of convnet, deeplabv3'),
        (["segnet", "--set", "train.freeze=backbone"], "segnet has no backbone; expected one of none, encoder"),
        (["segnet", "--set", "data.size=[16,64]"], "data.size: segnet needs at least 32 pixels in height and width"),
        (["deeplab", "--set", "train.freeze=encoder"], "has no encoder; expected one of none, backbone"),
        (["deeplab", "--set", "train.batch=1"], "batch normalisation needs at least 2"),
        (["segnet", "--set", "model.name=resnet18"], "resnet18 is a model for classification, and the job's task is"),
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


def test_a_sweep_that_does_not_fit_is_a_warning(visionjobs):
    ended = visionjobs("describe", "convnet", "--set", "train.epochs=0.5")
    assert ended.status == 2, "wrong for a run, too"
    ended = visionjobs("describe", "segnet", "--json", "--set", "train.epochs=2")
    assert ended.status == 0, ended.err
    assert "it can be run, but not searched" in ended.err
    assert "sweep.grace: 3 is more than train.epochs = 2" in ended.err
    assert json.loads(ended.out)["spec"]["sweep"] is None


def test_it_tells_what_a_sweep_searches(visionjobs):
    space = "{train.lr: {loguniform: [1e-4, 1e-2]}, train.batch: {choice: [16, 32, 64]}, data.augment: {choice: [none]}"
    space += ", model.dropout: {uniform: [0, 0.5]}, train.seed: {int: [0, 9]}}"
    told = visionjobs("describe", "convnet", "--set", f"sweep={{metric: val_loss, trials: 7, space: {space}}}").err
    assert "sweep: 7 trials, by val_loss (lower is better), random search, scheduler asha" in told
    rows = ["train.lr │ 0.0001 to 0.01 (loguniform) │ 0.001 │", "train.batch │ 16, 32 or 64 │ 32 │",
            "data.augment │ none │ none │", "model.dropout │ 0 to 0.5 (uniform) │ 0.0 │",
            "train.seed │ 0 to 9 (int) │ 0 │"]  # fmt: skip
    assert [row for row in rows if f"│ {row}" not in told] == []
    assert "searched" not in visionjobs("describe", "yolo").err, "a job without a sweep section"
