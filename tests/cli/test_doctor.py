"""`visionjobs doctor` without a cluster; with one: tests/integration/test_cluster_submit.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finished_runs import Project

from visionjobs.cli.doctor_view import print_checks
from visionjobs.cluster import checks_machine
from visionjobs.cluster.check import Check
from visionjobs.cluster.checks_machine import check_cache, check_gpu, check_versions
from visionjobs.settings import Settings


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def listed(ended: Any) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in json.loads(ended.out)}


def test_a_fresh_machine_is_well(visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-key-that-nobody-prints")
    ended = visionjobs("doctor")
    assert (ended.status, ended.out) == (0, "")
    assert "nothing failed" in ended.err
    assert "set KUBECONFIG to submit" in ended.err
    assert "WANDB_API_KEY is set" in ended.err
    assert "a-key-that-nobody-prints" not in ended.err


def test_json_is_a_list_of_checks(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("doctor", "tiny", "--json")
    checks = listed(ended)
    assert (ended.status, ended.err) == (0, "")
    assert set(checks["storage"]) == {"check", "ok", "message", "hint"}
    assert checks["dataset"]["ok"] is True
    assert checks["weights"]["message"] == "random"
    assert checks["kubeconfig"]["ok"] is None


def test_what_a_job_lacks_fails(project: Project, visionjobs: Callable[..., Any]) -> None:
    ended = visionjobs("doctor", "tiny", "--set", "data.name=tinny", "--json")
    assert ended.status == 1
    assert 'There is no dataset "tinny"' in listed(ended)["dataset"]["message"]
    assert visionjobs("doctor", "no-such-job").status == 2
    assert visionjobs("doctor", "--backend", "ray").status == 2


def test_a_storage_without_credentials_fails_in_one_line(
    visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_STORAGE", "s3://bucket/prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    ended = visionjobs("doctor", "--json")
    assert ended.status == 1
    checks = listed(ended)
    assert checks["S3 credentials"]["hint"] == "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    assert checks["storage"]["ok"] is False
    assert "clock" not in checks


def test_a_broken_kubeconfig_fails(
    visionjobs: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\n")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    ended = visionjobs("doctor", "--json")
    assert ended.status == 1
    assert listed(ended)["cluster"]["ok"] is False
    assert listed(ended)["image"]["ok"] is False
    assert "no pod sees" in listed(ended)["storage address"]["message"]


def test_lines_are_neither_cut_nor_wrapped_and_failures_come_twice(
    visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    checks = [
        Check("storage", False, "m" * 100, "set VISIONJOBS_STORAGE=" + "h" * 100),
        Check("a longer name", True, "[no markup]"),
        Check("versions", None, "differ", "make install"),
    ]
    print_checks(checks)
    lines = capsys.readouterr().err.splitlines()
    failed = [f"no  storage        {'m' * 100}", f"    -> set VISIONJOBS_STORAGE={'h' * 100}"]
    assert lines == [
        *failed, "ok  a longer name  [no markup]", "?   versions       differ", "    -> make install",
        "", "What failed:", *failed, "", "1 of 3 checks failed, 1 with a ?",
    ]  # fmt: skip
    print_checks(checks[1:])
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["", "2 checks: nothing failed, 1 with a ?"]
    assert "What failed:" not in lines


class TestOnTheSample:
    def test_one_that_is_not_drawn_is_no_failure(self, project: Project, visionjobs: Callable[..., Any]) -> None:
        checks = listed(ended := visionjobs("doctor", "tiny", "--sample", "--json"))
        assert ended.status == 0
        assert checks["dataset"]["ok"] is True
        assert "wildlife-sample is not there yet: `visionjobs submit --sample` draws it" in checks["dataset"]["message"]
        assert "weights" not in checks
        assert not project.root.folders("datasets/wildlife-sample")

    def test_weights_wait_for_it(self, visionjobs: Callable[..., Any]) -> None:
        checks = listed(ended := visionjobs("doctor", "resnet", "--sample", "--json"))
        assert ended.status == 0
        assert checks["weights"]["ok"] is None
        assert checks["weights"]["hint"].endswith("visionjobs data sample wildlife")

    def test_one_that_is_drawn_is_looked_at(self, project: Project, visionjobs: Callable[..., Any]) -> None:
        for entry in project.root.entries("datasets/tiny"):
            key = entry.key.replace("datasets/tiny", "datasets/wildlife-sample")
            data = project.root.read(entry.key)
            data = data.replace(b'"name":"tiny"', b'"name":"wildlife-sample"')
            project.root.write(key, data.replace(b'"name": "tiny"', b'"name": "wildlife-sample"'))
        checks = listed(visionjobs("doctor", "tiny", "--set", "data.name=other", "--sample", "--json"))
        assert checks["dataset"]["message"].startswith("wildlife-sample ")
        assert checks["dataset"]["message"].endswith("images")

    def test_what_has_no_sense_is_refused(self, visionjobs: Callable[..., Any]) -> None:
        assert "give its name too" in visionjobs("doctor", "--sample").err
        assert visionjobs("doctor", "--set", "train.epochs=1").status == 2
        ended = visionjobs("doctor", "yolo", "--sample")
        assert (ended.status, "other classes" in ended.err) == (2, True)


class TestSkeletons:
    def test_a_folder_that_was_named_and_is_not_there_fails(
        self, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VISIONJOBS_K8S", "nope")
        ended = visionjobs("doctor")
        assert ended.status == 1
        assert "no skeletons" in ended.err
        assert "nope/rayjob.yaml: cannot be read" in ended.err
        assert "VISIONJOBS_K8S" in ended.err

    def test_outside_of_the_project_it_is_a_warning_until_there_is_a_cluster(
        self, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("VISIONJOBS_K8S", raising=False)
        monkeypatch.chdir(tmp_path)
        skeletons = listed(ended := visionjobs("doctor", "--json"))["skeletons"]
        assert (ended.status, skeletons["ok"]) == (0, None)
        assert "run this in the project's folder" in skeletons["hint"]
        (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\n")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        assert listed(visionjobs("doctor", "--json"))["skeletons"]["ok"] is False

    @pytest.mark.parametrize(
        ("variable", "value", "word"),
        [
            ("VISIONJOBS_OVERLAY", "overlay.yaml", "podz: expected one of"),
            ("VISIONJOBS_OVERLAY", "none.yaml", "is not a file"),
            ("VISIONJOBS_AUTOSCALING", "maybe", "expected 1, true or yes"),
        ],
    )
    def test_settings_of_a_cluster_that_are_wrong_fail_in_a_line(
        self, visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str,
        value: str, word: str,
    ) -> None:  # fmt: skip
        (tmp_path / "overlay.yaml").write_text("podz: {}\n")
        (tmp_path / "config").write_text("apiVersion: v1\nkind: Config\n")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv(variable, str(tmp_path / value) if "yaml" in value else value)
        skeletons = listed(ended := visionjobs("doctor", "--json"))["skeletons"]
        assert (ended.status, skeletons["ok"]) == (1, False)
        assert word in skeletons["message"]


def test_a_variable_that_nothing_reads_is_a_warning(
    visionjobs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_IMGE", "a")
    checks = listed(ended := visionjobs("doctor", "--json"))
    assert (ended.status, ended.err) == (0, "")
    assert checks["variables"]["ok"] is None
    assert checks["variables"]["message"].endswith("Did you mean VISIONJOBS_IMAGE?")


def test_versions_that_differ_from_the_image(tmp_path: Path) -> None:
    assert check_versions(None).ok is None
    (tmp_path / "constraints.txt").write_text("ray==1.0.0  # old\ntorch==0.1\nno-such-package==1\n# a comment\n")
    check = check_versions(tmp_path)
    assert check.ok is None
    assert "ray 2" in check.message
    assert "constraints.txt: 1.0.0" in check.message
    assert "no-such-package" not in check.message


def test_a_gpu_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(checks_machine, "_driver", lambda: ("470.1", ["NVIDIA L4"]))
    check = check_gpu()
    assert check.ok is False
    assert "470.1 shows NVIDIA L4" in check.message
    monkeypatch.setattr(checks_machine, "_driver", lambda: ("", []))
    assert check_gpu().ok is True


def test_a_cache_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.from_env({"VISIONJOBS_CACHE": str(tmp_path / "cache")})

    def cache(free: float) -> Check:
        monkeypatch.setattr(checks_machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
        return check_cache(settings)

    assert [cache(free).ok for free in (50e9, 5e9, 0.5e9)] == [True, None, False]
    (tmp_path / "file").write_text("")
    blocked = check_cache(Settings.from_env({"VISIONJOBS_CACHE": str(tmp_path / "file" / "cache")}))
    assert (blocked.ok, "VISIONJOBS_CACHE" in blocked.message) == (False, True)
