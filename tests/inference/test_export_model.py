"""Exported files, opened by the programs that they are for: onnxruntime and torch.jit."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_masks import masks_root, masks_spec

from visionjobs import __version__
from visionjobs.data.cache import fetch
from visionjobs.data.catalog import find_dataset
from visionjobs.data.loader import resized
from visionjobs.errors import UserError, VisionjobsError
from visionjobs.inference import export, export_check
from visionjobs.inference.export import export_model, metadata
from visionjobs.inference.export_check import (
    CHECKED,
    CHECKED_LOGITS,
    EXACT,
    SUFFIX,
    UNPOOLED,
    check_file,
    open_file,
    real_images,
)
from visionjobs.models import build_model
from visionjobs.models.trained import Trained
from visionjobs.runs import Run
from visionjobs.sample_images import KEY, SampleImages
from visionjobs.scenes import Scenes
from visionjobs.storage import Store, open_store

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")

KINDS = list(SUFFIX)
ONNX_ONLY = pytest.mark.parametrize("written", ["convnet-onnx", "resnet-onnx"], indirect=True)


@pytest.fixture(scope="module", params=[f"{model}-{kind}" for model in ("convnet", "resnet") for kind in KINDS])
def written(request: pytest.FixtureRequest, finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(the model, its kind of file, the file, what was told of it)."""
    model, kind = request.param.split("-")
    trained: Trained = getattr(finished, model)
    folder = tmp_path_factory.mktemp("export")
    images, _ = real_images(trained, finished.root, folder / "cache")
    told = export_model(trained, kind, images, open_store(str(folder)), f"model{SUFFIX[kind]}")
    return trained, kind, Path(told.address), told


def photos(finished: Any, n: int) -> np.ndarray:
    """uint8 [n, H, W, 3] at the size that the models see."""
    split = fetch(find_dataset(finished.root, "tiny"), Path(finished.root.address + "-cache")).split("train")
    return resized(torch.from_numpy(split.read(np.arange(n))), finished.convnet.size).numpy()


