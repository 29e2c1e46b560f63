"""Addresses from the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from visionjobs.errors import UserError
from visionjobs.settings import VARIABLES, ClusterSettings, Settings, unknown_variables


def test_defaults_are_absolute_folders(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({"HOME": "/home/x"})
    assert settings.storage == str(tmp_path / "storage")
    assert settings.jobs == tmp_path / "jobs"
    assert settings.cache.is_absolute()
    assert settings.endpoint is None


def test_one_storage_has_two_addresses() -> None:
    """A port-forward here, a service name inside the cluster."""
    settings = Settings.from_env(
        {
            "VISIONJOBS_STORAGE": "s3://jobs/prefix/",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
            "VISIONJOBS_ENDPOINT_FROM_CLUSTER": "http://minio.storage:9000",
        }
    )
    assert (settings.storage, settings.endpoint) == ("s3://jobs/prefix", "http://127.0.0.1:9000")
    assert settings.as_cluster_env() == {
        "VISIONJOBS_STORAGE": "s3://jobs/prefix",
        "AWS_ENDPOINT_URL": "http://minio.storage:9000",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }


def test_no_credentials_in_the_cluster_environment() -> None:
    env = {"VISIONJOBS_STORAGE": "s3://b/p", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ACCESS_KEY_ID": "id"}
    assert "secret" not in str(Settings.from_env(env)) + str(Settings.from_env(env).as_cluster_env())


@pytest.mark.parametrize("address", ["gs://bucket", "s3://", "http://x/y", "S3://bucket"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UserError, match="VISIONJOBS_STORAGE"):
        Settings.from_env({"VISIONJOBS_STORAGE": address})


@pytest.mark.parametrize("address", ["s3:/bucket", "s3.storage:8333", "bucket:prefix", "C:\\data"])
def test_what_has_a_colon_and_is_no_full_path_is_no_folder(address: str) -> None:
    for variable in ("VISIONJOBS_STORAGE", "VISIONJOBS_STORAGE_FROM_CLUSTER"):
        with pytest.raises(UserError, match=rf"{variable}: {re.escape(address)} .*expected .*s3://bucket/prefix"):
            Settings.from_env({variable: address})


def test_a_folder_here_may_have_a_colon(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for address in (f"{tmp_path}/a:b", "./a:b", "runs/a:b"):
        assert Settings.from_env({"VISIONJOBS_STORAGE": address}).storage.startswith(str(tmp_path))


@pytest.mark.parametrize("address", ["storage", "./storage", "~/storage", "/mnt/a:b", "gs://b", "s3://"])
def test_an_address_that_pods_cannot_have(address: str) -> None:
    with pytest.raises(UserError, match="VISIONJOBS_STORAGE_FROM_CLUSTER"):
        Settings.from_env({"VISIONJOBS_STORAGE": "s3://b/p", "VISIONJOBS_STORAGE_FROM_CLUSTER": address})


def test_a_folder_of_the_pods_is_left_as_typed() -> None:
    for typed, there in (("/mnt/claim/", "/mnt/claim"), ("s3://b/p/", "s3://b/p"), ("", "s3://here")):
        env = {"VISIONJOBS_STORAGE": "s3://here", "VISIONJOBS_STORAGE_FROM_CLUSTER": typed}
        assert Settings.from_env(env).as_cluster_env()["VISIONJOBS_STORAGE"] == there


@pytest.mark.parametrize(
    "address",
    ["s3.storage:8333", "htp://s3:1", "http//s3", "http://", "http://s3:0", "http://s3:port", "http://s3:99999",
     "http://a b", "http://[::1", "https://s3/?a=b", "https://s3/#a", "s3://bucket", "//s3:1"],
)  # fmt: skip
def test_endpoints_that_are_none(address: str) -> None:
    for variable in ("AWS_ENDPOINT_URL", "VISIONJOBS_ENDPOINT_FROM_CLUSTER"):
        with pytest.raises(UserError, match=rf"{variable}: {re.escape(address)} is not .* expected http://HOST"):
            Settings.from_env({variable: address})


@pytest.mark.parametrize(
    "address",
    [
        "http://s3",
        "https://s3.example:9000",
        "http://10.0.0.1:1/path/",
        "http://[::1]:9000",
        "HTTPS://S3",
        "http://a_b",
    ],
)
def test_endpoints(address: str) -> None:
    settings = Settings.from_env({"VISIONJOBS_STORAGE": "s3://b", "VISIONJOBS_ENDPOINT_FROM_CLUSTER": f" {address} "})
    assert settings.endpoint is None
    assert settings.as_cluster_env()["AWS_ENDPOINT_URL"] == address


def test_a_password_in_an_endpoint_is_not_shown() -> None:
    for address in ("http://me:hunter2@s3", "htp:me:hunter2@s3"):
        with pytest.raises(UserError, match="VISIONJOBS_ENDPOINT_FROM_CLUSTER holds a name or password") as caught:
            Settings.from_env({"VISIONJOBS_ENDPOINT_FROM_CLUSTER": address})
        assert "hunter2" not in str(caught.value)


def test_a_switch_is_on_or_off() -> None:
    values = {"": False, "0": False, "false": False, "No": False, "1": True, "TRUE": True, "yes": True}
    for value, expected in values.items():
        assert ClusterSettings.from_env({"VISIONJOBS_AUTOSCALING": value}).autoscaling is expected
    assert ClusterSettings.from_env({}).autoscaling is False
    with pytest.raises(UserError, match="VISIONJOBS_AUTOSCALING: maybe: expected 1, true or yes, or 0, false or no"):
        ClusterSettings.from_env({"VISIONJOBS_AUTOSCALING": "maybe"})


def test_variables_that_nothing_reads() -> None:
    env = {"VISIONJOBS_IMGE": "a", "VISIONJOBS_IMAGE": "b", "VISIONJOBS_FROBNICATE": "", "HOME": "/"}
    assert unknown_variables(env) == [
        "VISIONJOBS_FROBNICATE is set, and nothing reads it.",
        "VISIONJOBS_IMGE is set, and nothing reads it. Did you mean VISIONJOBS_IMAGE?",
    ]
    assert unknown_variables(dict.fromkeys(VARIABLES, "")) == []


def test_every_variable_that_the_project_reads_is_known() -> None:
    root = Path(__file__).resolve().parents[1]
    files = [path for folder in ("src", "k8s", "docker", "benchmarks") for path in (root / folder).rglob("*")]
    text = "".join(path.read_text() for path in files if path.suffix in (".py", ".yaml"))
    read = set(re.findall(r"VISIONJOBS_[A-Z0-9_]*[A-Z0-9]", text))
    assert len(read & VARIABLES) > 20
    assert read <= VARIABLES
