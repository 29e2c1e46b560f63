"""`visionjobs weights`: downloads from a real web server on this machine."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet18_Weights, VGG16_BN_Weights

from visionjobs.models.resnet import ResNet18


class _Handler(BaseHTTPRequestHandler):
    """Gives files of a folder; /broken/... ends in the middle, though the header promises all of it."""

    def __init__(self, *arguments, folder):
        self.folder = folder
        super().__init__(*arguments)

    def do_GET(self):
        file = self.folder / Path(self.path).name
        if not file.is_file():
            self.send_error(404, "no such file")
            return
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if "/broken/" in self.path else content)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A web server that publishes ResNet-18 under a name as torchvision's; gives (file, address of the server)."""
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(ResNet18(1000).state_dict(), folder / "w.pth")
    sha256 = hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()
    file = (folder / "w.pth").rename(folder / f"resnet18-{sha256[:8]}.pth")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", f"{address}/{file.name}")
    yield file, address
    server.shutdown()
    server.server_close()
    thread.join()


def stored_files(tmp_path):
    return sorted(path.name for path in (tmp_path / "storage").rglob("*") if path.is_file())


@pytest.mark.parametrize("target", ["resnet", "ResNet18_Weights.IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"])
def test_pull_downloads_verifies_and_prints_the_address(visionjobs, published, tmp_path, target):
    file, _ = published
    ended = visionjobs("weights", "pull", target)
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1] == str(tmp_path / "storage/weights" / file.name)
    assert (tmp_path / "storage/weights" / file.name).read_bytes() == file.read_bytes()
    assert stored_files(tmp_path) == [file.name, f"{file.name}.sha256"]
    assert "122 tensors, conv1.weight [64, 3, 7, 7] to fc.bias [1000]" in ended.err


def test_pull_of_segnets_weights(visionjobs, published, tmp_path, monkeypatch):
    """The published file is ResNet-18's: pull asks for tensors, and only the model for its own."""
    file, address = published
    monkeypatch.setattr(VGG16_BN_Weights.IMAGENET1K_V1.value, "url", f"{address}/{file.name}")
    ended = visionjobs("weights", "pull", "segnet")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1] == str(tmp_path / "storage/weights" / file.name)
    assert "IMAGENET1K_V1, in storage, sha256" in visionjobs("describe", "segnet").err


@pytest.mark.parametrize("target", ["IMAGENET1K_V1", "DEFAULT"])
def test_a_name_that_several_models_have_is_asked_about(visionjobs, tmp_path, target):
    ended = visionjobs("weights", "pull", target)
    assert ended.status == 2
    assert f"may be any of ResNet18_Weights.{target}, VGG16_BN_Weights.{target}" in ended.err
    assert stored_files(tmp_path) == []


def test_a_second_pull_downloads_nothing(visionjobs, published):
    file, _ = published
    first = visionjobs("weights", "pull", "resnet")
    file.unlink()
    second = visionjobs("weights", "pull", "resnet")
    assert (second.status, second.out) == (0, first.out)
    assert "Already there" in second.err


def test_a_download_that_breaks_off_stores_nothing(visionjobs, published, tmp_path, monkeypatch):
    file, address = published
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", f"{address}/broken/{file.name}")
    ended = visionjobs("weights", "pull", "resnet")
    assert ended.status == 4
    assert f"broke off after {file.stat().st_size // 2} of {file.stat().st_size} bytes" in ended.err
    assert (ended.out, stored_files(tmp_path)) == ("", [])


def test_a_server_that_is_down(visionjobs, tmp_path, monkeypatch):
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", "http://127.0.0.1:9/resnet18-0123abcd.pth")
    ended = visionjobs("weights", "pull", "resnet")
    assert ended.status == 4
    assert "http://127.0.0.1:9/resnet18-0123abcd.pth: the download failed: [Errno 111] Connection refused" in ended.err
    assert (ended.out, stored_files(tmp_path)) == ("", [])


def test_a_server_without_the_file(visionjobs, published, tmp_path):
    published[0].unlink()
    ended = visionjobs("weights", "pull", "resnet")
    assert ended.status == 4
    assert "no such file" in ended.err
    assert stored_files(tmp_path) == []


def test_a_published_file_with_another_content_is_refused(visionjobs, published, tmp_path):
    file, _ = published
    torch.save(ResNet18(3).state_dict(), file)
    ended = visionjobs("weights", "pull", "resnet")
    assert ended.status == 2
    assert "its sha256 is" in ended.err
    assert "Nothing was stored" in ended.err
    assert (ended.out, stored_files(tmp_path)) == ("", [])


@pytest.mark.parametrize(
    ("given", "message"),
    [("0" * 64, "cannot be that of"), ("123", "expected 64 hexadecimal digits"), ("z" * 64, "expected 64 hexadecimal")],
)
def test_a_sha256_that_cannot_be_is_refused_before_the_download(visionjobs, published, tmp_path, given, message):
    ended = visionjobs("weights", "pull", "resnet", "--sha256", given)
    assert ended.status == 2
    assert message in ended.err
    assert stored_files(tmp_path) == []


def test_a_file_with_another_sha256_is_refused(visionjobs, published, tmp_path):
    ended = visionjobs("weights", "pull", str(published[0]), "--sha256", "0" * 64)
    assert ended.status == 2
    assert f"{published[0]}: its sha256 is" in ended.err
    assert stored_files(tmp_path) == []


def test_pull_of_a_file_and_list(visionjobs, published):
    file, _ = published
    missing = visionjobs("weights", "list").err.count("not in storage")
    assert visionjobs("weights", "pull", str(file)).status == 0
    ended = visionjobs("weights", "list")
    assert ended.status == 0
    assert file.name in ended.err
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:12] in ended.err
    assert ended.err.count("not in storage") == missing - 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("convnet", "model.weights is random"),
        ("resnett", 'Did you mean "resnet"'),
        ("IMAGENET1K_V3", 'Did you mean "IMAGENET1K_V1"'),
        ("./none.pth", "no such weights file"),
        ("other/none.yaml", "There is no job file"),
        ("https://example.org/w.pth", "not the address of a weights file"),
    ],
)
def test_what_cannot_be_pulled(visionjobs, tmp_path, target, message):
    ended = visionjobs("weights", "pull", target)
    assert ended.status == 2
    assert message in ended.err
    assert stored_files(tmp_path) == []


def test_describe_says_when_the_weights_are_there(visionjobs, published):
    assert visionjobs("weights", "pull", "resnet").status == 0
    assert "IMAGENET1K_V1, in storage, sha256" in visionjobs("describe", "resnet").err
