"""The sample ConvNet job, in the pod that the Job backend renders, run by `podman kube play` beside an S3 server."""

from __future__ import annotations

import base64
import copy
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from podman import CheckError, inside, names, podman, run

from visionjobs.cluster.code import pack_code

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
MINUTES = 20
"""Longest time of the job; it takes 2 on 2 cores."""

SETTINGS = ("resources.gpus=0", "resources.cpus=2", "train.epochs=2")
"""What is changed of the job: this machine may have neither a GPU nor many cores."""

BUCKET, S3_PORT = "visionjobs", 8333
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

CREATE_BUCKET = f"""
import boto3, botocore.exceptions, time
for second in range(60):
    try:
        boto3.client("s3").create_bucket(Bucket="{BUCKET}")
        break
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        print(error)
        time.sleep(1)
else:
    raise SystemExit(1)
"""

STORE_CODE = f"""
import os, pathlib
from visionjobs.cluster.code import upload_code
from visionjobs.storage import open_store
root = open_store("s3://{BUCKET}", os.environ["AWS_ENDPOINT_URL"])
upload_code(root, os.environ["CODE"], pathlib.Path("/code.zip").read_bytes())
"""

CHECK_RESULTS = f"""
import json, os
from visionjobs.storage import open_store
runs = open_store("s3://{BUCKET}", os.environ["AWS_ENDPOINT_URL"]).at("runs")
(name,) = runs.folders()
run = runs.at(name)
metrics = json.loads(run.read("metrics.json"))["metrics"]
assert metrics["accuracy"] > 0, metrics
assert run.exists("report/report.html") and run.exists("weights/convnet.pth"), [entry.key for entry in run.entries()]
print(f"{{name}}: accuracy {{metrics['accuracy']:.3f}}")
"""

CHECK_CONTAINER = """
set -e
grep -q '^Uid:.10001.10001.10001.10001$' /proc/1/status
grep -q '^CapEff:.0*$' /proc/1/status
grep -q '^NoNewPrivs:.1$' /proc/1/status
grep -q '^[^ ]* / [^ ]* ro[, ]' /proc/mounts
! touch /opt/visionjobs/x
touch /tmp/x
"""


def run_sample_job(image: str) -> float:
    """Seconds from the pod's start to its end. Raises CheckError unless it ends well, with its results stored."""
    name = f"visionjobs-test-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        env = stack.enter_context(s3_server(name, image))
        inside(name, image, env, "visionjobs", "data", "sample", "wildlife")
        store_code(name, image, env)
        memory = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix=f"{name}-"))
        Path(memory).chmod(0o1777)
        pod = pod_of_job(render(image, env), name, memory)
        stack.enter_context(secret(name, env))
        started = time.monotonic()
        play(stack, pod, name)
        container = f"{name}-{pod['spec']['containers'][0]['name']}"
        check_container(container)
        wait(container)
        seconds = time.monotonic() - started
        result = inside(name, image, env, "python", "-", stdin=CHECK_RESULTS)
    print(f"ok: the job ended well, and its results are stored: {result.strip()}", file=sys.stderr)
    return seconds


def store_code(network: str, image: str, env: Mapping[str, str]) -> None:
    """What `visionjobs submit` does from here: this machine may not reach podman's networks, its containers do."""
    sha256, data = pack_code(ROOT)
    with tempfile.NamedTemporaryFile(suffix=".zip") as packed:
        packed.write(data)
        packed.flush()
        Path(packed.name).chmod(0o644)
        podman(
            "run", "--rm", "--interactive", "--network", network, "--volume", f"{packed.name}:/code.zip:ro",
            *names(env), "--env", f"CODE={sha256}", image, "python", "-", stdin=STORE_CODE, env=env,
        )  # fmt: skip


def render(image: str, env: Mapping[str, str]) -> dict[str, Any]:
    """The one Job that `visionjobs render` prints."""
    changes = [part for item in SETTINGS for part in ("--set", item)]
    command = [str(BIN / "visionjobs"), "render", "convnet", "--backend", "job", "--sample", *changes]
    text = run(*command, env={"VISIONJOBS_IMAGE": image, "VISIONJOBS_JOBS": str(ROOT / "jobs"), **env})
    jobs = [document for document in yaml.safe_load_all(text) if document and document["kind"] == "Job"]
    if len(jobs) != 1:
        raise CheckError(f"`visionjobs render` printed {len(jobs)} Jobs, expected one:\n{text}")
    return dict(jobs[0])


