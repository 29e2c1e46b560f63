"""The image's rules, as far as they can be told without building it; `make test-image` builds and runs it."""

from __future__ import annotations

import copy
import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "docker" / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, comments dropped and lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "IMAGE"}}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_say_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text().replace("-slim-bookworm", "").replace("python:3.11", "python:latest"))
    bad.write_text(bad.read_text().replace("--no-install-recommends", "").replace("FROM ${BASE}\n", "FROM debian\n"))
    assert subprocess.run([HADOLINT, bad], capture_output=True, check=False).returncode == 1


def test_each_stage_has_the_one_base_and_its_release_is_pinned() -> None:
    assert of("ARG")[0] == "BASE=python:3.11-slim-bookworm"
    assert of("FROM") == ["${BASE} AS dependencies", "dependencies AS package", "${BASE}"]


def test_the_last_stage_is_a_numbered_user_without_an_entrypoint() -> None:
    last = instructions()[max(i for i, (name, _) in enumerate(instructions()) if name == "FROM") :]
    assert [arguments for name, arguments in last if name == "USER"] == ["10001:10001"]
    assert of("ENTRYPOINT") == ["[]"]
    assert not [name for name, _ in last if name in {"ADD", "SHELL", "HEALTHCHECK", "VOLUME"}]
    assert [arguments for name, arguments in last if name == "RUN" and "pip" in arguments] == []


def test_whatever_is_written_has_a_place_outside_of_the_root() -> None:
    variables = dict(re.findall(r"(\w+)=(\S+)", " ".join(of("ENV"))))
    folders = {name: value for name, value in variables.items() if re.search("HOME|DIR|CACHE", name)}
    assert len(folders) >= 8
    assert all(value == "/cache" or value.startswith("/tmp") for value in folders.values()), folders  # noqa: S108
    assert variables["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_build_environment_is_bound_in_and_never_an_argument() -> None:
    text = DOCKERFILE.read_text() + "".join((ROOT / "docker" / f"install-{part}").read_text() for part in PARTS)
    assert not re.search(r"https?://|\.org/|--trusted-host", text)
    assert {argument.partition("=")[0] for argument in of("ARG")} == {
        "BASE", "VARIANT", "TORCH_INDEX", "VERSION", "REVISION", "RAY_VERSION",
    }  # fmt: skip
    assert all("type=secret,id=pip" in run and "type=secret,id=ca" in run for run in of("RUN") if "./install-" in run)
    assert len([run for run in of("RUN") if "./install-" in run]) == 2


PARTS = ("dependencies", "package")


@pytest.mark.parametrize(
    ("variant", "index", "said"),
    [("cpu", "", "VARIANT=cpu needs TORCH_INDEX"), ("rocm", "", "expected cuda or cpu"), ("", "x", "expected cuda")],
)
def test_a_variant_that_cannot_be_built_is_told_first(tmp_path: Path, variant: str, index: str, said: str) -> None:
    command = [str(ROOT / "docker" / "install-dependencies"), variant, index]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_all_that_runs_is_pinned() -> None:
    """install-dependencies checks it in the image; here for what is installed, the dev extra included."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.\-]+==[\w.\-]+", line) for line in pins)
    names = [line.partition("==")[0] for line in pins]
    assert len(names) == len(set(names))
    assert {"ray", "torch", "torchvision", "setuptools"} <= set(names)


def sent(path: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last pattern that matches it or a folder above it wins."""
    result = True
    parts = path.split("/")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and any(_matches(parts[:n], pattern) for n in range(1, len(parts) + 1)):
            result = line.startswith("!")
    return result


def _matches(parts: list[str], pattern: str) -> bool:
    wanted = pattern.split("/")
    if wanted[0] == "**":
        return any(_matches(parts[i:], "/".join(wanted[1:])) for i in range(len(parts)))
    return len(wanted) == len(parts) and all(fnmatch.fnmatchcase(*pair) for pair in zip(parts, wanted, strict=True))


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".venv/bin/python", "storage/runs/a/spec.yaml", ".env", ".env.local", "src/visionjobs/.env",
        "src/visionjobs/cli/__pycache__/run.cpython-311.pyc", "jobs/.env.yaml", "tests/conftest.py",
        "docker/Dockerfile", "src/visionjobs.egg-info/PKG-INFO", "credentials.json",
        "k8s/cluster/secret.yaml", ".mypy_cache/3.11/a.json",
        "kubeconfig", "jobs/notes.txt",
    ],
)  # fmt: skip
def test_it_is_kept_out(path: str) -> None:
    assert not sent(path)


