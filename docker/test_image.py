"""`make test-image`: the image does what its pods need, as its own user, with a read-only root and without a GPU.

    docker/test_image.py IMAGE [--build] [--engine podman|docker|buildah]

First small checks, then the sample ConvNet job to its end (sample_job.py). Needs podman, as root or not, and
`make install`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import tomllib

from podman import CheckError, podman
from sample_job import ROOT, run_sample_job

PROGRAMS = "command -v wget bash ray visionjobs && [ $(command -v python) = /opt/visionjobs/venv/bin/python ]"

OWNED = r"find / -xdev \( -user 10001 -o ! -type l -perm -o+w \) ! -path '/tmp*' ! -path '/var/tmp*' ! -path '/run*'"

RAY = """
ray start --head --include-dashboard=true >&2
raylet=http://localhost:52365/api/local_raylet_healthz
gcs=http://localhost:8265/api/gcs_healthz
for second in $(seq 60); do
  wget --tries 1 -T 10 -q -O- $raylet | grep -q success && wget --tries 1 -T 10 -q -O- $gcs | grep -q success && exit 0
  sleep 1
done
exit 1
"""
"""How KubeRay starts a head, and what its probes ask for."""


def checks(version: str, ray: str) -> dict[str, str]:
    """Name -> a bash script which passes with exit status 0. version, ray: those that the image must have."""
    return {
        "user and group 10001, by name too": '[ "$(id -u):$(id -g):$(id -un)" = 10001:10001:visionjobs ]',
        "the root is read-only": "grep -q '^[^ ]* / [^ ]* ro[, ]' /proc/mounts && ! touch /opt/visionjobs/x",
        "/cache and /code are the user's": f'[ "$({OWNED} 2>/dev/null | sort | xargs)" = "/cache /code" ]',
        "no compiler and no pip": "! command -v gcc cc g++ c++ clang make pip pip3",
        "cv2, torch, ray and visionjobs import without a GPU": (
            "python -c 'import cv2, torch, ray, visionjobs, ultralytics; assert not torch.cuda.is_available()'"
        ),
        f"visionjobs is {version} and has its jobs": f"visionjobs --version | grep -F {version} && visionjobs jobs",
        f"Ray is {ray}": f"ray --version | grep -F ' {ray}'",
        "a shell finds the programs": PROGRAMS,
        "a login shell finds them": f"bash -lc '{PROGRAMS}'",
        "Ray starts as KubeRay starts it, and its probes pass": f"bash -lc '{RAY}'",
    }


def main() -> int:
    """Build if asked, check, run the job, print the figures. Exit status 1 when something is not as it must be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("--build", action="store_true", help="with `make image` first")
    parser.add_argument("--engine", default="podman", help="what builds it, or has it")
    options = parser.parse_args()
    try:
        if options.build:
            started = time.monotonic()
            subprocess.run(["make", "--no-print-directory", "-C", ROOT, "image", f"IMAGE={options.image}"], check=True)
            print(f"build: {time.monotonic() - started:.0f} s")
        if options.engine == "docker":
            _take_from_docker(options.image)
        size = int(podman("image", "inspect", "--format", "{{.Size}}", options.image))
        print(f"size: {size / 1e9:.2f} GB")
        check(options.image)
        print(f"sample ConvNet job, from the pod's start to its end: {run_sample_job(options.image):.0f} s")
    except (CheckError, subprocess.CalledProcessError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


def _take_from_docker(image: str) -> None:
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        subprocess.run(["podman", "load"], stdin=save.stdout, stdout=sys.stderr, check=True)


def check(image: str) -> None:
    """Every one of `checks`, each in a container as confined as a pod. Raises CheckError at the first that fails."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    confined = ("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:mode=1777", "--shm-size=512m",
                "--network=none", "--cap-drop=all", "--security-opt=no-new-privileges")  # fmt: skip
    for name, script in checks(version, pins["ray"]).items():
        try:
            podman("run", "--rm", *confined, image, "bash", "-c", script)
        except CheckError as error:
            raise CheckError(f"{name}: it is not so\n{error}") from error
        print(f"ok: {name}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