def floats(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / 255


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_logits_are_torch_s_at_any_batch_size(written: Any, finished: Any, n: int) -> None:
    trained, kind, path, _ = written
    images = photos(finished, n)
    wanted = trained.logits(torch.from_numpy(images)).numpy()
    run = open_file(kind, path)
    found = run(floats(images))
    assert (found.dtype, found.shape) == (np.float32, (n, 4))
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(run(floats(images)), found)  # dropout is off


def test_what_is_told_is_true(written: Any) -> None:
    _, _, path, told = written
    assert told.bytes == path.stat().st_size
    assert 0 <= told.check.difference <= told.check.allowed == 1e-4
    assert 2 <= told.check.images <= CHECKED


def test_the_metadata_names_classes_run_and_size(written: Any) -> None:
    trained, kind, path, _ = written
    if kind == "onnx":
        found = dict(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map)
        assert found.pop("opset") == str(onnx.load(path).opset_import[0].version)
    else:
        extra = dict.fromkeys(metadata(trained), "")
        torch.jit.load(path, _extra_files=extra)
        found = {key: value.decode() for key, value in extra.items()}
    assert json.loads(found["classes"]) == trained.classes
    assert json.loads(found["size"]) == [32, 48]
    expected = {"run": trained.run.id, "job": "tiny", "task": "classification", "visionjobs": __version__}
    assert {key: found[key] for key in expected} == expected
    assert found.keys() == metadata(trained).keys()


@ONNX_ONLY  # a TorchScript file names no axes
def test_inputs_and_outputs_are_named_and_the_batch_is_free(written: Any) -> None:
    _, _, path, _ = written
    session = onnxruntime.InferenceSession(path)
    described = [(part.name, part.type, part.shape) for part in (*session.get_inputs(), *session.get_outputs())]
    images, logits = ("images", "tensor(float)", ["batch", 3, 32, 48]), ("logits", "tensor(float)", ["batch", 4])
    assert described == [images, logits]


def test_no_folder_of_this_machine_is_in_the_file(written: Any) -> None:
    _, _, path, _ = written
    data = path.read_bytes()
    assert str(Path(export.__file__).parents[1]).encode() not in data
    assert str(Path(torch.__file__).parent).encode() not in data


@ONNX_ONLY  # torch.jit numbers the classes that it has traced so far in this process
def test_the_same_run_gives_the_same_file(written: Any, finished: Any, tmp_path: Path) -> None:
    trained, kind, path, told = written
    again = export_model(trained, kind, photos(finished, 2), open_store(str(tmp_path)), path.name)
    assert again.sha256 == told.sha256


def test_the_model_that_was_exported_stays_as_it_was(finished: Any, tmp_path: Path) -> None:
    trained: Trained = finished.resnet
    strides = [parameter.stride() for parameter in trained.model.parameters()]
    export.write_file(trained, "torchscript", tmp_path / "model.pt")
    assert [parameter.stride() for parameter in trained.model.parameters()] == strides


def changed(trained: Trained, change: Any) -> Trained:
    model = copy.deepcopy(trained.model)
    with torch.no_grad():
        change(model)
    return replace(trained, model=model)


@pytest.mark.parametrize("by", [2e-4, float("nan")])
def test_a_file_of_other_weights_is_refused(written: Any, finished: Any, by: float) -> None:
    trained, kind, path, _ = written
    other = changed(trained, lambda model: model.fc.bias[1].add_(by))
    with pytest.raises(VisionjobsError, match=f"the {kind} file's logits differ from torch's .* it was not kept"):
        check_file(other, kind, path, photos(finished, 5))
    slightly = changed(trained, lambda model: model.fc.bias[1].add_(5e-5))
    assert check_file(slightly, kind, path, photos(finished, 5)).difference == pytest.approx(5e-5, abs=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_differs_is_not_written(finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    monkeypatch.setattr(export, "IMAGENET_MEAN", (0.48, 0.45, 0.40))
    with pytest.raises(VisionjobsError, match="differ from torch's") as caught:
        export_model(finished.convnet, kind, photos(finished, 5), open_store(str(tmp_path)), "model")
    assert caught.value.exit_status == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_huge_logits_may_differ_by_their_rounding(finished: Any, tmp_path: Path, kind: Any) -> None:
    huge = changed(finished.convnet, lambda model: model.fc.weight.mul_(1e5))
    told = export_model(huge, kind, photos(finished, 5), open_store(str(tmp_path)), "model")
    assert told.check.allowed > 1e-2


def test_half_precision_in_training_is_exported_in_full(finished: Any, tmp_path: Path) -> None:
    train = finished.convnet.spec.train.model_copy(update={"precision": "bf16"})
    trained = replace(finished.convnet, spec=finished.convnet.spec.model_copy(update={"train": train}))
    assert trained.precision == "bf16"
    told = export_model(trained, "onnx", photos(finished, 5), open_store(str(tmp_path)), "model")
    assert told.check.difference < 1e-4


class TestRealImages:
    def of_another_storage(self, finished: Any, root: Store) -> Trained:
        """The same model as a run of `root` that kept no images."""
        trained: Trained = finished.convnet
        return replace(trained, run=Run(trained.run.id, root.at("runs", trained.run.id)))

    def keep(self, trained: Trained, images: np.ndarray, originals: np.ndarray) -> None:
        samples = SampleImages(
            np.arange(len(images)), images, originals, np.zeros(len(originals), np.int64), originals[:, None]
        )
        trained.run.store.write(KEY, samples.to_npz())

    def test_those_that_the_run_keeps_come_first(self, finished: Any, tmp_path: Path) -> None:
        root = open_store(str(tmp_path))
        trained = self.of_another_storage(finished, root)
        kept = photos(finished, 6)
        self.keep(trained, kept[:4], kept[4:])
        images, source = real_images(trained, root, tmp_path / "cache")
        assert source == f"{trained.run.store.address}/{KEY}"
        np.testing.assert_array_equal(images, kept)

    @pytest.mark.parametrize("none_kept", [True, False])
    def test_else_the_validation_split(self, finished: Any, tmp_path: Path, none_kept: bool) -> None:
        trained = self.of_another_storage(finished, open_store(str(tmp_path)))
        if none_kept:  # a model without mistakes
            self.keep(trained, photos(finished, 6)[:0], photos(finished, 6)[:0])
        images, source = real_images(trained, finished.root, tmp_path / "cache")
        ref = find_dataset(finished.root, "tiny")
        packed = torch.from_numpy(fetch(ref, tmp_path / "cache").split("val").read_all())
        assert source == ref.address
        np.testing.assert_array_equal(images, resized(packed, (32, 48)).numpy())
        assert len(images) == 12

    def test_else_an_error_says_what_is_missing(self, finished: Any, tmp_path: Path) -> None:
        root = open_store(str(tmp_path))
        trained = self.of_another_storage(finished, root)
        message = rf'not in {trained.run.store.address}/{KEY}, and the dataset is not there. There is no dataset "tiny"'
        with pytest.raises(UserError, match=message):
            real_images(trained, root, tmp_path / "cache")

    @pytest.mark.parametrize(("kept", "n"), [(1, 2), (70, CHECKED)])
    def test_their_number(self, finished: Any, tmp_path: Path, kept: int, n: int) -> None:
        root = open_store(str(tmp_path))
        trained = self.of_another_storage(finished, root)
        self.keep(trained, np.zeros((kept, 32, 48, 3), np.uint8), np.zeros((0, 32, 48, 3), np.uint8))
        assert len(real_images(trained, root, tmp_path / "cache")[0]) == n


class TestSegmentation:
    """Models that never trained; their batch-norm statistics are those of one batch."""

    @pytest.fixture(scope="class", params=["segnet", "deeplabv3_mobilenet_v3_large"])
    def masks(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Trained]:
        root = masks_root(tmp_path_factory.mktemp("masks"))
        spec = masks_spec(f"model.name={request.param}", "data.size=[45,58]")
        dataset = find_dataset(root, "tinymasks").manifest
        model = build_model(spec, len(dataset.classes), None)
        with torch.no_grad():
            model(torch.rand(4, 3, 45, 58))
        run = Run("20260101-000000", root.at("runs", "20260101-000000"))
        return root, Trained(run, spec, dataset, model.eval(), torch.device("cpu"))

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_file_gives_torch_s_logits_of_each_pixel(
        self, masks: tuple[Store, Trained], tmp_path: Path, kind: Any
    ) -> None:
        root, trained = masks
        images, source = real_images(trained, root, tmp_path / "cache")
        assert (images.shape, source) == ((5, 45, 58, 3), find_dataset(root, "tinymasks").address)
        told = export_model(trained, kind, images, open_store(str(tmp_path)), "model")
        unpools = trained.spec.model.name == "segnet"
        assert told.check.limits == (UNPOOLED if unpools else EXACT)
        assert told.check.within >= told.check.limits.within
        run = open_file(kind, tmp_path / "model")
        for n in (1, 2, 5):
            found, wanted = run(floats(images[:n])), trained.logits(torch.from_numpy(images[:n])).numpy()
            assert (found.shape, found.dtype) == ((n, 5, 45, 58), np.float32)
            far = np.abs(found - wanted).max(axis=1) > 1e-4
            assert far.mean() < (0.5 if unpools else 1e-9)
        assert metadata(trained)["output"] == "logits: float32 [batch, 5, 45, 58], in the order of classes"

    def test_a_file_of_other_weights_is_refused(self, masks: tuple[Store, Trained], tmp_path: Path) -> None:
        root, trained = masks
        images, _ = real_images(trained, root, tmp_path / "cache")
        export.write_file(trained, "torchscript", tmp_path / "model")

        def last(model: Any) -> torch.Tensor:
            """The bias of the last layer, of Sequential or alone."""
            return list(model.classifier.parameters())[-1]

        for by in (5e-4, float("nan")):
            other = changed(trained, lambda model, by=by: last(model)[1].add_(by))
            with pytest.raises(VisionjobsError, match="the torchscript file's logits differ from torch's"):
                check_file(other, "torchscript", tmp_path / "model", images)

    def test_the_images_that_the_run_keeps_come_first(self, masks: tuple[Store, Trained], tmp_path: Path) -> None:
        root = open_store(str(tmp_path))
        trained = replace(masks[1], run=Run("r", root.at("runs", "r")))
        pixels = np.random.default_rng(0).integers(0, 256, (5, 45, 58, 3), dtype=np.uint8)
        truths, none = np.zeros((3, 45, 58), np.uint8), np.zeros(0, np.int64)
        kept = Scenes(np.arange(3), pixels[:3], truths, none, pixels[:0], truths[:0], pixels[3:], truths[:2],
                      pixels[3:, None], truths[:2, None])  # fmt: skip
        trained.run.store.write(KEY, kept.to_npz())
        images, source = real_images(trained, root, tmp_path / "cache")
        assert source.endswith(KEY)
        np.testing.assert_array_equal(images, pixels)

    def test_no_more_logits_than_memory_is_meant_for(
        self, masks: tuple[Store, Trained], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """32 classes at 360x480 are 22 MB an image."""
        root, trained = masks
        assert CHECKED_LOGITS // (32 * 360 * 480) == 6
        monkeypatch.setattr(export_check, "CHECKED_LOGITS", 3 * 5 * 45 * 58)
        assert len(real_images(trained, root, tmp_path / "cache")[0]) == 3
