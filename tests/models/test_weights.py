"""Where weights are looked for, and that nothing is loaded whose sha256 differs."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from base_model_tester import model_spec

from visionjobs.errors import FinalError, MissingObjectError, StorageError, UserError
from visionjobs.models import build_model
from visionjobs.models.convnet import ConvNet
from visionjobs.models.pull import pull
from visionjobs.models.resnet import ResNet18
from visionjobs.models.weights import (
    Source,
    file_source,
    job_source,
    locate_weights,
    published_source,
    published_sources,
    stored_sha256,
)
from visionjobs.storage import open_store

PUBLISHED = "resnet18-f37072fd.pth"


def silent(_name, _total):
    return lambda _bytes: None


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def root(tmp_path):
    return open_store(str(tmp_path / "storage"))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def convnet_file(tmp_path):
    """The weights of a ConvNet for 32 x 32 pixels, as a finished run leaves them: a plain state dict."""
    torch.save(ConvNet(10, (32, 32)).state_dict(), tmp_path / "convnet.pth")
    return tmp_path / "convnet.pth"


def job(weights, sha256=None, name="convnet"):
    spec = model_spec(name, (32, 32), weights=str(weights))
    return spec.model_copy(update={"model": spec.model.model_copy(update={"sha256": sha256})})


def put(root, path, sha256=None):
    """Into storage by hand, with the sha256 given or the true one."""
    store = root.at("weights")
    store.upload({path.name: path})
    store.write(f"{path.name}.sha256", f"{sha256 or digest(path)}  {path.name}\n")


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "DEFAULT", "ResNet18_Weights.IMAGENET1K_V1"])
def test_torchvisions_names_mean_its_file(name):
    source = job_source(job(name, name="resnet18"))
    assert source == Source(PUBLISHED, f"https://download.pytorch.org/models/{PUBLISHED}", "f37072fd")


@pytest.mark.parametrize(
    ("name", "weights", "file"),
    [
        ("segnet", "IMAGENET1K_V1", "vgg16_bn-6c64b313.pth"),
        ("segnet", "VGG16_BN_Weights.DEFAULT", "vgg16_bn-6c64b313.pth"),
        ("deeplabv3_resnet50", "COCO_WITH_VOC_LABELS_V1", "deeplabv3_resnet50_coco-cd0a2569.pth"),
        ("deeplabv3_resnet101", "DEFAULT", "deeplabv3_resnet101_coco-586e9e4e.pth"),
        ("deeplabv3_mobilenet_v3_large", "DEFAULT", "deeplabv3_mobilenet_v3_large-fc3c493d.pth"),
    ],
)
def test_those_of_the_segmentation_models(name, weights, file):
    source = job_source(job(weights, name=name))
    assert (source.file, source.sha256) == (file, file.rpartition("-")[2].removesuffix(".pth"))
    assert source in published_sources().values()


def test_random_weights_need_no_file(root, cache):
    assert job_source(job("random")) is None
    assert locate_weights(job("random"), root, cache) is None
    assert not cache.exists()


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet18", "IMAGENET1K_V2", 'expected one of random, IMAGENET1K_V1, DEFAULT, .*Did you mean "IMAGENET1K_V1"'),
        ("convnet", "DEFAULT", r"no weights \"DEFAULT\" for convnet; expected one of random, a file"),
        ("convnet", "Random", 'Did you mean "random"'),
        ("convnet", "http://host/w.pth", "not the address of a weights file"),
        ("convnet", "s3://bucket", "not the address of a weights file"),
        ("convnet", "s3://bucket/folder/", "not the address of a weights file"),
    ],
)
def test_names_that_mean_nothing(name, weights, message):
    with pytest.raises(UserError, match=message):
        job_source(job(weights, name=name))


def test_missing_weights_say_where_and_how(root, cache):
    with pytest.raises(UserError) as caught:
        locate_weights(job("IMAGENET1K_V1", name="resnet18"), root, cache)
    assert f"{root.address}/weights/{PUBLISHED}" in str(caught.value)
    assert "visionjobs weights pull tested" in str(caught.value)


def test_a_missing_file_says_both_places(root, cache, tmp_path):
    with pytest.raises(UserError) as caught:
        locate_weights(job(tmp_path / "none.pth"), root, cache)
    assert f"{tmp_path}/none.pth and {root.address}/weights/none.pth" in str(caught.value)
    assert "visionjobs weights pull FILE" in str(caught.value)


def test_a_local_file_is_used_where_it_is_and_loads(root, cache, convnet_file):
    found = locate_weights(job(convnet_file, digest(convnet_file)), root, cache)
    assert found == convnet_file
    model = build_model(job(convnet_file), 10, found)
    assert torch.equal(model.state_dict()["fc.weight"], torch.load(convnet_file)["fc.weight"])


def test_a_relative_path_starts_at_the_current_folder(root, cache, convnet_file, monkeypatch):
    monkeypatch.chdir(convnet_file.parent)
    assert locate_weights(job("convnet.pth"), root, cache) == convnet_file


def test_a_stored_file_is_fetched_into_the_cache_once(root, cache, convnet_file):
    put(root, convnet_file)
    sha256 = digest(convnet_file)
    convnet_file.unlink()
    found = locate_weights(job("convnet.pth"), root, cache)
    assert found == cache / "weights" / sha256 / "convnet.pth"
    written = found.stat().st_mtime_ns
    (cache.parent / "storage/weights/convnet.pth").unlink()  # a second fetch would fail
    assert locate_weights(job("convnet.pth"), root, cache).stat().st_mtime_ns == written


def test_a_damaged_copy_in_the_cache_is_fetched_again(root, cache, convnet_file):
    put(root, convnet_file)
    sha256 = digest(convnet_file)
    convnet_file.unlink()
    found = locate_weights(job("convnet.pth"), root, cache)
    found.write_bytes(found.read_bytes()[:-1])
    assert digest(locate_weights(job("convnet.pth"), root, cache)) == sha256


def test_ranks_of_one_node_wait_for_each_other(root, cache, convnet_file):
    put(root, convnet_file)
    sha256 = digest(convnet_file)
    convnet_file.unlink()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: locate_weights(job("convnet.pth"), root, cache), range(8)))
    assert [digest(path) for path in found] == [sha256]
    assert sorted(p.name for p in (cache / "weights").iterdir() if p.is_file()) in ([], ["convnet.pth.lock"])


def test_a_stored_file_whose_sha256_differs_is_refused(root, cache, convnet_file):
    put(root, convnet_file, sha256="1" * 64)
    convnet_file.unlink()
    with pytest.raises(FinalError, match=r"convnet\.pth has the sha256 .*, expected 1111"):
        locate_weights(job("convnet.pth"), root, cache)
    assert not list((cache / "weights").rglob("*.unverified"))
    assert not list((cache / "weights").rglob("convnet.pth"))


def test_a_file_without_its_sha256_is_not_there(root, cache, convnet_file):
    root.at("weights").upload({"convnet.pth": convnet_file})
    convnet_file.unlink()
    with pytest.raises(UserError, match="is missing"):
        locate_weights(job("convnet.pth"), root, cache)


def test_a_sha256_file_with_something_else_in_it_is_told(root, cache, convnet_file):
    root.at("weights").write(f"{PUBLISHED}.sha256", b"\xff\x00")
    with pytest.raises(UserError, match="does not begin with a sha256"):
        locate_weights(job("DEFAULT", name="resnet18"), root, cache)


@pytest.mark.parametrize("stored", [False, True])
def test_the_jobs_sha256_must_be_the_files(root, cache, convnet_file, stored):
    if stored:
        put(root, convnet_file)
        convnet_file.unlink()
    with pytest.raises(UserError, match=r"has the sha256 \w{64}, expected 2222"):
        locate_weights(job(convnet_file, "2" * 64), root, cache)


def test_a_stored_file_under_torchvisions_name_must_begin_as_the_name_says(root, cache, convnet_file):
    shutil.move(convnet_file, convnet_file.with_name(PUBLISHED))
    put(root, convnet_file.with_name(PUBLISHED))
    with pytest.raises(UserError, match="expected f37072fd"):
        locate_weights(job("DEFAULT", name="resnet18"), root, cache)


def test_two_different_files_of_one_name_are_never_mixed_up(root, cache, convnet_file):
    put(root, convnet_file)
    stored = digest(convnet_file)
    torch.save(ConvNet(3, (32, 32)).state_dict(), convnet_file)
    with pytest.raises(UserError, match="differ"):
        locate_weights(job(convnet_file), root, cache)
    assert locate_weights(job(convnet_file, digest(convnet_file)), root, cache) == convnet_file
    assert digest(locate_weights(job(convnet_file, stored), root, cache)) == stored


def test_a_cache_that_cannot_be_written_is_told(root, cache, convnet_file):
    put(root, convnet_file)
    convnet_file.unlink()
    cache.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="VISIONJOBS_CACHE"):
        locate_weights(job("convnet.pth"), root, cache)


def test_pull_stores_a_file_with_its_sha256(root, cache, convnet_file):
    sha256 = digest(convnet_file)
    pulled = pull(file_source(str(convnet_file), sha256), root, silent)
    assert (pulled.address, pulled.sha256, pulled.stored) == (f"{root.address}/weights/convnet.pth", sha256, True)
    assert pulled.content == "8 tensors, conv1.weight [32, 3, 3, 3] to fc.bias [10]"
    assert root.read("weights/convnet.pth.sha256").decode() == f"{sha256}  convnet.pth\n"
    assert not pull(file_source(str(convnet_file), sha256), root, silent).stored
    convnet_file.unlink()
    assert digest(locate_weights(job("convnet.pth"), root, cache)) == sha256


def test_pull_stores_a_damaged_file_again(root, convnet_file):
    sha256 = digest(convnet_file)
    pull(file_source(str(convnet_file)), root, silent)
    root.write("weights/convnet.pth", b"damaged")
    assert pull(file_source(str(convnet_file), sha256), root, silent).stored
    assert hashlib.sha256(root.read("weights/convnet.pth")).hexdigest() == sha256


def test_pull_never_replaces_another_file_of_that_name(root, convnet_file):
    pull(file_source(str(convnet_file)), root, silent)
    before = root.read("weights/convnet.pth")
    torch.save(ConvNet(3, (32, 32)).state_dict(), convnet_file)
    with pytest.raises(UserError, match="is there already"):
        pull(file_source(str(convnet_file)), root, silent)
    assert root.read("weights/convnet.pth") == before


def test_pull_of_nothing_or_of_no_state_dict_stores_nothing(root, tmp_path):
    with pytest.raises(MissingObjectError, match="no such weights file"):
        pull(file_source(str(tmp_path / "none.pth")), root, silent)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="not a file of tensors"):
        pull(file_source(str(tmp_path / "text.pth")), root, silent)
    assert root.entries() == []


@pytest.mark.s3
def test_weights_on_s3(seaweedfs, monkeypatch, cache, convnet_file):
    """A run's own weights by their address, and a storage in a bucket."""
    seaweedfs.use(monkeypatch)
    run, sha256 = open_store(f"{seaweedfs.address}/weights-test/runs/r1/weights"), digest(convnet_file)
    run.upload({"convnet.pth": convnet_file})
    convnet_file.unlink()
    address = f"{run.address}/convnet.pth"
    root = open_store(f"{seaweedfs.address}/weights-test")
    assert locate_weights(job(address), root, cache) == cache / "weights" / sha256 / "convnet.pth"
    with pytest.raises(FinalError, match="expected 3333"):
        locate_weights(job(address, "3" * 64), root, cache)
    with pytest.raises(MissingObjectError, match="none"):
        locate_weights(job(f"{run.address}/none.pth"), root, cache)
    pulled = pull(file_source(address, sha256), root, silent)
    assert pulled.address == f"{root.address}/weights/convnet.pth"
    assert stored_sha256(root, "convnet.pth") == sha256
    assert digest(locate_weights(job("convnet.pth"), root, cache.with_name("cache2"))) == sha256


def test_a_published_files_name_gives_the_first_digits():
    assert published_source("https://host/models/resnet18-f37072fd.pth").sha256 == "f37072fd"
    assert published_source("https://host/models/plain.pth") == Source("plain.pth", "https://host/models/plain.pth")


def test_resnet_weights_load_with_a_new_head(root, cache, tmp_path):
    torch.save(ResNet18(1000).state_dict(), tmp_path / "imagenet.pth")
    pull(file_source(str(tmp_path / "imagenet.pth")), root, silent)
    spec = job("imagenet.pth", name="resnet18")
    model = build_model(spec, 10, locate_weights(spec, root, cache))
    assert model.state_dict()["fc.weight"].shape == (10, 512)
