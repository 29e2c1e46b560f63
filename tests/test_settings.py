"""Addresses from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from visionjobs.errors import UserError
from visionjobs.settings import Settings


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