def test_what_the_dockerfile_copies_is_sent() -> None:
    sources = [word for line in of("COPY") if not line.startswith("--from") for word in line.split()[:-1]]
    files = [ROOT / source for source in sources if (ROOT / source).is_file()]
    files += [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".jinja", ".css", ".typed"}]
    files += (ROOT / "jobs").glob("*.yaml")
    assert {"docker/profile.sh", "pyproject.toml", "src", "jobs"} <= set(sources)
    assert len(files) > 200
    assert [str(path) for path in files if not sent(str(path.relative_to(ROOT)))] == []


def test_the_image_is_named_by_version_and_commit() -> None:
    done = make("-n", "image", "ENGINE=true")
    assert re.search(r"--tag 'visionjobs:\d+\.\d+\.\d+-([0-9a-f]{12}(-dirty)?|unknown)'", done.stdout)
    assert "latest" not in done.stdout
    assert "--secret" not in done.stdout
    assert re.search(r"--tag '\S+-cpu' ", make("-n", "image", "ENGINE=true", "VARIANT=cpu").stdout)


def test_what_is_asked_of_make_image_reaches_the_engine() -> None:
    done = make("-n", "image", "ENGINE=true", "IMAGE=r.test/a:1", "BASE=b:2", "PIP_CONF=/p", "CA_BUNDLE=/c",
                "BUILD_ARGS=--isolation chroot")  # fmt: skip
    for part in ("--tag 'r.test/a:1'", "BASE='b:2'", "'id=pip,src=/p'", "'id=ca,src=/c'", "--isolation chroot ."):
        assert part in done.stdout


@pytest.mark.parametrize("arguments", [("push",), ("push", "IMAGE=visionjobs:1"), ("image", "ENGINE=no-such-engine")])
def test_a_push_to_nowhere_and_an_engine_that_is_not_there_are_refused(arguments: tuple[str, ...]) -> None:
    done = make(*({"push": ("ENGINE=true",)}.get(arguments[0], ())), *arguments)
    assert done.returncode == 2
    assert "give IMAGE=REGISTRY" in done.stderr or "is not installed" in done.stderr


JOB: dict[str, Any] = yaml.safe_load("""
apiVersion: batch/v1
kind: Job
metadata: {name: convnet-1}
spec:
  backoffLimit: 3
  template:
    metadata: {labels: {visionjobs/job: convnet}}
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, runAsUser: 10001}
      initContainers:
      - name: code
        volumeMounts: [{name: code, mountPath: /code}]
        env: [{name: A, valueFrom: {secretKeyRef: {name: visionjobs, key: A, optional: true}}}]
      containers:
      - name: job
        securityContext: {readOnlyRootFilesystem: true}
        env:
        - {name: A, valueFrom: {secretKeyRef: {name: visionjobs, key: A}}}
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: B, value: b}
        volumeMounts: [{name: code, mountPath: /code}, {name: shm, mountPath: /dev/shm}]
      volumes: [{name: code, emptyDir: {sizeLimit: 1Gi}}, {name: shm, emptyDir: {medium: Memory, sizeLimit: 1Gi}}]
""")


def test_the_pod_that_podman_plays_is_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docker")
    from sample_job import pod_of_job

    before = copy.deepcopy(JOB)
    pod = pod_of_job(JOB, "t-1", "/memory")
    assert before == JOB
    assert (pod["kind"], pod["metadata"]) == ("Pod", {"labels": {"visionjobs/job": "convnet"}, "name": "t-1"})
    expected = yaml.safe_load(
        yaml.safe_dump(JOB["spec"]["template"]["spec"])
        .replace("name: code\n  volumeMounts", "name: first\n  volumeMounts")
        .replace("name: code\n", "name: t-1-code\n")
        .replace("name: shm", "name: t-1-shm")
        .replace("name: visionjobs", "name: t-1")
    )
    expected["volumes"][1] = {"name": "t-1-shm", "hostPath": {"path": "/memory", "type": "Directory"}}
    expected["initContainers"][0]["name"] = "code"
    expected["containers"][0]["env"][2] = {"name": "NODE", "value": "podman"}
    assert pod["spec"] == expected