def pod_of_job(job: Mapping[str, Any], name: str, memory: str) -> dict[str, Any]:
    """The Job's pod as a Pod called `name`: podman before 5 plays no Jobs.

    Changed are the names that on this machine are everybody's (volumes, the Secret), and volumes in memory, which
    podman before 5 puts on disk and gives to root: they are the folder `memory`. There is no node to be named.
    """
    template = copy.deepcopy(job["spec"]["template"])
    spec = template["spec"]
    volumes = spec.get("volumes", [])
    for volume in volumes:
        volume["name"] = f"{name}-{volume['name']}"
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            del volume["emptyDir"]
            volume["hostPath"] = {"path": memory, "type": "Directory"}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for mount in container.get("volumeMounts", []):
            mount["name"] = f"{name}-{mount['name']}"
        for variable in container.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                reference["name"] = name
            if variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") == "spec.nodeName":
                del variable["valueFrom"]
                variable["value"] = "podman"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template.get("metadata", {}), "name": name},
        "spec": spec,
    }


@contextmanager
def s3_server(name: str, image: str) -> Iterator[dict[str, str]]:
    """An S3 server (SeaweedFS, of the dev extra) in a network of its own, and the variables that lead there from it."""
    keys = {KEYS[0]: "test-image", KEYS[1]: secrets.token_hex(16)}
    podman("network", "create", name)
    try:
        podman(
            "run", "--detach", "--name", f"{name}-s3", "--network", name, "--volume", f"{BIN / 'weed'}:/weed:ro",
            *names(keys), image, "/weed", "mini", "-dir=/tmp", "-ip.bind=0.0.0.0",
            f"-s3.port={S3_PORT}", "-admin.ui=false", "-webdav=false", "-master.telemetry=false", env=keys,
        )  # fmt: skip
        where = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        env = {
            **keys,
            "AWS_ENDPOINT_URL": f"http://{podman('inspect', '--format', where, f'{name}-s3').strip()}:{S3_PORT}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "VISIONJOBS_STORAGE": f"s3://{BUCKET}",
        }
        inside(name, image, env, "python", "-", stdin=CREATE_BUCKET)
        yield env
    finally:
        podman("rm", "--force", "--volumes", "--ignore", f"{name}-s3")
        podman("network", "rm", "--force", name)


@contextmanager
def secret(name: str, env: Mapping[str, str]) -> Iterator[None]:
    """The namespace's Secret. podman before 4.4 wants its data alone."""
    data = {key: base64.b64encode(env[key].encode()).decode() for key in KEYS}
    whole = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    version = podman("version", "--format", "{{.Client.Version}}").split(".")
    content = whole if (int(version[0]), int(version[1])) >= (4, 4) else data
    podman("secret", "create", name, "-", stdin=json.dumps(content))
    try:
        yield
    finally:
        podman("secret", "rm", name)


def play(stack: ExitStack, pod: Mapping[str, Any], name: str) -> None:
    """Start the pod, which goes with the stack; podman returns when its init containers have ended."""
    manifest = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "pod.yaml"
    manifest.write_text(yaml.safe_dump(dict(pod)))
    stack.callback(podman, "kube", "play", "--down", str(manifest))
    try:
        podman("kube", "play", "--network", name, str(manifest))
    except CheckError as error:
        first = [f"{name}-{container['name']}" for container in pod["spec"].get("initContainers", [])]
        raise CheckError(f"{error}\n{''.join(logs(container) for container in first)}") from error


def check_container(container: str) -> None:
    """In the container that trains. Raises CheckError with its log: it may have ended at once."""
    try:
        podman("exec", "--interactive", container, "bash", stdin=CHECK_CONTAINER)
    except CheckError as error:
        raise CheckError(f"{error}\n{logs(container)}") from error
    print("ok: the job's container: user 10001, no capabilities, a read-only root", file=sys.stderr)


def logs(container: str) -> str:
    """What it has written so far."""
    done = subprocess.run(["podman", "logs", container], capture_output=True, text=True, check=False)
    return f"{container}:\n{(done.stdout + done.stderr)[-4000:]}"


def wait(container: str) -> None:
    """Show its log until it ends. Raises CheckError unless that is with exit status 0, in time."""
    deadline = time.monotonic() + 60 * MINUTES
    with subprocess.Popen(["podman", "logs", "--follow", container], stdout=sys.stderr) as logs:
        while podman("inspect", "--format", "{{.State.Running}}", container).strip() == "true":
            if time.monotonic() > deadline:
                logs.terminate()
                raise CheckError(f"the job did not end within {MINUTES} minutes")
            time.sleep(1)
    if (status := podman("inspect", "--format", "{{.State.ExitCode}}", container).strip()) != "0":
        raise CheckError(f"the job ended with exit status {status}")
